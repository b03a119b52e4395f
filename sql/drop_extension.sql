-- The extension goes with all it has, and comes back whole.
SET client_min_messages = error;
BEGIN;
CREATE TABLE dropped (id int);
SELECT outbox.watch('dropped', 'dropped:{id}');
INSERT INTO dropped VALUES (1);
DROP EXTENSION pg_outbox CASCADE;
SELECT count(*) FROM pg_namespace WHERE nspname = 'outbox';
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'dropped'::regclass;
INSERT INTO dropped VALUES (2);
CREATE EXTENSION pg_outbox;
SELECT outbox.watch('dropped', 'dropped:{id}');
INSERT INTO dropped VALUES (3);
SELECT outbox.invalidate('again');
SELECT count(*) FROM outbox.instance;
SELECT count(*) FROM outbox.event_1 WHERE xid = '0' AND snapshot IS NOT NULL;
ROLLBACK;

-- the caller's events after all that
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
SELECT outbox.invalidate('still here');
SELECT keys FROM outbox.event WHERE id > :start;

-- a schema that somebody else made is not taken over
BEGIN;
DROP EXTENSION pg_outbox CASCADE;
CREATE SCHEMA outbox;
CREATE EXTENSION pg_outbox;
ROLLBACK;

-- a savepoint that drops it, rolled back
BEGIN;
SELECT outbox.invalidate('survives');
SAVEPOINT s;
DROP EXTENSION pg_outbox CASCADE;
ROLLBACK TO s;
COMMIT;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;
