-- outbox.explain: the keys that a change would record. Nothing is recorded.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE explained (id int, author_id int, title text, tags text[], at timestamptz, views int DEFAULT 3);
SELECT outbox.watch('explained', 'list', 'one:{id}', 'author:{author_id}', 'tag:{tags|each}', 'at:{at}');
SELECT * FROM outbox.explain('explained', NULL, '{"id": 1, "author_id": 7, "tags": ["a", "b", "a"]}');
SELECT * FROM outbox.explain('explained', '{"id": 1, "author_id": 7}', '{"id": 1, "author_id": 8}');
SELECT * FROM outbox.explain('explained', '{"id": 1, "author_id": 7}', NULL);
-- what "new" does not name is as in "old"; null is NULL
SELECT * FROM outbox.explain('explained', '{"id": 1, "author_id": 7}', '{"title": "x"}');
SELECT * FROM outbox.explain('explained', '{"id": 1, "author_id": 7}', '{"author_id": null}');
-- a change of nothing
SELECT * FROM outbox.explain('explained', '{"id": 1, "author_id": 7}', '{"id": 1}');
-- rendered as the triggers do
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'German';
SELECT key FROM outbox.explain('explained', NULL, '{"at": "2024-02-03T04:05:06+00:00"}') WHERE template = 'at:{at}';
RESET TimeZone;
RESET DateStyle;
-- an existing row
INSERT INTO explained VALUES (5, 6, 'title', '{x}', '2024-01-01 00:00+00');
SELECT e.* FROM explained AS x, LATERAL outbox.explain('explained', to_jsonb(x), to_jsonb(x) || '{"author_id": 99}') AS e;

-- columns and conditions count
SELECT outbox.watch_columns('explained', '{title}', 'one:{id}');
SELECT * FROM outbox.explain('explained', '{"id": 1, "title": "a"}', '{"views": 4}');
SELECT * FROM outbox.explain('explained', '{"id": 1, "title": "a"}', '{"title": "b"}');
SELECT outbox.watch_when('explained', 'OLD.views IS NULL OR NEW.views > 10', 'one:{id}');
SELECT * FROM outbox.explain('explained', '{"id": 1, "views": 4}', '{"views": 5}');
SELECT * FROM outbox.explain('explained', '{"id": 1, "views": 4}', '{"views": 11}');
SELECT * FROM outbox.explain('explained', '{"id": 1, "views": 4}', NULL);
SELECT * FROM outbox.explain('explained', NULL, '{"id": 1, "views": 4}');

-- several triggers; UPDATE OF; one that is disabled
CREATE TRIGGER by_hand AFTER UPDATE OF title ON explained FOR EACH ROW EXECUTE FUNCTION outbox.invalidate('hand:{id}', 'one:{id}');
SELECT * FROM outbox.explain('explained', '{"id": 1, "views": 4}', '{"views": 11}');
SELECT * FROM outbox.explain('explained', '{"id": 1, "views": 4}', '{"views": 11, "title": "new"}');
ALTER TABLE explained DISABLE TRIGGER by_hand;
SELECT * FROM outbox.explain('explained', '{"id": 1, "views": 4}', '{"views": 11, "title": "new"}');

-- what cannot be explained
SELECT * FROM outbox.explain(NULL, NULL, '{}');
SELECT * FROM outbox.explain('explained', NULL, NULL);
SELECT * FROM outbox.explain('explained', NULL, '[]');
SELECT * FROM outbox.explain('explained', NULL, '{"id": "seven"}');
SELECT * FROM outbox.explain('outbox.watched', NULL, '{}');
SELECT outbox.unwatch('explained');
DROP TRIGGER by_hand ON explained;
SELECT * FROM outbox.explain('explained', NULL, '{"id": 1}');
-- nothing was recorded but the INSERT
SELECT count(*) FROM outbox.event WHERE id > :start;
DROP TABLE explained;
