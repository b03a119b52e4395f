-- outbox.pipeline(): one object for a status page; whoever may call it sees figures, and nothing else.
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
SELECT outbox.publish('secret-queue', '"secret payload"'), outbox.invalidate('secret:key');

-- each member with its type
WITH top AS (SELECT key, value FROM jsonb_each(outbox.pipeline()))
SELECT key, jsonb_typeof(value) FROM top
UNION ALL
SELECT top.key || '.' || m.key, jsonb_typeof(m.value)
  FROM top, jsonb_each(CASE jsonb_typeof(top.value) WHEN 'object' THEN top.value ELSE '{}' END) AS m
 ORDER BY 1;
SELECT p->>'database' = current_database() AS database,
       abs((p->>'at')::numeric - extract(epoch FROM clock_timestamp())) < 5 AS at,
       p->'relay'->>'state' AS state, (p->'lag'->>'pending_events')::int >= 2 AS pending,
       (p->'lag'->>'outbox_bytes')::bigint > 0 AS bytes, p->'parked' AS parked, p->'dead' AS dead
  FROM outbox.pipeline() AS p;
SELECT outbox.pipeline()::text ~ 'secret';

-- a worker's role is granted it by hand, and needs no more
CREATE ROLE outbox_page;
GRANT USAGE ON SCHEMA outbox TO outbox_page;
SET ROLE outbox_page;
SELECT outbox.pipeline() IS NOT NULL;
RESET ROLE;
GRANT EXECUTE ON FUNCTION outbox.pipeline() TO outbox_page;
SET ROLE outbox_page;
SELECT outbox.pipeline() ? 'relay';
SELECT * FROM outbox.relay_status();
SELECT * FROM outbox.lag;
SET search_path = pg_temp;
SELECT outbox.pipeline() ? 'relay';
BEGIN READ ONLY;
SELECT outbox.pipeline() ? 'relay';
COMMIT;
RESET search_path;
RESET ROLE;
SET ROLE pg_monitor;
SELECT outbox.pipeline() ? 'relay';
RESET ROLE;
DROP OWNED BY outbox_page;
DROP ROLE outbox_page;
