-- MERGE: each action as the statement that it stands for.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE merged (id int PRIMARY KEY, v text, w int);
INSERT INTO merged VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3), (4, 'd', 4);
SELECT outbox.watch_columns('merged', '{v}', 'merged:{id}');
MERGE INTO merged AS m USING (VALUES (1, 'a'), (2, 'new'), (3, 'gone'), (4, 'count'), (5, 'five'), (6, 'not'))
      AS s (id, v) ON m.id = s.id
    WHEN MATCHED AND s.v = 'gone' THEN DELETE
    WHEN MATCHED AND s.v = 'count' THEN UPDATE SET w = m.w + 1
    WHEN MATCHED THEN UPDATE SET v = s.v
    WHEN NOT MATCHED AND s.v = 'not' THEN DO NOTHING
    WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v, 0);
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;
DROP TABLE merged;
