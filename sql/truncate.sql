-- TRUNCATE: templates without placeholders are keys, the others patterns.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset

CREATE TABLE truncated (id int PRIMARY KEY, a text, b text);
CREATE TABLE truncated_too (id int REFERENCES truncated);
SELECT outbox.watch('truncated', 'all', 'one:{id}', 'a*b?[c]\{a}', '{a}:{b}', '{{x}}*');
SELECT outbox.watch('truncated_too', 'child:{id}');
TRUNCATE truncated CASCADE;
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;

-- taken back with its savepoint
SELECT max(id) AS start FROM outbox.event \gset
BEGIN;
SAVEPOINT s;
TRUNCATE truncated, truncated_too;
ROLLBACK TO s;
COMMIT;
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;

-- never everything
CREATE TABLE cached (cache_key text, tail text);
CREATE TRIGGER by_hand AFTER INSERT ON cached
    FOR EACH ROW EXECUTE FUNCTION outbox.invalidate('{cache_key}');
CREATE TRIGGER by_hand_truncate AFTER TRUNCATE ON cached
    FOR EACH STATEMENT EXECUTE FUNCTION outbox.invalidate('{cache_key}{tail}');
INSERT INTO cached VALUES ('some:key', '');
TRUNCATE cached;
SELECT outbox.watch('cached', '{cache_key}');
SELECT outbox.watch('cached', 'c:{tail}', '{cache_key}{tail}');
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;

-- a watched partition that is truncated by itself
SELECT max(id) AS start FROM outbox.event \gset
CREATE TABLE parted (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (1) TO (10);
CREATE TABLE parted_2 (v text, id int);
SELECT outbox.watch('parted', 'parted:{id}');
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM (10) TO (20);
INSERT INTO parted VALUES (1, 'a'), (11, 'b');
UPDATE parted SET id = 12 WHERE id = 1;
TRUNCATE parted;
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;
SELECT relation, trigger, templates, problem FROM outbox.watched WHERE relation = 'parted'::regclass;

DROP TABLE truncated, truncated_too, cached, parted;
