-- outbox.watched.problem tells what the next write would fail with, and what nobody would record.
LOAD 'pg_outbox';
SET client_min_messages = warning;
CREATE TABLE troubled (id int, name text, views int);
PREPARE problem AS SELECT trigger, enabled, problem FROM outbox.watched WHERE relation = 'troubled'::regclass ORDER BY 1;
SELECT outbox.watch('troubled', 'one:{id}');
EXECUTE problem;

ALTER TABLE troubled DISABLE TRIGGER outbox_invalidate;
EXECUTE problem;
ALTER TABLE troubled ENABLE REPLICA TRIGGER outbox_invalidate;
EXECUTE problem;
ALTER TABLE troubled ENABLE ALWAYS TRIGGER outbox_invalidate;
EXECUTE problem;
ALTER TABLE troubled DISABLE TRIGGER outbox_invalidate_truncate;
EXECUTE problem;
DROP TRIGGER outbox_invalidate_truncate ON troubled;
EXECUTE problem;
ALTER TABLE troubled RENAME id TO number;
EXECUTE problem;
SELECT outbox.watch('troubled', 'one:{number}');
EXECUTE problem;

-- the three triggers of a condition
SELECT outbox.watch_when('troubled', 'OLD.views IS DISTINCT FROM NEW.views', 'one:{number}');
EXECUTE problem;
ALTER TABLE troubled DISABLE TRIGGER outbox_invalidate_delete;
EXECUTE problem;
DROP TRIGGER outbox_invalidate_delete ON troubled;
EXECUTE problem;
SELECT outbox.watch_when('troubled', 'OLD.views IS DISTINCT FROM NEW.views', 'one:{number}');
EXECUTE problem;
DROP TRIGGER outbox_invalidate ON troubled;
EXECUTE problem;
SELECT outbox.unwatch('troubled');
EXECUTE problem;

-- made by hand: without a trigger for TRUNCATE, as one may wish
CREATE TRIGGER by_hand AFTER UPDATE OF name ON troubled FOR EACH ROW
    WHEN (new.views > 1) EXECUTE FUNCTION outbox.invalidate('{name}');
SELECT trigger, templates, columns, condition, enabled, problem FROM outbox.watched WHERE relation = 'troubled'::regclass;
DROP TABLE troubled;

-- partitions that are truncated by themselves
CREATE TABLE troubled (id int) PARTITION BY LIST (id);
CREATE TABLE troubled_1 PARTITION OF troubled FOR VALUES IN (1);
SELECT outbox.watch('troubled', 'one:{id}');
EXECUTE problem;
CREATE TRIGGER by_hand AFTER TRUNCATE ON troubled_1 FOR EACH STATEMENT EXECUTE FUNCTION outbox.invalidate('one:{id}');
EXECUTE problem;
CREATE TABLE troubled_2 PARTITION OF troubled FOR VALUES IN (2) PARTITION BY LIST (id);
CREATE TABLE troubled_2a PARTITION OF troubled_2 FOR VALUES IN (2);
EXECUTE problem;
DROP TABLE troubled;

-- tables that inherit
RESET client_min_messages;
CREATE TABLE troubled (id int);
CREATE TABLE troubled_child () INHERITS (troubled);
SELECT outbox.watch('troubled', 'one:{id}');
EXECUTE problem;
SELECT outbox.watch('troubled_child', 'one:{id}');
EXECUTE problem;
SELECT outbox.watch('troubled', 'one:{id}');
DROP TABLE troubled CASCADE;
