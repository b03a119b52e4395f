-- What a superuser adds to the outbox's own tables does not matter to recording, or is told.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE meddled (id int);
SELECT outbox.watch('meddled', 'meddled:{id}');
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'meddled'; END$$;
CREATE ROLE outbox_meddled;
GRANT INSERT ON meddled TO outbox_meddled;

-- triggers, checks, row security, rules: rows are written below them
BEGIN;
CREATE TRIGGER meddle BEFORE INSERT ON outbox.event_1 FOR EACH ROW EXECUTE FUNCTION meddle();
CREATE TRIGGER meddle_after AFTER INSERT ON outbox.event_1 FOR EACH ROW EXECUTE FUNCTION meddle();
ALTER TABLE outbox.event_1 ENABLE ALWAYS TRIGGER meddle;
ALTER TABLE outbox.event_1 ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox.event_1 FORCE ROW LEVEL SECURITY;
CREATE RULE meddle AS ON INSERT TO outbox.event_1 DO INSTEAD NOTHING;
SET LOCAL outbox.max_pending_keys = 16;
SET LOCAL ROLE outbox_meddled;
INSERT INTO meddled SELECT generate_series(1, 600);
RESET ROLE;
SELECT sum(cardinality(keys)) > 500 AS spilled FROM outbox.event WHERE xid = pg_current_xact_id();
ROLLBACK;

-- other columns: nothing is written to where it does not belong
BEGIN;
ALTER TABLE outbox.event_1 ADD surplus int;
ALTER TABLE outbox.event_2 ADD surplus int;
ALTER TABLE outbox.event_3 ADD surplus int;
INSERT INTO meddled VALUES (1);
COMMIT;
SELECT count(*) FROM meddled;
-- a column's other type
BEGIN;
ALTER EXTENSION pg_outbox DROP VIEW outbox.event;
DROP VIEW outbox.event CASCADE;
ALTER TABLE outbox.event_1 ALTER exchange TYPE varchar;
ALTER TABLE outbox.event_2 ALTER exchange TYPE varchar;
ALTER TABLE outbox.event_3 ALTER exchange TYPE varchar;
INSERT INTO meddled VALUES (1);
COMMIT;
SELECT count(*) FROM meddled;
-- a lost sequence takes the extension with it, or nothing
DROP SEQUENCE outbox.event_id_seq;

-- an index is kept up from the next write on, and forgotten with it
INSERT INTO meddled VALUES (2);
CREATE INDEX meddled ON outbox.event_1 (created_at);
INSERT INTO meddled VALUES (3);
BEGIN;
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT FROM outbox.event_1 WHERE created_at > '-infinity';
SELECT keys FROM outbox.event_1 WHERE created_at > '-infinity' AND id > :start AND keys IS NOT NULL ORDER BY id;
COMMIT;
DROP INDEX outbox.meddled;
INSERT INTO meddled VALUES (4);
-- one over an expression is refused, as long as it is there
CREATE INDEX meddled ON outbox.event_1 ((id + 1));
INSERT INTO meddled VALUES (5);
INSERT INTO meddled VALUES (5);
DROP INDEX outbox.meddled;
CREATE INDEX meddled ON outbox.event_1 (id) WHERE exchange IS NULL;
INSERT INTO meddled VALUES (5);
DROP INDEX outbox.meddled;

INSERT INTO meddled VALUES (1);
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;
DROP TABLE meddled;
DROP FUNCTION meddle();
DROP ROLE outbox_meddled;
