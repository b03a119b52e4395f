-- outbox.invalidate_all records what TRUNCATE of a watched table would.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE all_of_it (id int, a text);
INSERT INTO all_of_it VALUES (1, 'kept');
SELECT outbox.watch_columns('all_of_it', '{a}', 'list', 'one:{id}', 'a*b:{a}');
TRUNCATE all_of_it;
SELECT outbox.invalidate_all('all_of_it');
CREATE TRIGGER by_hand AFTER UPDATE ON all_of_it FOR EACH ROW EXECUTE FUNCTION outbox.invalidate('hand:{id}', 'list');
ALTER TABLE all_of_it DISABLE TRIGGER USER;
SELECT outbox.invalidate_all('all_of_it');
BEGIN;
SELECT outbox.invalidate_all('all_of_it');
ROLLBACK;
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;

-- a partition has its parent's
CREATE TABLE all_parted (id int) PARTITION BY LIST (id);
CREATE TABLE all_parted_1 PARTITION OF all_parted FOR VALUES IN (1);
SELECT outbox.watch('all_parted', 'parted:{id}');
SELECT max(id) AS start FROM outbox.event \gset
SELECT outbox.invalidate_all('all_parted');
SELECT outbox.invalidate_all('all_parted_1');
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;

-- what is refused
CREATE TABLE not_watched (id int, cache_key text);
SELECT outbox.invalidate_all(NULL);
SELECT outbox.invalidate_all(0);
SELECT outbox.invalidate_all('not_watched');
\echo :LAST_ERROR_SQLSTATE
CREATE TRIGGER by_hand AFTER INSERT ON not_watched FOR EACH ROW EXECUTE FUNCTION outbox.invalidate('{cache_key}');
SELECT outbox.invalidate_all('not_watched');
\echo :LAST_ERROR_SQLSTATE
BEGIN READ ONLY;
SELECT outbox.invalidate_all('all_parted');
ROLLBACK;
ALTER TABLE all_parted RENAME id TO number;
SELECT outbox.invalidate_all('all_parted');
DROP TABLE all_of_it, all_parted, not_watched;
