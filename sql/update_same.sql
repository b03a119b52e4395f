-- An UPDATE that leaves every column's value as it was records nothing.
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset

CREATE TABLE same (id int PRIMARY KEY, gone int, big text, doc jsonb, n numeric, at timestamptz);
ALTER TABLE same ALTER COLUMN big SET STORAGE EXTERNAL;
ALTER TABLE same DROP COLUMN gone;
INSERT INTO same VALUES (1, repeat('toasted', 10000), '{"a": 1}', 1.0, '2024-01-01');
INSERT INTO same VALUES (2, NULL, NULL, NULL, NULL);
SELECT outbox.watch('same', 'same:{id}');

UPDATE same SET id = id, big = big, doc = doc;
UPDATE same SET big = repeat('toasted', 10000) WHERE id = 1;
UPDATE same SET doc = '{"a":   1}', at = at + interval '0' WHERE id = 1;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- any other image counts
UPDATE same SET big = repeat('Toasted', 10000) WHERE id = 1;
UPDATE same SET doc = '{"a": 2}' WHERE id = 1;
UPDATE same SET n = 1.00 WHERE id = 1;
UPDATE same SET at = NULL WHERE id = 1;
UPDATE same SET n = 0 WHERE id = 2;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;
DROP TABLE same;
