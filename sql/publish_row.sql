-- outbox.publish_row: a message for each changed row.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE told (id int PRIMARY KEY, title text, n numeric, tags text[]);
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON told FOR EACH ROW EXECUTE FUNCTION outbox.publish_row('search');
INSERT INTO told VALUES (1, 'one', 1.50, '{a,b}');
UPDATE told SET title = 'größer "two"';
UPDATE told SET title = title;
DELETE FROM told;
SELECT exchange, routing_key, payload FROM outbox.event WHERE id > :start ORDER BY id;

-- each row a message, in order, taken back with the savepoint; beside keys
SELECT max(id) AS start FROM outbox.event \gset
SELECT outbox.watch('told', 'told:{id}');
BEGIN;
INSERT INTO told SELECT i FROM generate_series(1, 3) AS i;
SAVEPOINT s;
DELETE FROM told;
ROLLBACK TO s;
UPDATE told SET title = 'x' WHERE id = 2;
COMMIT;
SELECT keys, payload->>'op' AS op, payload->'new'->>'id' AS row FROM outbox.event WHERE id > :start ORDER BY id;

-- rendered alike in every session
SELECT max(id) AS start FROM outbox.event \gset
CREATE TABLE told_types (t timestamptz, d date, i interval, f float8, b bytea, m money, r regclass, x told, o oid[]);
CREATE TRIGGER tell AFTER INSERT ON told_types FOR EACH ROW EXECUTE FUNCTION outbox.publish_row('types');
INSERT INTO told_types VALUES ('2024-02-03 04:05:06+00', '2024-02-03', '1 day 2 hours', 0.1::float8 + 0.2, '\xdead', 1.5, 'told', ROW(1, 'a', 2, '{c}'), '{1}');
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'German';
SET IntervalStyle = 'iso_8601';
SET extra_float_digits = -10;
SET bytea_output = 'escape';
SET search_path = '';
SET quote_all_identifiers = on;
INSERT INTO public.told_types VALUES ('2024-02-03 04:05:06+00', '2024-02-03', '1 day 2 hours', 0.1::float8 + 0.2, '\xdead', 1.5, 'public.told', ROW(1, 'a', 2, '{c}'), '{1}');
RESET ALL;
SELECT payload FROM outbox.event WHERE id > :start ORDER BY id;
SELECT count(DISTINCT payload) FROM outbox.event WHERE id > :start;

-- the table's name: qualified, quoted, and of the table whose trigger it is
SELECT max(id) AS start FROM outbox.event \gset
CREATE SCHEMA "Told";
CREATE TABLE "Told"."it""s" (id int, gone int, v text) PARTITION BY LIST (id);
CREATE TABLE told_part_1 PARTITION OF "Told"."it""s" FOR VALUES IN (1) PARTITION BY LIST (id);
CREATE TABLE told_part_1a (v text, id int, gone int);
ALTER TABLE "Told"."it""s" ADD gen int GENERATED ALWAYS AS (id * 2) STORED;
ALTER TABLE told_part_1a ADD gen int GENERATED ALWAYS AS (id * 2) STORED;
ALTER TABLE told_part_1 ATTACH PARTITION told_part_1a FOR VALUES IN (1);
ALTER TABLE "Told"."it""s" DROP gone;
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON "Told"."it""s" FOR EACH ROW EXECUTE FUNCTION outbox.publish_row('parts');
CREATE TABLE told_part_2 PARTITION OF "Told"."it""s" FOR VALUES IN (2);
INSERT INTO "Told"."it""s" VALUES (1, 'a');
UPDATE "Told"."it""s" SET id = 2;
SELECT payload FROM outbox.event WHERE id > :start ORDER BY id;

-- with the session's traceparent; not where recording is off
SELECT max(id) AS start FROM outbox.event \gset
SET outbox.traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
INSERT INTO told VALUES (20);
RESET outbox.traceparent;
SET outbox.enabled = off;
INSERT INTO told VALUES (21);
RESET outbox.enabled;
SELECT keys, headers FROM outbox.event WHERE id > :start ORDER BY id;

-- what is refused
SET outbox.max_payload = '1kB';
INSERT INTO told VALUES (30, repeat('x', 1000));
RESET outbox.max_payload;
CREATE TABLE told_json (j json);
CREATE TRIGGER tell AFTER INSERT ON told_json FOR EACH ROW EXECUTE FUNCTION outbox.publish_row('json');
INSERT INTO told_json VALUES ('"\u0000"');
SELECT outbox.publish_row();
\set make 'FOR EACH ROW EXECUTE FUNCTION outbox.publish_row'
CREATE TRIGGER wrong AFTER INSERT ON told :make ();
CREATE TRIGGER wrong AFTER INSERT ON told :make ('');
CREATE TRIGGER wrong AFTER INSERT ON told :make ('a', 'b');
CREATE TRIGGER wrong BEFORE INSERT ON told :make ('a');
CREATE TRIGGER wrong AFTER INSERT ON told FOR EACH STATEMENT EXECUTE FUNCTION outbox.publish_row('a');
CREATE TRIGGER wrong AFTER TRUNCATE ON told FOR EACH STATEMENT EXECUTE FUNCTION outbox.publish_row('a');
SELECT format('CREATE TRIGGER wrong AFTER INSERT ON told FOR EACH ROW EXECUTE FUNCTION outbox.publish_row(%L)', repeat('q', 256)) AS long \gset
:long;
-- it is no key trigger: the view of watched tables leaves it out
SELECT count(*) FROM outbox.watched WHERE relation = 'told_types'::regclass;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'told'::regclass ORDER BY 1;

SET client_min_messages = warning;
DROP SCHEMA "Told" CASCADE;
DROP TABLE told_types, told, told_json;
