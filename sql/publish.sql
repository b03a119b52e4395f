-- Messages: any queue, any exchange, any bytes; in the order of the calls, behind the keys.
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset

BEGIN;
SELECT outbox.publish('emails', '{"to": "anna@example.org"}');
SELECT outbox.invalidate('key');
SELECT outbox.publish_to('events', 'user.1.created', '[1, 2.50, "ä"]', '{"CC": ["audit"], "n": 12345678901234567890, "deep": {"a": [null, true]}}');
SELECT outbox.publish('emails', 'null', properties => '{"message_id": "m1", "correlation_id": "c", "reply_to": "r", "type": "t", "content_encoding": "e", "expiration": "60000", "priority": 255}');
SELECT outbox.publish_bytes('', 'raw', '\x00ff', 'application/octet-stream', NULL, '{"expiration": 0}');
SELECT outbox.publish_bytes('x', '', '', NULL);
SELECT outbox.publish('emails', '{"to": "anna@example.org"}');
SELECT outbox.invalidate('other');
COMMIT;
\pset null NULL
SELECT exchange, routing_key, keys, payload, body, headers, properties
  FROM outbox.event WHERE id > :start ORDER BY id;

-- the largest that are allowed
SELECT max(id) AS start FROM outbox.event \gset
SELECT outbox.publish(repeat('ä', 127), to_jsonb(repeat('x', 1024 * 1024 - 2)));
SELECT outbox.publish('q', '1', ('{"a":' || repeat('[', 15) || repeat(']', 15) || '}')::jsonb);
SELECT outbox.publish('q', '1', jsonb_build_object('h', repeat('x', 32768 - 9)));
SELECT outbox.invalidate(repeat('k', 8192));
SELECT octet_length(routing_key), length(payload #>> '{}'), octet_length(headers::text), length(keys[1])
  FROM outbox.event WHERE id > :start ORDER BY id;

-- a stored value is copied at the call: its row may be gone at commit
SELECT max(id) AS start FROM outbox.event \gset
CREATE TABLE stored (doc jsonb, raw bytea);
ALTER TABLE stored ALTER COLUMN doc SET STORAGE EXTERNAL, ALTER COLUMN raw SET STORAGE EXTERNAL;
INSERT INTO stored VALUES (to_jsonb(repeat('toasted', 5000)), repeat('toasted', 5000)::bytea);
BEGIN;
SELECT outbox.publish('q', doc), outbox.publish_bytes('', 'q', raw, NULL) FROM stored;
TRUNCATE stored;
COMMIT;
DROP TABLE stored;
SELECT length(payload #>> '{}'), length(body) FROM outbox.event WHERE id > :start ORDER BY id;

-- outbox.traceparent goes along; a header given by the caller wins
SELECT max(id) AS start FROM outbox.event \gset
BEGIN;
SET LOCAL outbox.traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
SELECT outbox.publish('q', '1');
SELECT outbox.publish('q', '2', '{"a": 1}');
SELECT outbox.publish('q', '3', '{"traceparent": "mine"}');
SELECT outbox.invalidate('traced');
COMMIT;
SELECT keys, payload, headers FROM outbox.event WHERE id > :start ORDER BY id;
SET outbox.traceparent = 'ä';
SELECT set_config('outbox.traceparent', repeat('x', 256), false);

-- outbox.enabled = off records nothing, but says what is wrong all the same
SELECT max(id) AS start FROM outbox.event \gset
BEGIN;
SET LOCAL outbox.enabled = off;
SELECT outbox.publish('q', '1'), outbox.invalidate('a'), outbox.invalidate_pattern('a*');
SELECT outbox.publish('', '1');
COMMIT;
SELECT count(*) FROM outbox.event WHERE id > :start;
