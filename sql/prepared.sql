-- PREPARE TRANSACTION keeps events until COMMIT PREPARED. (prepared_1.out: a server without.)
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE prepared (id int);
SELECT outbox.watch('prepared', 'prepared:{id}');

BEGIN;
INSERT INTO prepared VALUES (1);
SELECT outbox.publish('q', '"kept"');
PREPARE TRANSACTION 'outbox one';
BEGIN;
INSERT INTO prepared VALUES (2);
PREPARE TRANSACTION 'outbox two';
SELECT outbox.invalidate('not prepared');
SELECT keys, payload FROM outbox.event WHERE id > :start ORDER BY id;
ROLLBACK PREPARED 'outbox two';
COMMIT PREPARED 'outbox one';
SELECT keys, payload FROM outbox.event WHERE id > :start ORDER BY id;

-- one that fails to prepare is rolled back
SELECT max(id) AS start FROM outbox.event \gset
BEGIN;
INSERT INTO prepared VALUES (3);
CREATE TEMP TABLE prepared_temp (id int);
PREPARE TRANSACTION 'outbox three';
SELECT outbox.invalidate('next');
SELECT keys, payload FROM outbox.event WHERE id > :start ORDER BY id;
DROP TABLE prepared;
