-- Key templates: literal braces, quoted names, and how long a set of them is kept.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset

CREATE TABLE named (id int, "a.b" text, "p|q" text, "c}" text, "Größe" text, "say ""hi""" text, "{" text);
CREATE TRIGGER named AFTER INSERT OR UPDATE ON named FOR EACH ROW EXECUTE FUNCTION outbox.invalidate(
    '{{{id}}}', '{{id}}', '}}{{', 'dot:{"a.b"}', 'pipe:{"p|q"}', 'brace:{"c}"}', 'größe:{Größe}',
    '{"say ""hi"""}', 'open:{"{"}', '{id}{id}', 'it''s {id} \ "x" $1 %s', 'tab	{id}');
INSERT INTO named VALUES (1, 'x.y', 'x|y', 'x}y', 'groß', 'hi', 'left');
SELECT unnest(keys) FROM outbox.event WHERE id > :start;

-- a column renamed or dropped makes the next write fail, naming template and column
SELECT max(id) AS start FROM outbox.event \gset
CREATE TABLE moving (id int, slug text, extra int);
SELECT outbox.watch('moving', 'slug:{slug}');
INSERT INTO moving VALUES (1, 'first');
ALTER TABLE moving RENAME COLUMN slug TO name;
INSERT INTO moving VALUES (2, 'second');
SELECT trigger, templates, problem FROM outbox.watched WHERE relation = 'moving'::regclass;
ALTER TABLE moving RENAME COLUMN extra TO slug;
INSERT INTO moving VALUES (3, 'third', 33);
ALTER TABLE moving ALTER COLUMN slug TYPE text USING 'text of ' || slug;
INSERT INTO moving VALUES (4, 'fourth', 'four');
UPDATE moving SET name = 'once more' WHERE id = 3;
ALTER TABLE moving DROP COLUMN slug;
INSERT INTO moving VALUES (5, 'fifth');
DELETE FROM moving WHERE id = 1;
SELECT outbox.watch('moving', 'name:{name}');
INSERT INTO moving VALUES (6, 'sixth');
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- also in the middle of a transaction, and back
SELECT max(id) AS start FROM outbox.event \gset
BEGIN;
INSERT INTO moving VALUES (7, 'seventh');
SAVEPOINT s;
ALTER TABLE moving RENAME COLUMN id TO number;
ALTER TABLE moving RENAME COLUMN name TO id;
ALTER TABLE moving RENAME COLUMN number TO name;
INSERT INTO moving VALUES (8, 'eighth');
ROLLBACK TO s;
INSERT INTO moving VALUES (9, 'ninth');
COMMIT;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- a trigger that is disabled is shown
ALTER TABLE moving DISABLE TRIGGER outbox_invalidate;
SELECT trigger, enabled, problem FROM outbox.watched WHERE relation = 'moving'::regclass;
ALTER TABLE moving ENABLE REPLICA TRIGGER outbox_invalidate;
SELECT trigger, enabled, problem FROM outbox.watched WHERE relation = 'moving'::regclass;

-- more tables than are kept
SELECT max(id) AS start FROM outbox.event \gset
SET client_min_messages = warning;
BEGIN;
DO $$
BEGIN
    FOR i IN 1..1100 LOOP
        CREATE TEMP TABLE fleeting (id int);
        CREATE TRIGGER t AFTER INSERT ON fleeting
            FOR EACH ROW EXECUTE FUNCTION outbox.invalidate('fleeting:{id}');
        INSERT INTO fleeting VALUES (i);
        DROP TABLE fleeting;
    END LOOP;
END
$$;
INSERT INTO moving VALUES (10, 'tenth');
INSERT INTO named VALUES (1, 'x.y', 'x|y', 'x}y', 'groß', 'hi', 'left');
COMMIT;
RESET client_min_messages;
SELECT cardinality(keys), keys[1100], keys[1101] FROM outbox.event WHERE id > :start ORDER BY id;
DROP TABLE named, moving;
