-- Paths into jsonb, filters, a key for each element.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset

CREATE DOMAIN tags AS text[];
CREATE DOMAIN document AS jsonb;
CREATE TABLE spoken (id int, doc jsonb, name text, tags text[], whens timestamptz[], dtags tags, ddoc document, "a.b" jsonb, upper_id uuid);
CREATE TRIGGER paths AFTER INSERT ON spoken FOR EACH ROW EXECUTE FUNCTION outbox.invalidate(
    'path:{doc.a.b}', 'index:{doc.list.1}', 'whole:{doc.a}', 'number:{doc.n}', 'bool:{doc.yes}',
    'null:{doc.nothing}', 'missing:{doc.no.such}', 'quoted:{"a.b"."c.d"."e|f"}', 'domain:{ddoc.x}');
CREATE TRIGGER filters AFTER INSERT ON spoken FOR EACH ROW EXECUTE FUNCTION outbox.invalidate(
    'lower:{name|lower}', 'upper:{name|upper}', 'md5:{name|md5}', 'chain:{doc.a.b|upper|md5}', 'id:{id|md5}',
    'uuid:{upper_id|upper}');
CREATE TRIGGER eaches AFTER INSERT ON spoken FOR EACH ROW EXECUTE FUNCTION outbox.invalidate(
    'tag:{tags|each}:{id}', 'up:{tags|each|upper}', 'when:{whens|each}', 'dtag:{dtags|each}',
    'list:{doc.list|each}', 'scalar:{doc.n|each}', 'object:{doc.a|each}', 'none:{doc.nothing|each}', 'doc:{ddoc|each}');

SET TimeZone = 'Asia/Kathmandu';
INSERT INTO spoken VALUES (
    1, '{"a": {"b": "Value"}, "list": ["x", {"y": 1}, null, 2.50, true], "n": 1.0, "yes": true, "nothing": null}',
    'Größe', '{{a,"b c"},{NULL,""}}', '{2024-01-01 00:00:00+00}', '{d1,d2}', '{"x": 7}',
    '{"c.d": {"e|f": "deep"}}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');
RESET TimeZone;
SELECT unnest(keys) FROM outbox.event WHERE id > :start;
SELECT 'md5:' || md5('Größe') = ANY (keys) FROM outbox.event WHERE id > :start;

-- nothing in it, no key
SELECT max(id) AS start FROM outbox.event \gset
INSERT INTO spoken VALUES (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO spoken (tags, doc) VALUES ('{}', '{"list": []}');
INSERT INTO spoken (name) VALUES ('');
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- TRUNCATE
SELECT max(id) AS start FROM outbox.event \gset
SELECT outbox.watch('spoken', 'tag:{tags|each|upper}:{doc.a.b}', 'all');
TRUNCATE spoken;
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;

-- what does not fit
SELECT outbox.watch('spoken', 'x:{name.first}');
SELECT outbox.watch('spoken', 'x:{"a.b}');
SELECT outbox.watch('spoken', 'x:{a.b}');
SELECT outbox.watch('spoken', 'x:{doc.}');
SELECT outbox.watch('spoken', 'x:{doc..a}');
SELECT outbox.watch('spoken', 'x:{.a}');
SELECT outbox.watch('spoken', 'x:{|lower}');
SELECT outbox.watch('spoken', 'x:{name|each}');
SELECT outbox.watch('spoken', 'x:{name|trim}');
SELECT outbox.watch('spoken', 'x:{name|}');
SELECT outbox.watch('spoken', 'x:{name|Lower}');
SELECT outbox.watch('spoken', 'x:{name|lower');
SELECT outbox.watch('spoken', 'x:{tags|lower|each}');
SELECT outbox.watch('spoken', 'x:{tags|each}:{tags|each}');
SELECT outbox.watch('spoken', 'x:{tags|each|each}');
SELECT outbox.watch('spoken', format('x:{name%s}', repeat('|md5', 17)));
SELECT outbox.watch('spoken', '{tags|each}{doc.a}');

-- a column of another type
ALTER TABLE spoken ALTER COLUMN tags TYPE text USING 'one';
INSERT INTO spoken (tags) VALUES ('x');
SELECT problem FROM outbox.watched WHERE relation = 'spoken'::regclass ORDER BY trigger;
DROP TABLE spoken;
DROP DOMAIN tags, document;
