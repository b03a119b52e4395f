-- relay.sql
--    What bench/relay writes to.
--
-- plain      no trigger: the floor's commits
-- watched    one template, so that a commit makes one message of one key
-- writers    three templates, as a blog has them
-- record()   transactions of one key each, k:<first> to k:<last>, committed from within

CREATE SCHEMA bench;
CREATE TABLE bench.plain (id int PRIMARY KEY, n bigint NOT NULL);
INSERT INTO bench.plain SELECT n, 0 FROM generate_series(1, 1000) AS n;
CREATE TABLE bench.watched (LIKE bench.plain INCLUDING ALL);
INSERT INTO bench.watched TABLE bench.plain;
CREATE TABLE bench.writers (id int PRIMARY KEY, author_id int NOT NULL, n bigint NOT NULL);
INSERT INTO bench.writers SELECT n, n % 1000, 0 FROM generate_series(1, 100000) AS n;

SELECT outbox.watch('bench.watched', 'blog:{id}');
SELECT outbox.watch('bench.writers', 'blogs:all', 'blog:{id}', 'author:{author_id}:blogs');

CREATE PROCEDURE bench.record(first bigint, last bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN first .. last LOOP
        PERFORM outbox.invalidate('k:' || n);
        COMMIT;
    END LOOP;
END
$$;
