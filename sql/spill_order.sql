-- sql/spill_order.sql: messages keep the order of their calls, whoever spills when
SET outbox.max_pending_keys = 16;
SELECT coalesce(max(id), 0) AS before FROM outbox.event \gset
BEGIN;
SELECT outbox.publish('q', '1');
SAVEPOINT s;
SELECT outbox.publish('q', '2');
SELECT count(outbox.invalidate('spill_order:' || n)) FROM generate_series(1, 20) n;
SAVEPOINT t;
SELECT outbox.publish('q', '3');
SELECT count(outbox.invalidate('spill_order:t' || n)) FROM generate_series(1, 40) n;
ROLLBACK TO t;
SELECT outbox.publish('q', '4');
RELEASE s;
SELECT outbox.publish('q', '5');
COMMIT;
SELECT payload FROM outbox.event WHERE id > :before AND routing_key = 'q' ORDER BY id;
SELECT count(DISTINCT key) FROM outbox.event, unnest(keys) key
 WHERE id > :before AND key LIKE 'spill\_order:%';
RESET outbox.max_pending_keys;
