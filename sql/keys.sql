-- A row trigger records the keys of the old and of the new row, each once in a transaction.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset

CREATE TABLE keys_blog (id int PRIMARY KEY, author_id int, title text);
CREATE TRIGGER keys AFTER INSERT OR UPDATE OR DELETE ON keys_blog
    FOR EACH ROW EXECUTE FUNCTION outbox.invalidate('blogs:all', 'blog:{id}', 'author:{author_id}:blogs');

-- each kind of change, in a transaction of its own
INSERT INTO keys_blog VALUES (1, 7, 'one');
UPDATE keys_blog SET author_id = 8 WHERE id = 1;
DELETE FROM keys_blog WHERE id = 1;
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;

-- a transaction that touches a key a thousand times records it once
SELECT max(id) AS start FROM outbox.event \gset
BEGIN;
INSERT INTO keys_blog SELECT i, 7, 'x' FROM generate_series(1, 4) AS i;
UPDATE keys_blog SET title = title || i FROM generate_series(1, 3) AS i;
DELETE FROM keys_blog WHERE id > 2;
SELECT outbox.invalidate('blog:1', 'by hand', 'by hand');
SELECT outbox.invalidate_pattern('blog:1');
COMMIT;
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;

-- NULL in a placeholder, and an empty expansion: no key
SELECT max(id) AS start FROM outbox.event \gset
CREATE TRIGGER keys_only AFTER INSERT ON keys_blog
    FOR EACH ROW EXECUTE FUNCTION outbox.invalidate('{title}');
INSERT INTO keys_blog VALUES (10, NULL, NULL);
INSERT INTO keys_blog VALUES (11, NULL, '');
INSERT INTO keys_blog VALUES (12, NULL, 'tïtle');
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;
DROP TRIGGER keys_only ON keys_blog;

-- rolled back: nothing
SELECT max(id) AS start FROM outbox.event \gset
BEGIN;
INSERT INTO keys_blog VALUES (20, 1, 'x');
SELECT outbox.invalidate('never');
ROLLBACK;
SELECT count(*) FROM outbox.event WHERE id > :start;

-- every way to change rows
INSERT INTO keys_blog VALUES (1, 7, 'again') ON CONFLICT (id) DO UPDATE SET title = excluded.title;
INSERT INTO keys_blog VALUES (1, 7, 'again') ON CONFLICT (id) DO NOTHING;
COPY keys_blog FROM stdin;
30	1	copied
31	2	copied
\.
MERGE INTO keys_blog AS b USING (VALUES (30), (40)) AS v (id) ON b.id = v.id
    WHEN MATCHED THEN DELETE
    WHEN NOT MATCHED THEN INSERT VALUES (v.id, 4, 'merged');
WITH gone AS (DELETE FROM keys_blog WHERE id = 40 RETURNING *)
    INSERT INTO keys_blog SELECT 41, author_id, title FROM gone;
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;

-- UPDATE OF and WHEN are PostgreSQL's
SELECT max(id) AS start FROM outbox.event \gset
DROP TRIGGER keys ON keys_blog;
CREATE TRIGGER keys AFTER UPDATE OF title ON keys_blog
    FOR EACH ROW WHEN (new.id <> 2) EXECUTE FUNCTION outbox.invalidate('blog:{id}');
UPDATE keys_blog SET author_id = 99;
UPDATE keys_blog SET title = 'new' WHERE id IN (1, 2);
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;

-- a deferred trigger fires before the keys are written
SELECT max(id) AS start FROM outbox.event \gset
CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON keys_blog DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION outbox.invalidate('late:{id}');
BEGIN;
UPDATE keys_blog SET title = 'later' WHERE id = 1;
SELECT outbox.invalidate('first');
COMMIT;
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;

-- ids go up in the order of the transactions, and the view shows no other rows
SELECT bool_and(xid >= '3' AND created_at <= clock_timestamp()) FROM outbox.event;
DROP TABLE keys_blog;
