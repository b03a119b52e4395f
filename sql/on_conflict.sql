-- ON CONFLICT: DO UPDATE is an UPDATE of the row that was there, DO NOTHING is nothing.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE clashed (id int PRIMARY KEY, slug text UNIQUE, v text);
SELECT outbox.watch('clashed', 'id:{id}', 'slug:{slug}');
INSERT INTO clashed VALUES (1, 'one', 'a') ON CONFLICT DO NOTHING;
INSERT INTO clashed VALUES (1, 'uno', 'b') ON CONFLICT DO NOTHING;
INSERT INTO clashed VALUES (1, 'uno', 'b') ON CONFLICT (id) DO UPDATE SET slug = excluded.slug;
INSERT INTO clashed VALUES (1, 'uno', 'b') ON CONFLICT (id) DO UPDATE SET slug = excluded.slug;
INSERT INTO clashed VALUES (1, 'x', 'c') ON CONFLICT (id) DO UPDATE SET v = excluded.v WHERE clashed.v = 'never';
INSERT INTO clashed VALUES (9, 'uno', 'c'), (3, 'three', 'c') ON CONFLICT (slug) DO UPDATE SET v = excluded.v;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;
DROP TABLE clashed;
