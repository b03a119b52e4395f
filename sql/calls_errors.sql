-- What could not be published is refused at the call.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset

SELECT outbox.invalidate(NULL);
SELECT outbox.invalidate('a', NULL, 'b');
SELECT outbox.invalidate(VARIADIC NULL);
SELECT outbox.invalidate('');
SELECT outbox.invalidate(repeat('ä', 4097));
SELECT outbox.invalidate_pattern(NULL);
SELECT outbox.invalidate_pattern('');
SELECT outbox.invalidate_pattern(repeat('*', 8193));

SELECT outbox.publish(NULL, '1');
SELECT outbox.publish('', '1');
SELECT outbox.publish('q', NULL);
SELECT outbox.publish(repeat('q', 256), '1');
SELECT outbox.publish(repeat('ä', 128), '1');
SELECT outbox.publish_to(NULL, 'k', '1');
SELECT outbox.publish_to('x', NULL, '1');
SELECT outbox.publish_to('x', 'k', NULL);
SELECT outbox.publish_to('', '', '1');
SELECT outbox.publish_to(repeat('x', 256), 'k', '1');
SELECT outbox.publish_to('x', repeat('k', 256), '1');
SELECT outbox.publish_bytes('x', 'k', NULL, 'text/plain');
SELECT outbox.publish_bytes('x', 'k', 'b', repeat('t', 256));

-- headers
SELECT outbox.publish('q', '1', '[]');
SELECT outbox.publish('q', '1', '"h"');
SELECT outbox.publish('q', '1', 'null');
SELECT outbox.publish('q', '1', '{"x-outbox-anything": 1}');
SELECT outbox.publish('q', '1', jsonb_build_object(repeat('h', 256), 1));
SELECT outbox.publish('q', '1', jsonb_build_object('in', jsonb_build_array(jsonb_build_object(repeat('h', 256), 1))));
SELECT outbox.publish('q', '1', jsonb_build_object('h', repeat('x', 32768)));
SELECT outbox.publish('q', '1', '{"n": 1e400}');
SELECT outbox.publish('q', '1', '{"n": [{"m": -1e400}]}');
SELECT outbox.publish('q', '1', ('{"a":' || repeat('[', 16) || repeat(']', 16) || '}')::jsonb);
SELECT outbox.publish('q', '1', '{"CC": "one"}');
SELECT outbox.publish('q', '1', '{"CC": [1]}');
SELECT outbox.publish('q', '1', '{"CC": {"a": "b"}}');
SELECT outbox.publish('q', '1', '{"BCC": [["a"]]}');
SELECT outbox.publish('q', '1', jsonb_build_object('BCC', jsonb_build_array('ok', repeat('b', 256))));

-- properties
SELECT outbox.publish('q', '1', NULL, '[]');
SELECT outbox.publish('q', '1', NULL, '{"content_type": "text/plain"}');
SELECT outbox.publish('q', '1', NULL, '{"delivery_mode": 1}');
SELECT outbox.publish('q', '1', NULL, '{"message_id": 1}');
SELECT outbox.publish('q', '1', NULL, '{"type": null}');
SELECT outbox.publish('q', '1', NULL, '{"reply_to": {"a": 1}}');
SELECT outbox.publish('q', '1', NULL, jsonb_build_object('correlation_id', repeat('c', 256)));
SELECT outbox.publish('q', '1', NULL, '{"expiration": "soon"}');
SELECT outbox.publish('q', '1', NULL, '{"expiration": -1}');
SELECT outbox.publish('q', '1', NULL, '{"expiration": ""}');
SELECT outbox.publish('q', '1', NULL, '{"expiration": 4294967296}');
SELECT outbox.publish('q', '1', NULL, '{"priority": 256}');
SELECT outbox.publish('q', '1', NULL, '{"priority": 1.5}');
SELECT outbox.publish('q', '1', NULL, '{"priority": "1"}');

-- payloads, by the size they have on the wire
SELECT outbox.publish('q', to_jsonb(repeat('x', 1024 * 1024)));
SET outbox.max_payload = '1kB';
SELECT outbox.publish('q', '1e1024');
SELECT outbox.publish_bytes('', 'q', repeat('x', 1025)::bytea, NULL);
RESET outbox.max_payload;

-- nothing of all that was recorded
SELECT count(*) FROM outbox.event WHERE id > :start;
