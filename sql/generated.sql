-- Generated and identity columns have their values when the trigger sees them.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE made_up (
    id int GENERATED ALWAYS AS IDENTITY, a int, b int DEFAULT 5,
    total int GENERATED ALWAYS AS (a + b) STORED);
SELECT outbox.watch_columns('made_up', '{total}', 'total:{id}:{total}');
INSERT INTO made_up (a) VALUES (1);
UPDATE made_up SET a = 2;
UPDATE made_up SET a = 3, b = 4;
UPDATE made_up SET a = NULL;
DELETE FROM made_up;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;
-- in a condition, too
SELECT max(id) AS start FROM outbox.event \gset
SELECT outbox.watch_when('made_up', 'NEW.total > 100', 'much:{id}');
INSERT INTO made_up (a) VALUES (95), (96);
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;
DROP TABLE made_up;
