-- What a foreign key does to other tables counts as if somebody had done it.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child_cascade (id int PRIMARY KEY, parent_id int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE grandchild (id int, child_id int REFERENCES child_cascade ON DELETE CASCADE);
CREATE TABLE child_null (id int, parent_id int REFERENCES parent ON DELETE SET NULL ON UPDATE SET NULL);
CREATE TABLE child_default (id int, parent_id int DEFAULT 0 REFERENCES parent ON DELETE SET DEFAULT);
INSERT INTO parent VALUES (0), (1), (2);
INSERT INTO child_cascade VALUES (11, 1), (12, 2);
INSERT INTO grandchild VALUES (111, 11), (112, 12);
INSERT INTO child_null VALUES (21, 1), (22, 2);
INSERT INTO child_default VALUES (31, 1);
SELECT outbox.watch('parent', 'parent:{id}');
SELECT outbox.watch('child_cascade', 'cascade:{id}', 'of:{parent_id}');
SELECT outbox.watch('grandchild', 'grandchild:{id}');
SELECT outbox.watch('child_null', 'null:{id}', 'of:{parent_id}');
SELECT outbox.watch('child_default', 'default:{id}', 'of:{parent_id}');
DELETE FROM parent WHERE id = 1;
UPDATE parent SET id = 3 WHERE id = 2;
SELECT ARRAY(SELECT unnest(keys) ORDER BY 1) AS keys FROM outbox.event WHERE id > :start ORDER BY id;

-- done with the rights of the child's owner, who has none in the schema outbox
SELECT max(id) AS start FROM outbox.event \gset
CREATE ROLE outbox_child_owner;
ALTER TABLE child_cascade OWNER TO outbox_child_owner;
ALTER TABLE grandchild OWNER TO outbox_child_owner;
DELETE FROM parent WHERE id = 3;
SELECT ARRAY(SELECT unnest(keys) ORDER BY 1) AS keys FROM outbox.event WHERE id > :start ORDER BY id;

-- a key that stops the DELETE takes everything back
SELECT max(id) AS start FROM outbox.event \gset
CREATE TABLE child_restrict (parent_id int REFERENCES parent);
INSERT INTO child_restrict VALUES (0);
DELETE FROM parent;
SELECT count(*) FROM outbox.event WHERE id > :start;
DROP TABLE parent, child_cascade, grandchild, child_null, child_default, child_restrict;
DROP ROLE outbox_child_owner;
