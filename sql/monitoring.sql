-- The views: every column with its type, who may read them, and that each has an answer always.
SELECT c.relname AS view, string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum) AS columns
  FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relnamespace = 'outbox'::regnamespace AND c.relkind = 'v'
 GROUP BY c.relname ORDER BY c.relname \gx

-- pg_monitor reads everything but what was recorded; PUBLIC nothing
CREATE ROLE outbox_monitor IN ROLE pg_monitor;
CREATE ROLE outbox_nobody;
SELECT c.relname, string_agg(a.attname, ', ' ORDER BY a.attnum)
           FILTER (WHERE NOT has_column_privilege('outbox_monitor', c.oid, a.attnum, 'SELECT')) AS hidden
  FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
 WHERE c.relnamespace = 'outbox'::regnamespace AND c.relkind = 'v'
 GROUP BY c.relname ORDER BY c.relname;
SELECT c.relname FROM pg_class AS c
 WHERE c.relnamespace = 'outbox'::regnamespace AND has_any_column_privilege('outbox_nobody', c.oid, 'SELECT');
-- in earnest: a view's functions run with the reader's rights
SET ROLE outbox_monitor;
SELECT count(id) >= 0 AS event, (SELECT count(*) FROM outbox.lag) AS lag, (SELECT count(*) FROM outbox.relay) AS relay,
       (SELECT count(*) FROM outbox.destination) AS destination, (SELECT count(*) FROM outbox.consumer) AS consumer,
       (SELECT count(*) >= 0 FROM outbox.watched) AS watched, (SELECT count(event_id) FROM outbox.dead_letter) AS dead_letter,
       (SELECT count(*) FROM outbox.rotation) AS rotation, (SELECT count(*) FROM outbox.queue) AS queue,
       (SELECT count(*) FROM outbox.health) AS health, (SELECT count(*) > 30 FROM outbox.metrics) AS metrics,
       (SELECT count(*) > 7 FROM outbox.dashboard) AS dashboard
  FROM outbox.event;
SELECT outbox.rotation_blockers() = '' AS blockers;
SELECT outbox.report_consumer('x', 'x', 1, 1, 1, 1, 1, NULL);
SELECT outbox.forget_consumer('x');
RESET ROLE;
SET ROLE outbox_nobody;
SELECT * FROM outbox.health;
RESET ROLE;

-- health without a relay (outbox.run_on is elsewhere): every check has its row, what to do where there is something
SELECT "check", status, regexp_replace(detail, 'cluster_name is ".*"', 'cluster_name') AS detail, hint IS NOT NULL AS hint FROM outbox.health
 WHERE "check" NOT IN ('lag', 'outbox_size', 'watched', 'version');
SELECT "check", status IN ('ok', 'warning', 'critical') AS status, detail IS NOT NULL AS detail FROM outbox.health
 WHERE "check" IN ('lag', 'outbox_size', 'watched', 'version');

-- metrics: names and labels as Prometheus wants them, each once, none without a value
SELECT count(*) FILTER (WHERE name !~ '^pg_outbox_[a-z0-9_]+$') AS names,
       count(*) FILTER (WHERE jsonb_typeof(labels) <> 'object') AS labels,
       count(*) FILTER (WHERE value IS NULL OR value < 0) AS "values",
       count(*) - count(DISTINCT (name, labels)) AS twice
  FROM outbox.metrics;
-- ... whenever one looks
DO $$
DECLARE
    seconds float8;
BEGIN
    FOR n IN 1 .. 300 LOOP
        SELECT value INTO STRICT seconds FROM outbox.metrics WHERE name = 'pg_outbox_parked_seconds';
        ASSERT seconds = 0, seconds;
    END LOOP;
END
$$;
SELECT l.key, l.value FROM outbox.metrics, jsonb_each(labels) AS l WHERE jsonb_typeof(l.value) <> 'string';
SELECT labels->>'state' AS state, value FROM outbox.metrics WHERE name = 'pg_outbox_relay_state' ORDER BY 2 DESC, 1;

-- what workers report, and what is left out
SELECT outbox.report_consumer('one', 'consuming', 10, 20, 1, 1.5, 2.5, 'an error', 3.5, 60000);
SELECT outbox.report_consumer('two', 'stopping', NULL, NULL, NULL, NULL, NULL, NULL);
SELECT name, state, messages, keys_deleted, dead_lettered, delay_p50_ms, delay_p99_ms, last_error, canary_delay_ms,
       reported_at - canary_at AS canary_age FROM outbox.consumer ORDER BY name;
SELECT name, labels, value FROM outbox.metrics
 WHERE name ~ '^pg_outbox_consumer' AND name !~ 'timestamp' ORDER BY labels->>'name', name, labels;
SELECT detail FROM outbox.health WHERE "check" = 'workers';
SELECT outbox.forget_consumer('one'), outbox.forget_consumer('two'), outbox.forget_consumer('three'), outbox.forget_consumer(NULL);
SELECT count(*) FROM outbox.consumer;

-- the dashboard fits 80 columns, whatever is wrong
SELECT outbox.report_consumer(repeat('n', 200), 'waiting for redis', 1, 1, 1, 1, 1, repeat('e', 300));
SELECT max(length(part) + length(state)) + 7 <= 80 AS fits, min(part) FILTER (WHERE state ~ '^workers:') AS told FROM outbox.dashboard;
SELECT outbox.forget_consumer(repeat('n', 200));

-- settings of the session matter to none of them
SET search_path = pg_temp;
SET IntervalStyle = 'sql_standard';
SET DateStyle = 'German';
SET enable_seqscan = off;
SELECT count(*) FROM outbox.health;
SELECT count(*) > 30 FROM outbox.metrics;
SELECT count(*) > 7 FROM outbox.dashboard;
SELECT outbox.pipeline() ? 'health';
RESET ALL;
DROP ROLE outbox_monitor, outbox_nobody;
