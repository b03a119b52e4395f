-- outbox.watch_columns: an UPDATE counts only if the value of one of these columns changes.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE counted (id int PRIMARY KEY, title text, views int, "odd ""column" text, big text);
ALTER TABLE counted ALTER big SET STORAGE EXTERNAL;
SELECT outbox.watch_columns('counted', '{title,"odd \"column",big}', 'list', 'one:{id}');
SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'counted'::regclass ORDER BY 1;
SELECT relation, trigger, templates, columns, condition, enabled, problem
  FROM outbox.watched WHERE relation = 'counted'::regclass;

-- INSERT and DELETE count as ever
INSERT INTO counted VALUES (1, 'a', 0, NULL, repeat('x', 10000));
INSERT INTO counted VALUES (2, 'b', 0, 'odd', NULL);
DELETE FROM counted WHERE id = 2;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- an UPDATE of others, or to the same value: being mentioned is not enough
SELECT max(id) AS start FROM outbox.event \gset
UPDATE counted SET views = views + 1;
UPDATE counted SET title = title, views = views + 1;
UPDATE counted SET big = repeat('x', 10000);
UPDATE counted SET id = 10;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- each of the columns by itself, from NULL and to NULL
UPDATE counted SET title = 'new';
UPDATE counted SET "odd ""column" = '';
UPDATE counted SET "odd ""column" = NULL;
UPDATE counted SET big = big || 'y';
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- changed by a BEFORE trigger, though not mentioned
SELECT max(id) AS start FROM outbox.event \gset
CREATE FUNCTION counted_before() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.title := 'by trigger'; RETURN NEW; END$$;
CREATE TRIGGER before BEFORE UPDATE ON counted FOR EACH ROW EXECUTE FUNCTION counted_before();
UPDATE counted SET views = 0;
TRUNCATE counted;
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;

-- a column that was renamed or dropped: told before it happens, then loudly
INSERT INTO counted VALUES (1, 'a');
ALTER TABLE counted RENAME title TO headline;
SELECT problem FROM outbox.watched WHERE relation = 'counted'::regclass;
DROP TRIGGER before ON counted;
UPDATE counted SET views = 1;
\set VERBOSITY sqlstate
DELETE FROM counted;
\set VERBOSITY default
SELECT outbox.watch_columns('counted', '{headline}', 'one:{id}');
UPDATE counted SET views = 2;
ALTER TABLE counted DROP headline;
SELECT problem FROM outbox.watched WHERE relation = 'counted'::regclass;
UPDATE counted SET views = 3;

-- again replaces, whatever it was
SELECT outbox.watch('counted', 'plain:{id}');
SELECT columns, templates, problem FROM outbox.watched WHERE relation = 'counted'::regclass;
SELECT outbox.watch_columns('counted', '{views}', 'views:{id}');
SELECT columns, templates, problem FROM outbox.watched WHERE relation = 'counted'::regclass;
SELECT outbox.unwatch('counted');
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'counted'::regclass;

-- what is refused
SELECT outbox.watch_columns('counted', NULL, 'x');
SELECT outbox.watch_columns('counted', '{}', 'x');
SELECT outbox.watch_columns('counted', '{views,NULL}', 'x');
SELECT outbox.watch_columns('counted', '{nothing}', 'x');
SELECT outbox.watch_columns('counted', '{Views}', 'x');
SELECT outbox.watch_columns('counted', '{tableoid}', 'x');
SELECT outbox.watch_columns('counted', '{""}', 'x');
SELECT outbox.watch_columns('counted', '{views}', VARIADIC '{}');
SELECT outbox.watch_columns('counted', '{views}', '');
SELECT outbox.watch_columns('counted', '{views}', VARIADIC array_fill('x'::text, ARRAY[998]));

-- by hand: the columns stand between two empty arguments, which no template can be
CREATE TRIGGER by_hand AFTER UPDATE ON counted FOR EACH ROW EXECUTE FUNCTION outbox.invalidate('', 'views', '', 'hand:{id}');
SELECT trigger, columns, templates, problem FROM outbox.watched WHERE relation = 'counted'::regclass;
\set make 'CREATE TRIGGER wrong AFTER UPDATE ON counted FOR EACH ROW EXECUTE FUNCTION outbox.invalidate'
:make ('', 'views', 'x');
:make ('', '', 'x');
:make ('', 'views', '');
:make ('', 'nothing', '', 'x');
:make ('x', '', 'views', '');
DROP TABLE counted;
DROP FUNCTION counted_before();
