-- Partitions: row triggers of the partitioned table count in each; a row that moves is DELETE and INSERT.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE parts (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_2 (v text, gone int, id int);
ALTER TABLE parts_2 DROP gone;
SELECT outbox.watch('parts', 'list', 'part:{id}:{v}');

-- columns in another order; a partition attached later; one that is written by name
INSERT INTO parts_2 VALUES ('before', 15);
ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (10) TO (20);
INSERT INTO parts VALUES (1, 'a'), (11, 'b');
INSERT INTO parts_1 VALUES (2, 'direct');
INSERT INTO parts_2 VALUES ('direct', 12);
CREATE TABLE parts_3 PARTITION OF parts FOR VALUES FROM (20) TO (30) PARTITION BY LIST (id);
CREATE TABLE parts_3a PARTITION OF parts_3 FOR VALUES IN (21);
INSERT INTO parts VALUES (21, 'deep');
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- a row that moves; one that stays
SELECT max(id) AS start FROM outbox.event \gset
UPDATE parts SET id = 13 WHERE id = 1;
UPDATE parts SET v = v WHERE id = 13;
UPDATE parts SET v = 'b' WHERE id = 13;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- with columns that count, a move counts though none of them changes
SELECT outbox.watch_columns('parts', '{v}', 'columns:{id}');
SELECT max(id) AS start FROM outbox.event \gset
UPDATE parts SET id = 14 WHERE id = 13;
UPDATE parts SET id = 3 WHERE id = 14;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;
SELECT relation, trigger, columns FROM outbox.watched WHERE relation::text LIKE 'parts%';

-- detached: watched no more; ATTACH and DETACH themselves record nothing
SELECT max(id) AS start FROM outbox.event \gset
ALTER TABLE parts DETACH PARTITION parts_2;
INSERT INTO parts_2 VALUES ('detached', 16);
SELECT outbox.invalidate_all('parts');
DELETE FROM parts;
DROP TABLE parts_1;
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;

-- a partition is covered by its table, but for its own TRUNCATE
SELECT max(id) AS start FROM outbox.event \gset
SELECT outbox.watch('parts_3a', 'x:{id}');
SELECT outbox.unwatch('parts_3a');
TRUNCATE parts_3a;
CREATE TRIGGER outbox_invalidate_truncate AFTER TRUNCATE ON parts_3a FOR EACH STATEMENT EXECUTE FUNCTION outbox.invalidate('columns:{id}');
TRUNCATE parts_3a;
TRUNCATE parts;
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;
SELECT outbox.unwatch('parts');
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgrelid::regclass::text LIKE 'parts%';

-- one that is watched by itself is not taken over
SELECT outbox.watch('parts_3a', 'own:{id}');
SELECT outbox.watch('parts', 'part:{id}');
SELECT outbox.watch_when('parts', 'true', 'part:{id}');
SELECT relation, templates FROM outbox.watched WHERE relation::text LIKE 'parts%';
SELECT outbox.unwatch('parts_3a');
SELECT outbox.watch('parts', 'part:{id}');
-- nor can it be attached
SELECT outbox.watch('parts_2', 'own:{id}');
ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (10) TO (20);
DROP TABLE parts, parts_2;
