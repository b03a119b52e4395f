-- Inheritance: row triggers of a parent do not fire for its children's rows; each table is watched by itself.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE ancestor (id int, v text);
CREATE TABLE heir (extra int) INHERITS (ancestor);
CREATE TABLE heir_of_heir () INHERITS (heir);
SELECT outbox.watch('ancestor', 'ancestor:{id}');
INSERT INTO ancestor VALUES (1, 'a');
INSERT INTO heir VALUES (2, 'b');
UPDATE ancestor SET v = 'c';
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;
SELECT problem FROM outbox.watched WHERE relation = 'ancestor'::regclass;

SELECT max(id) AS start FROM outbox.event \gset
SELECT outbox.watch('heir', 'heir:{id}:{extra}', 'heirs');
SELECT outbox.watch('heir_of_heir', 'heir:{id}:{extra}');
SELECT outbox.watch('ancestor', 'ancestor:{id}');
UPDATE ancestor SET v = 'd';
INSERT INTO heir VALUES (3, 'e', 7);
TRUNCATE ONLY ancestor;
TRUNCATE ancestor;
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;
SELECT relation, problem FROM outbox.watched WHERE relation::text ~ 'ancestor|heir' ORDER BY relation::text;
DROP TABLE ancestor CASCADE;
