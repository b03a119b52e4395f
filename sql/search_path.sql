-- A hostile search_path, and objects that bear our names, change nothing.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE searched (id int);
SELECT outbox.watch('searched', 'searched:{id}');
CREATE SCHEMA evil;
CREATE TABLE evil.event_1 (id int);
CREATE TABLE evil.event (id int);
CREATE SEQUENCE evil.event_id_seq START 1000000000;
CREATE FUNCTION evil.text(int) RETURNS text LANGUAGE sql AS $$ SELECT 'evil' $$;
CREATE FUNCTION evil.eq(oid, oid) RETURNS boolean LANGUAGE sql AS $$ SELECT false $$;
CREATE OPERATOR evil.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = evil.eq);
CREATE FUNCTION evil.ge(xid8, xid8) RETURNS boolean LANGUAGE sql AS $$ SELECT false $$;
CREATE OPERATOR evil.>= (LEFTARG = xid8, RIGHTARG = xid8, FUNCTION = evil.ge);
CREATE TEMP TABLE event_1 (id int);
CREATE TEMP TABLE event (id int);

BEGIN;
SET LOCAL search_path = evil, pg_temp, pg_catalog;
INSERT INTO public.searched VALUES (1);
SELECT outbox.invalidate('by hand');
SELECT outbox.watch('public.searched', 'again:{id}');
INSERT INTO public.searched VALUES (2);
COMMIT;
SET search_path = '';
SELECT outbox.unwatch('public.searched');
SELECT outbox.watch('public.searched', 'third:{id}');
INSERT INTO public.searched VALUES (3);
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;
RESET search_path;

-- nor does what stands in public: names in a condition are those of pg_catalog
CREATE FUNCTION public.not_equal(int, int) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'hijacked'; END$$;
CREATE OPERATOR public.<> (LEFTARG = int, RIGHTARG = int, FUNCTION = public.not_equal);
CREATE FUNCTION public.length(varchar) RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE 'hijacked'; END$$;
CREATE FUNCTION public.jsonb_populate_record(record, jsonb) RETURNS record LANGUAGE plpgsql AS $$BEGIN RAISE 'hijacked'; END$$;
CREATE FUNCTION public.row_to_json(record) RETURNS json LANGUAGE plpgsql AS $$BEGIN RAISE 'hijacked'; END$$;
CREATE TABLE conditioned (id int, v varchar);
SELECT max(id) AS start FROM outbox.event \gset
SET search_path = public, pg_catalog;
SELECT outbox.watch_when('conditioned', 'NEW.id <> 7 AND length(NEW.v) > 1', 'conditioned:{id}');
CREATE TRIGGER tell AFTER INSERT ON conditioned FOR EACH ROW EXECUTE FUNCTION outbox.publish_row('q');
INSERT INTO conditioned VALUES (1, 'long'), (2, '-'), (7, 'long');
SELECT * FROM outbox.explain('conditioned', NULL, '{"id": 5, "v": "xx"}');
SELECT condition, problem FROM outbox.watched WHERE relation = 'conditioned'::regclass;
RESET search_path;
SELECT keys, payload->'new'->>'id' AS row FROM outbox.event WHERE id > :start ORDER BY id;
-- what is meant to be of another schema is written with it
SELECT outbox.watch_when('conditioned', 'NEW.id OPERATOR(public.<>) 7', 'conditioned:{id}');
INSERT INTO conditioned VALUES (1, 'long');
DROP TABLE conditioned;
DROP OPERATOR public.<> (int, int);
DROP FUNCTION public.not_equal(int, int);
DROP FUNCTION public.length(varchar);
DROP FUNCTION public.jsonb_populate_record(record, jsonb);
DROP FUNCTION public.row_to_json(record);
SELECT max(id) < 1000000000 FROM outbox.event;

-- nor do settings that the writer chose
SELECT max(id) AS start FROM outbox.event \gset
BEGIN;
SET LOCAL session_replication_role = replica;
SELECT outbox.invalidate('replica role');
SET LOCAL row_security = off;
SET LOCAL standard_conforming_strings = off;
SET LOCAL constraint_exclusion = on;
COMMIT;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;
SET client_min_messages = warning;
DROP SCHEMA evil CASCADE;
DROP TABLE searched;
