-- Parallel plans: workers read, the leader writes and records.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE parallel_source AS SELECT i AS id FROM generate_series(1, 20000) AS i;
CREATE TABLE parallel_target (id int, n bigint);
ANALYZE parallel_source;
SELECT outbox.watch('parallel_target', 'target:{n}');
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
EXPLAIN (COSTS off) SELECT count(*) FROM parallel_source WHERE id % 2 = 0;
BEGIN;
SELECT outbox.invalidate('before');
SELECT count(*) FROM parallel_source WHERE id % 2 = 0;
SELECT outbox.invalidate('between');
SAVEPOINT s;
SELECT outbox.invalidate('lost');
SELECT count(*) FROM parallel_source WHERE id % 3 = 0;
ROLLBACK TO s;
COMMIT;
CREATE TABLE parallel_made AS SELECT count(*) AS n FROM parallel_source WHERE id % 2 = 0;
INSERT INTO parallel_target SELECT 1, count(*) FROM parallel_source WHERE id % 4 = 0;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

\set SHOW_CONTEXT never
-- our functions keep a plan from being parallel; one that hides behind a false promise is refused
SELECT max(id) AS start FROM outbox.event \gset
EXPLAIN (COSTS off) SELECT outbox.invalidate('x') FROM parallel_source WHERE id < 3;
CREATE FUNCTION liar(int) RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS
  $$BEGIN PERFORM outbox.invalidate('lie:' || $1); RETURN $1; END$$;
SELECT count(*) FROM parallel_source WHERE liar(id) = 3;
SELECT count(*) FROM outbox.event WHERE id > :start;
RESET ALL;
DROP TABLE parallel_source, parallel_target, parallel_made;
DROP FUNCTION liar(int);
