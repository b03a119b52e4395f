-- outbox.watch_when: only rows for which a condition over OLD and NEW holds.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE conditional (id int PRIMARY KEY, title text, published boolean, views int);

-- where there is no old or no new row, its columns are NULL
SELECT outbox.watch_when('conditional', 'OLD.published OR NEW.published', 'list', 'one:{id}');
SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'conditional'::regclass ORDER BY 1;
SELECT relation, trigger, templates, columns, condition, enabled, problem
  FROM outbox.watched WHERE relation = 'conditional'::regclass;
INSERT INTO conditional VALUES (1, 'draft', false), (2, 'shown', true), (3, 'neither', NULL);
UPDATE conditional SET title = 'still a draft' WHERE id = 1;
UPDATE conditional SET published = true WHERE id = 1;
UPDATE conditional SET published = false WHERE id = 1;
UPDATE conditional SET published = published WHERE id = 2;
DELETE FROM conditional WHERE id <> 2;
DELETE FROM conditional WHERE id = 2;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- again replaces it; its triggers become other ones
SELECT max(id) AS start FROM outbox.event \gset
SELECT outbox.watch_when('conditional', 'NEW IS NULL OR OLD IS NULL OR OLD.title IS DISTINCT FROM NEW.title', 'title:{id}');
SELECT condition FROM outbox.watched WHERE relation = 'conditional'::regclass;
INSERT INTO conditional VALUES (4, 'four', true, 0);
UPDATE conditional SET views = 1;
UPDATE conditional SET title = 'IV';
DELETE FROM conditional;
TRUNCATE conditional;
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;
SELECT outbox.watch('conditional', 'plain:{id}');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'conditional'::regclass ORDER BY 1;
SELECT outbox.watch_when('conditional', 'OLD.* IS DISTINCT FROM NEW.*', 'row:{id}');
SELECT outbox.watch_columns('conditional', '{views}', 'views:{id}');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'conditional'::regclass ORDER BY 1;
SELECT outbox.watch_when('conditional', 'true', 'row:{id}');
SELECT outbox.unwatch('conditional');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'conditional'::regclass ORDER BY 1;

