-- outbox.watch makes two triggers, checked against the table; again replaces them; unwatch drops them.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE SCHEMA "Odd schema";
CREATE TABLE "Odd schema"."it's" (id int, "quoted""name" text);

SELECT outbox.watch('"Odd schema"."it''s"', 'one:{id}', 'it''s \ {"quoted""name"}');
SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = '"Odd schema"."it''s"'::regclass ORDER BY 1;
INSERT INTO "Odd schema"."it's" VALUES (1, 'a');
SELECT outbox.watch('"Odd schema"."it''s"', 'other:{id}');
INSERT INTO "Odd schema"."it's" VALUES (2, 'b');
SELECT relation, trigger, templates, columns, condition, enabled, problem
  FROM outbox.watched WHERE relation = '"Odd schema"."it''s"'::regclass;
SELECT outbox.unwatch('"Odd schema"."it''s"');
INSERT INTO "Odd schema"."it's" VALUES (3, 'c');
SELECT outbox.unwatch('"Odd schema"."it''s"');
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- what is refused
CREATE TABLE plain (id int);
CREATE VIEW plain_view AS SELECT * FROM plain;
CREATE MATERIALIZED VIEW plain_matview AS SELECT * FROM plain;
CREATE SEQUENCE plain_seq;
CREATE TEMP TABLE plain_temp (id int);
CREATE FOREIGN DATA WRAPPER plain_fdw;
CREATE SERVER plain_server FOREIGN DATA WRAPPER plain_fdw;
CREATE FOREIGN TABLE plain_foreign (id int) SERVER plain_server;
SELECT outbox.watch(NULL, 'x');
SELECT outbox.watch('plain', NULL);
SELECT outbox.watch('plain', VARIADIC NULL);
SELECT outbox.watch('plain', VARIADIC '{}');
SELECT outbox.watch('plain', 'x:{name}');
SELECT outbox.watch('plain', 'x:{id');
SELECT outbox.watch('plain', '{id}');
SELECT outbox.watch(0, 'x');
SELECT outbox.watch('plain_view', 'x');
SELECT outbox.watch('plain_matview', 'x');
SELECT outbox.watch('plain_seq', 'x');
SELECT outbox.watch('plain_temp', 'x');
SELECT outbox.watch('plain_foreign', 'x');
SELECT outbox.watch('pg_class', 'x');
SELECT outbox.watch('information_schema.sql_features', 'x');
SELECT outbox.watch('outbox.event_1', 'x');
SELECT outbox.watch('outbox.instance', 'x');
SELECT outbox.unwatch(NULL);

-- a trigger of that name that is not ours stays
CREATE FUNCTION plain_function() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER outbox_invalidate_truncate AFTER TRUNCATE ON plain FOR EACH STATEMENT EXECUTE FUNCTION plain_function();
SELECT outbox.watch('plain', 'x');
SELECT outbox.unwatch('plain');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'plain'::regclass;

-- a watch that rolls back was none
BEGIN;
DROP TRIGGER outbox_invalidate_truncate ON plain;
SELECT outbox.watch('plain', 'x:{id}');
ROLLBACK;
SELECT count(*) FROM outbox.watched WHERE relation = 'plain'::regclass;

DROP SCHEMA "Odd schema" CASCADE;
DROP FOREIGN DATA WRAPPER plain_fdw CASCADE;
DROP TABLE plain CASCADE;
DROP SEQUENCE plain_seq;
DROP FUNCTION plain_function();
