-- What could not be written at commit fails at the call; READ ONLY after the write does not matter.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
BEGIN READ ONLY;
SELECT outbox.invalidate('a');
ROLLBACK;
BEGIN READ ONLY;
SELECT outbox.publish('q', '1');
ROLLBACK;
BEGIN READ ONLY;
SELECT outbox.publish_bytes('', 'q', 'x', NULL);
ROLLBACK;
BEGIN READ ONLY;
SELECT outbox.invalidate_pattern('a*');
ROLLBACK;

-- a trigger on a temporary table can fire in a READ ONLY transaction
CREATE TEMP TABLE scratch (id int);
CREATE TRIGGER t AFTER INSERT ON scratch FOR EACH ROW EXECUTE FUNCTION outbox.invalidate('scratch:{id}');
BEGIN READ ONLY;
INSERT INTO scratch VALUES (1);
ROLLBACK;
SELECT count(*) FROM outbox.event WHERE id > :start;

-- the write was allowed, so its event is
BEGIN;
SELECT outbox.invalidate('written');
SET TRANSACTION READ ONLY;
COMMIT;
BEGIN;
SELECT outbox.invalidate('before');
SAVEPOINT s;
SET LOCAL transaction_read_only = on;
SELECT outbox.invalidate('refused');
ROLLBACK TO s;
SHOW transaction_read_only;
SELECT outbox.invalidate('allowed again');
COMMIT;

-- spilled at the end of a savepoint that was set READ ONLY, which stays so
BEGIN;
SET LOCAL outbox.max_pending_keys = 16;
SAVEPOINT s;
SELECT count(outbox.invalidate('early ' || i)) FROM generate_series(1, 12) AS i;
SAVEPOINT t;
SELECT count(outbox.invalidate('late ' || i)) FROM generate_series(1, 12) AS i;
RELEASE t;
SELECT cardinality(keys) FROM outbox.event WHERE id > :start ORDER BY id DESC LIMIT 1;
SELECT outbox.invalidate('last');
SET TRANSACTION READ ONLY;
SHOW transaction_read_only;
COMMIT;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- every isolation level
SELECT max(id) AS start FROM outbox.event \gset
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT outbox.invalidate('serializable');
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT outbox.invalidate('repeatable read');
COMMIT;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;