-- columns are followed when they are renamed, and kept from being dropped
SELECT outbox.watch_when('conditional', 'NEW.views > 100 OR OLD.views > 100', 'many:{id}');
ALTER TABLE conditional RENAME views TO hits;
SELECT condition, problem FROM outbox.watched WHERE relation = 'conditional'::regclass;
ALTER TABLE conditional DROP hits;
CREATE FUNCTION conditional_function(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 5';
SELECT outbox.watch_when('conditional', 'public.conditional_function(NEW.hits)', 'many:{id}');
DROP FUNCTION conditional_function(int);
SELECT outbox.unwatch('conditional');
DROP FUNCTION conditional_function(int);
SELECT outbox.unwatch('conditional');

-- a whole row in it stops neither a new column nor a new type nor DROP TABLE
CREATE TABLE conditional_row (id int, v text);
SELECT outbox.watch_when('conditional_row', 'OLD.* IS DISTINCT FROM NEW.* AND to_jsonb(NEW) IS DISTINCT FROM to_jsonb(OLD)', 'row:{id}');
SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'conditional_row'::regclass ORDER BY tgname;
ALTER TABLE conditional_row ADD w int DEFAULT 3;
ALTER TABLE conditional_row ALTER v TYPE varchar(20);
INSERT INTO conditional_row VALUES (1);
UPDATE conditional_row SET w = 4;
DELETE FROM conditional_row;
SELECT keys FROM outbox.event WHERE id > :start AND keys::text ~ 'row' ORDER BY id;
DROP TABLE conditional_row;
-- of a partitioned table, whose partitions have other rows
CREATE TABLE conditional_row (id int, v text) PARTITION BY LIST (id);
CREATE TABLE conditional_row_1 (v text, id int);
SELECT outbox.watch_when('conditional_row', '(OLD IS NULL OR NEW IS NULL OR (OLD.*) IS DISTINCT FROM (NEW.*)) AND coalesce(NEW, OLD) IS NOT NULL', 'rows:{id}');
ALTER TABLE conditional_row ATTACH PARTITION conditional_row_1 FOR VALUES IN (1);
INSERT INTO conditional_row VALUES (1, 'a'), (1, NULL);
UPDATE conditional_row SET v = v || 'b';
ALTER TABLE conditional_row ADD w int DEFAULT 3;
DELETE FROM conditional_row;
SELECT keys FROM outbox.event WHERE id > :start AND keys::text ~ 'rows' ORDER BY id;
SELECT problem FROM outbox.watched WHERE relation = 'conditional_row'::regclass;
DROP TABLE conditional_row;

-- quotes, comments and parentheses in it, and odd names around it
CREATE SCHEMA "WHEN (";
CREATE TABLE "WHEN (".") EXECUTE "" WHEN (" (id int, "it's ""so (" text);
SELECT outbox.watch_when('"WHEN (".") EXECUTE "" WHEN ("',
    $$NEW."it's ""so (" <> ') EXECUTE FUNCTION ''"(' -- a comment
      /* and another ) */ AND NEW."it's ""so (" <> E'\\'$$, 'odd:{id}');
SELECT condition, problem FROM outbox.watched WHERE relation = '"WHEN (".") EXECUTE "" WHEN ("'::regclass;
INSERT INTO "WHEN (".") EXECUTE "" WHEN (" VALUES (1, 'x'), (2, ') EXECUTE FUNCTION ''"('), (3, '\');

-- a NULL of a domain that forbids it
CREATE DOMAIN conditional_domain AS int NOT NULL CHECK (VALUE > 0);
CREATE TABLE conditional_typed (id conditional_domain, at timestamptz, tags text[], doc jsonb);
SELECT outbox.watch_when('conditional_typed',
    $$(OLD.id IS NULL OR OLD.id <> 7) AND coalesce(NEW.tags, OLD.tags) @> '{a}' AND coalesce(NEW.doc, OLD.doc) ? 'k'$$, 'typed:{id}');
INSERT INTO conditional_typed VALUES (5, now(), '{a,b}', '{"k": 1}'), (6, now(), '{b}', '{"k": 1}');
DELETE FROM conditional_typed;
SELECT keys FROM outbox.event WHERE id > :start AND keys::text ~ 'odd|typed' ORDER BY id;
-- each definition can be read back, as pg_dump does
SELECT count(*) AS definitions, string_agg(pg_get_triggerdef(oid), '; ' ORDER BY tgname) AS all_of_them
  FROM pg_trigger WHERE tgrelid = 'conditional_typed'::regclass \gset
SELECT :definitions;
SELECT outbox.unwatch('conditional_typed');
:all_of_them;
SELECT condition IS NOT NULL AS condition, problem FROM outbox.watched WHERE relation = 'conditional_typed'::regclass;

-- partitions
CREATE TABLE conditional_parted (v text, id int) PARTITION BY LIST (id);
CREATE TABLE conditional_parted_1 (id int, extra int, v text);
ALTER TABLE conditional_parted_1 DROP extra;
ALTER TABLE conditional_parted ATTACH PARTITION conditional_parted_1 FOR VALUES IN (1);
SELECT outbox.watch_when('conditional_parted', 'NEW.v = ''yes''', 'parted:{id}');
CREATE TABLE conditional_parted_2 PARTITION OF conditional_parted FOR VALUES IN (2);
INSERT INTO conditional_parted VALUES ('no', 1), ('yes', 2), ('yes', 1), ('no', 2);
SELECT keys FROM outbox.event WHERE id > :start AND keys::text ~ 'parted' ORDER BY id;
SELECT outbox.unwatch('conditional_parted');
SELECT count(*) FROM pg_trigger WHERE tgname ~ 'outbox' AND tgrelid::regclass::text ~ 'parted';

-- what is no single boolean expression of OLD and NEW
SELECT outbox.watch_when('conditional', NULL, 'x');
SELECT outbox.watch_when('conditional', repeat('x', 8193), 'x');
SELECT outbox.watch_when('conditional', '', 'x');
SELECT outbox.watch_when('conditional', '  -- nothing', 'x');
SELECT outbox.watch_when('conditional', 'true) EXECUTE FUNCTION x(); --', 'x');
SELECT outbox.watch_when('conditional', 'true); DROP TABLE conditional; --', 'x');
SELECT outbox.watch_when('conditional', 'true; SELECT 1', 'x');
SELECT outbox.watch_when('conditional', 'true, false', 'x');
SELECT outbox.watch_when('conditional', 'true AS x', 'x');
SELECT outbox.watch_when('conditional', 'true FROM pg_class', 'x');
SELECT outbox.watch_when('conditional', 'DISTINCT true', 'x');
SELECT outbox.watch_when('conditional', 'true LIMIT 1', 'x');
SELECT outbox.watch_when('conditional', 'true WHERE true', 'x');
SELECT outbox.watch_when('conditional', 'true FOR UPDATE', 'x');
SELECT outbox.watch_when('conditional', 'true INTO x', 'x');
SELECT outbox.watch_when('conditional', 'VALUES (true)', 'x');
SELECT outbox.watch_when('conditional', 'NEW.*', 'x');
SELECT outbox.watch_when('conditional', 'true UNION SELECT false', 'x');
SELECT outbox.watch_when('conditional', '*', 'x');
SELECT outbox.watch_when('conditional', '(SELECT true)', 'x');
SELECT outbox.watch_when('conditional', 'EXISTS (SELECT FROM pg_class)', 'x');
SELECT outbox.watch_when('conditional', 'NEW.id', 'x');
SELECT outbox.watch_when('conditional', 'NEW.nothing = 1', 'x');
SELECT outbox.watch_when('conditional', 'id = 1', 'x');
SELECT outbox.watch_when('conditional', 'title = ''x''', 'x');
SELECT outbox.watch_when('conditional', 'other.id = 1', 'x');
SELECT outbox.watch_when('conditional', 'count(*) > 1', 'x');
SELECT outbox.watch_when('conditional', 'rank() OVER () > 1', 'x');
SELECT outbox.watch_when('conditional', 'generate_series(1, 2) > 1', 'x');
SELECT outbox.watch_when('conditional', '$1', 'x');
SELECT outbox.watch_when('conditional', 'conditional_function(1)', 'x');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'conditional'::regclass ORDER BY 1;

SET client_min_messages = warning;
DROP SCHEMA "WHEN (" CASCADE;
DROP TABLE conditional, conditional_typed, conditional_parted;
DROP DOMAIN conditional_domain;
