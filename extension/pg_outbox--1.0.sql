/* pg_outbox--1.0.sql: the schema outbox. Nothing in it is for PUBLIC. */

\echo Use "CREATE EXTENSION pg_outbox" to load this file. \quit

-- The schema is the extension's own: made here, so that one which somebody else made and owns is
-- refused, and dropped with it.

CREATE SCHEMA outbox;
COMMENT ON SCHEMA outbox IS 'transactional outbox: pg_outbox';

-- ---- Rows ----------------------------------------------------------------------------------------
-- Three plain insert-only tables, written below the executor and emptied in turn. Never updated, so
-- autovacuum would only read the backlog and hold locks. Their columns are those of event.h; a row ends
-- with the last that is not NULL, so keys come early: most rows need no bitmap of NULLs.

CREATE TABLE outbox.event_1 (
    id bigint NOT NULL,
    xid xid8 NOT NULL,
    created_at timestamptz NOT NULL,
    keys text[],
    patterns text[],
    exchange text,
    routing_key text,
    payload jsonb,
    body bytea,
    headers jsonb,
    properties jsonb,
    attempts int,
    snapshot pg_snapshot
) WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off);

CREATE TABLE outbox.event_2 (
    id bigint NOT NULL,
    xid xid8 NOT NULL,
    created_at timestamptz NOT NULL,
    keys text[],
    patterns text[],
    exchange text,
    routing_key text,
    payload jsonb,
    body bytea,
    headers jsonb,
    properties jsonb,
    attempts int,
    snapshot pg_snapshot
) WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off);

CREATE TABLE outbox.event_3 (
    id bigint NOT NULL,
    xid xid8 NOT NULL,
    created_at timestamptz NOT NULL,
    keys text[],
    patterns text[],
    exchange text,
    routing_key text,
    payload jsonb,
    body bytea,
    headers jsonb,
    properties jsonb,
    attempts int,
    snapshot pg_snapshot
) WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off);

-- Keys stay uncompressed: it would cost the writer of many more than the rest.
ALTER TABLE outbox.event_1 ALTER COLUMN keys SET STORAGE EXTERNAL,
    ALTER COLUMN patterns SET STORAGE EXTERNAL;
ALTER TABLE outbox.event_2 ALTER COLUMN keys SET STORAGE EXTERNAL,
    ALTER COLUMN patterns SET STORAGE EXTERNAL;
ALTER TABLE outbox.event_3 ALTER COLUMN keys SET STORAGE EXTERNAL,
    ALTER COLUMN patterns SET STORAGE EXTERNAL;

-- No two entries are alike, and whoever fills a page would look for some while all others wait for it.
CREATE INDEX event_1_xid_id_idx ON outbox.event_1 (xid, id) WITH (deduplicate_items = off);
CREATE INDEX event_2_xid_id_idx ON outbox.event_2 (xid, id) WITH (deduplicate_items = off);
CREATE INDEX event_3_xid_id_idx ON outbox.event_3 (xid, id) WITH (deduplicate_items = off);

COMMENT ON TABLE outbox.event_1 IS 'events and positions; read the view outbox.event';
COMMENT ON TABLE outbox.event_2 IS 'events and positions; read the view outbox.event';
COMMENT ON TABLE outbox.event_3 IS 'events and positions; read the view outbox.event';

-- Behind the tables: DROP EXTENSION locks in this order, and so do writers.
CREATE SEQUENCE outbox.event_id_seq AS bigint CACHE 1;
COMMENT ON SEQUENCE outbox.event_id_seq IS
    'how far ids of events are given out: in blocks, from which all sessions draw';

-- Events that the broker did not accept, yet or for good. Written by the relay; rows leave when they are
-- accepted, discarded or tried again by hand. The columns up to attempts are those of the events.

CREATE TABLE outbox.parked (
    id bigint NOT NULL,
    xid xid8 NOT NULL,
    created_at timestamptz NOT NULL,
    keys text[],
    patterns text[],
    exchange text,
    routing_key text,
    payload jsonb,
    body bytea,
    headers jsonb,
    properties jsonb,
    attempts int,
    to_exchange text COLLATE pg_catalog."C" NOT NULL,
    to_routing_key text COLLATE pg_catalog."C" NOT NULL,
    dead boolean NOT NULL,
    reason text,
    first_failed_at timestamptz NOT NULL,
    failed_at timestamptz NOT NULL,
    CONSTRAINT parked_pkey PRIMARY KEY (id)
);
CREATE INDEX parked_destination_idx ON outbox.parked (dead, to_exchange, to_routing_key, id);
COMMENT ON TABLE outbox.parked IS 'events that were not accepted; read the view outbox.dead_letter';

-- Rows go without a trace for logical decoding, too: a publication FOR ALL TABLES must not have them
-- deleted in a subscriber's own outbox.
ALTER TABLE outbox.parked REPLICA IDENTITY NOTHING;

CREATE TABLE outbox.instance (
    id uuid NOT NULL,
    database oid NOT NULL,
    system_identifier bigint NOT NULL,
    adopted_at timestamptz NOT NULL,
    paused_at timestamptz,
    pause_reason text,
    CONSTRAINT instance_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE outbox.instance IS
    'names this database''s outbox (one row); a database that does not fit it is a copy';

-- Logical replication that copies or applies these tables must not bring foreign rows. The extension's
-- own rows do not come this way.

CREATE FUNCTION outbox.discard() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'outbox_discard_trigger';
COMMENT ON FUNCTION outbox.discard() IS 'keeps rows that replication brings out of the outbox';

CREATE TRIGGER discard BEFORE INSERT ON outbox.event_1
    FOR EACH ROW EXECUTE FUNCTION outbox.discard();
CREATE TRIGGER discard BEFORE INSERT ON outbox.event_2
    FOR EACH ROW EXECUTE FUNCTION outbox.discard();
CREATE TRIGGER discard BEFORE INSERT ON outbox.event_3
    FOR EACH ROW EXECUTE FUNCTION outbox.discard();
CREATE TRIGGER discard BEFORE INSERT ON outbox.parked
    FOR EACH ROW EXECUTE FUNCTION outbox.discard();
CREATE TRIGGER discard BEFORE INSERT ON outbox.instance
    FOR EACH ROW EXECUTE FUNCTION outbox.discard();

ALTER TABLE outbox.event_1 ENABLE ALWAYS TRIGGER discard;
ALTER TABLE outbox.event_2 ENABLE ALWAYS TRIGGER discard;
ALTER TABLE outbox.event_3 ENABLE ALWAYS TRIGGER discard;
ALTER TABLE outbox.parked ENABLE ALWAYS TRIGGER discard;
ALTER TABLE outbox.instance ENABLE ALWAYS TRIGGER discard;

-- ---- Writing events ------------------------------------------------------------------------------

CREATE FUNCTION outbox.invalidate() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'outbox_invalidate_trigger';
COMMENT ON FUNCTION outbox.invalidate() IS
    'trigger: records the keys that its templates make of changed rows';

CREATE FUNCTION outbox.invalidate(VARIADIC keys text[]) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'outbox_invalidate';
COMMENT ON FUNCTION outbox.invalidate(text[]) IS 'records keys to delete once this transaction commits';

CREATE FUNCTION outbox.invalidate_pattern(VARIADIC patterns text[]) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'outbox_invalidate_pattern';
COMMENT ON FUNCTION outbox.invalidate_pattern(text[]) IS
    'records Redis glob patterns of keys to delete once this transaction commits';

CREATE FUNCTION outbox.publish(queue text, payload jsonb, headers jsonb DEFAULT NULL,
                               properties jsonb DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'outbox_publish';
COMMENT ON FUNCTION outbox.publish(text, jsonb, jsonb, jsonb) IS
    'records a message to a queue, to be published once this transaction commits';

CREATE FUNCTION outbox.publish_to(exchange text, routing_key text, payload jsonb,
                                  headers jsonb DEFAULT NULL, properties jsonb DEFAULT NULL)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'outbox_publish_to';
COMMENT ON FUNCTION outbox.publish_to(text, text, jsonb, jsonb, jsonb) IS
    'records a message to an exchange, to be published once this transaction commits';

CREATE FUNCTION outbox.publish_bytes(exchange text, routing_key text, body bytea,
                                     content_type text, headers jsonb DEFAULT NULL,
                                     properties jsonb DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'outbox_publish_bytes';
COMMENT ON FUNCTION outbox.publish_bytes(text, text, bytea, text, jsonb, jsonb) IS
    'records a message of any bytes, to be published once this transaction commits';

CREATE FUNCTION outbox.watch(relation regclass, VARIADIC templates text[]) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'outbox_watch';
COMMENT ON FUNCTION outbox.watch(regclass, text[]) IS
    'makes the triggers that record a table''s keys; locks it as CREATE TRIGGER does';

CREATE FUNCTION outbox.watch_columns(relation regclass, columns name[], VARIADIC templates text[])
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'outbox_watch_columns';
COMMENT ON FUNCTION outbox.watch_columns(regclass, name[], text[]) IS
    'as outbox.watch; an UPDATE counts only if one of these columns changes';

CREATE FUNCTION outbox.watch_when(relation regclass, condition text, VARIADIC templates text[])
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'outbox_watch_when';
COMMENT ON FUNCTION outbox.watch_when(regclass, text, text[]) IS
    'as outbox.watch; only for rows for which the condition over OLD and NEW holds';

CREATE FUNCTION outbox.unwatch(relation regclass) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'outbox_unwatch';
COMMENT ON FUNCTION outbox.unwatch(regclass) IS
    'drops what outbox.watch and its kin made; locks the table as DROP TRIGGER does';

CREATE FUNCTION outbox.invalidate_all(relation regclass) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'outbox_invalidate_all';
COMMENT ON FUNCTION outbox.invalidate_all(regclass) IS
    'records what TRUNCATE of a watched table would: all its keys and patterns';

-- Casts of the table's types run as in its triggers: with the caller's rights.
CREATE FUNCTION outbox.explain(relation regclass, old jsonb, new jsonb)
    RETURNS TABLE (key text, template text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'outbox_explain';
COMMENT ON FUNCTION outbox.explain(regclass, jsonb, jsonb) IS
    'dry run: the keys that a change of a row would record; no old row is INSERT, no new one DELETE';

CREATE FUNCTION outbox.publish_row() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'outbox_publish_row';
COMMENT ON FUNCTION outbox.publish_row() IS
    'trigger: records a message to the queue that is its argument for each changed row';

-- ---- Events and watched tables ---------------------------------------------------------------------

CREATE VIEW outbox.event AS
    SELECT e.id, e.xid, e.created_at, e.exchange, e.routing_key, e.keys, e.patterns, e.payload,
           e.body, e.headers, e.properties
      FROM outbox.event_1 AS e WHERE e.xid OPERATOR(pg_catalog.>=) '3'::pg_catalog.xid8
    UNION ALL
    SELECT e.id, e.xid, e.created_at, e.exchange, e.routing_key, e.keys, e.patterns, e.payload,
           e.body, e.headers, e.properties
      FROM outbox.event_2 AS e WHERE e.xid OPERATOR(pg_catalog.>=) '3'::pg_catalog.xid8
    UNION ALL
    SELECT e.id, e.xid, e.created_at, e.exchange, e.routing_key, e.keys, e.patterns, e.payload,
           e.body, e.headers, e.properties
      FROM outbox.event_3 AS e WHERE e.xid OPERATOR(pg_catalog.>=) '3'::pg_catalog.xid8;
COMMENT ON VIEW outbox.event IS
    'what was recorded; rows stay until their table is emptied, published or not';

CREATE FUNCTION outbox.trigger_details(trigger oid, OUT templates text[], OUT columns name[],
                                       OUT condition text, OUT enabled boolean, OUT problem text)
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'outbox_trigger_details';
COMMENT ON FUNCTION outbox.trigger_details(oid) IS 'for the view outbox.watched';

-- A row for each row trigger; those of partitions follow their parent's. The three triggers of a
-- condition are one row.
CREATE VIEW outbox.watched AS
    SELECT t.tgrelid::pg_catalog.regclass AS relation,
           t.tgname AS trigger,
           d.templates, d.columns, d.condition, d.enabled, d.problem
      FROM pg_catalog.pg_trigger AS t
           CROSS JOIN LATERAL outbox.trigger_details(t.oid) AS d
     WHERE t.tgfoid OPERATOR(pg_catalog.=) 'outbox.invalidate()'::pg_catalog.regprocedure
       AND t.tgtype OPERATOR(pg_catalog.&) 1::pg_catalog.int2 OPERATOR(pg_catalog.=) 1
       AND t.tgparentid OPERATOR(pg_catalog.=) 0::pg_catalog.oid
       AND NOT (t.tgname OPERATOR(pg_catalog.=) ANY
                    (ARRAY['outbox_invalidate_update', 'outbox_invalidate_delete']::pg_catalog.name[])
                AND EXISTS (
                    SELECT 1
                      FROM pg_catalog.pg_trigger AS first
                     WHERE first.tgrelid OPERATOR(pg_catalog.=) t.tgrelid
                       AND first.tgfoid OPERATOR(pg_catalog.=) t.tgfoid
                       AND first.tgname OPERATOR(pg_catalog.=)
                           'outbox_invalidate'::pg_catalog.name));
COMMENT ON VIEW outbox.watched IS 'which tables record keys, by which templates, and what is wrong';

-- ---- Reading the state -----------------------------------------------------------------------------

CREATE FUNCTION outbox.relay_status(
    OUT pid int, OUT state text, OUT broker text,
    OUT connected_at timestamptz, OUT last_confirmed_at timestamptz,
    OUT events bigint, OUT messages bigint, OUT keys bigint, OUT keys_coalesced bigint,
    OUT confirmed bigint, OUT returned bigint, OUT nacked bigint, OUT reconnects bigint,
    OUT last_error text, OUT last_error_at timestamptz)
    LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'outbox_relay_status';
COMMENT ON FUNCTION outbox.relay_status() IS 'behind outbox.relay';

CREATE VIEW outbox.relay AS
    SELECT pid, state, broker, connected_at, last_confirmed_at, events, messages, keys,
           keys_coalesced, confirmed, returned, nacked, reconnects, last_error, last_error_at
      FROM outbox.relay_status();
COMMENT ON VIEW outbox.relay IS
    'the process that publishes this database''s events; counters since its slot was made';

CREATE FUNCTION outbox.lag_status(
    OUT pending_events bigint, OUT pending_since timestamptz, OUT lag interval,
    OUT outbox_bytes bigint, OUT relay_state text)
    LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'outbox_lag_status';
COMMENT ON FUNCTION outbox.lag_status() IS 'behind outbox.lag';

CREATE VIEW outbox.lag AS
    SELECT pending_events, pending_since, lag, outbox_bytes, relay_state FROM outbox.lag_status();
COMMENT ON VIEW outbox.lag IS
    'committed and not yet confirmed; pending_events is exact up to 10,000, above it an estimate';

CREATE FUNCTION outbox.destination_status(
    OUT exchange text, OUT routing_key text, OUT state text,
    OUT messages bigint, OUT parked bigint, OUT parked_since timestamptz, OUT last_error text,
    OUT attempts int, OUT tried_at timestamptz, OUT next_attempt_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'outbox_destination_status';
COMMENT ON FUNCTION outbox.destination_status() IS 'behind outbox.destination';

CREATE VIEW outbox.destination AS
    SELECT exchange, routing_key, state, messages, parked, parked_since, last_error
      FROM outbox.destination_status();
COMMENT ON VIEW outbox.destination IS
    'where messages went, and which destinations do not accept now; without names: all further parked ones';

-- A parked event shares the tries of its destination; the row without names stands for those that
-- have none of their own.
CREATE VIEW outbox.dead_letter AS
    SELECT p.id AS event_id,
           p.to_exchange COLLATE pg_catalog."default" AS exchange,
           p.to_routing_key COLLATE pg_catalog."default" AS routing_key,
           CASE WHEN p.dead THEN 'dead' ELSE 'retrying' END AS state,
           coalesce(p.reason, d.last_error, c.last_error) AS reason,
           greatest(p.attempts, d.attempts) AS attempts,
           p.first_failed_at,
           greatest(p.failed_at, d.tried_at) AS failed_at,
           coalesce(d.next_attempt_at, c.next_attempt_at) AS next_attempt_at,
           p.keys, p.patterns, p.payload, p.body, p.headers, p.properties
      FROM outbox.parked AS p
           LEFT JOIN outbox.destination_status() AS d
           ON NOT p.dead
              AND d.exchange OPERATOR(pg_catalog.=) p.to_exchange
              AND d.routing_key OPERATOR(pg_catalog.=) p.to_routing_key
           LEFT JOIN outbox.destination_status() AS c
           ON NOT p.dead AND c.exchange IS NULL AND d.exchange IS NULL;
COMMENT ON VIEW outbox.dead_letter IS
    'events that were not accepted: retrying (not yet) or dead (never)';

CREATE FUNCTION outbox.retry_dead_letter(event_id bigint) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'outbox_retry_dead_letter';
COMMENT ON FUNCTION outbox.retry_dead_letter(bigint) IS
    'publishes one event again, out of its order, once this transaction commits';

CREATE FUNCTION outbox.discard_dead_letter(event_id bigint) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'outbox_discard_dead_letter';
COMMENT ON FUNCTION outbox.discard_dead_letter(bigint) IS 'forgets one event that was not accepted';

CREATE FUNCTION outbox.retry_dead_letters(exchange text, routing_key text) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'outbox_retry_dead_letters';
COMMENT ON FUNCTION outbox.retry_dead_letters(text, text) IS
    'tries all events of a destination again, in order; gives how many there are';

CREATE FUNCTION outbox.rotation_status(
    OUT relation regclass, OUT bytes bigint, OUT state text, OUT blocked_since timestamptz,
    OUT locked oid[])
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'outbox_rotation_status';
COMMENT ON FUNCTION outbox.rotation_status() IS 'behind outbox.rotation';

-- Any lock but the relay's own is in the way. A prepared transaction has no process: its locks go with
-- that on its own id. The functions behind pg_locks and its like, since to plan their joins costs a
-- monitor more than the rest.
CREATE VIEW outbox.rotation AS
    SELECT s.relation, s.bytes, s.state, s.blocked_since,
           b.blocking_pids, b.blocking_gids, b.blocking_since
      FROM outbox.rotation_status() AS s
           CROSS JOIN LATERAL (
               SELECT pg_catalog.array_agg(DISTINCT l.pid) FILTER (WHERE l.pid IS NOT NULL)
                          AS blocking_pids,
                      pg_catalog.array_agg(DISTINCT p.gid) FILTER (WHERE p.gid IS NOT NULL)
                          AS blocking_gids,
                      pg_catalog.min(coalesce(a.xact_start, p.prepared)) AS blocking_since
                 FROM pg_catalog.pg_lock_status() AS l
                      LEFT JOIN pg_catalog.pg_stat_get_activity(NULL) AS a
                             ON a.pid OPERATOR(pg_catalog.=) l.pid
                      LEFT JOIN pg_catalog.pg_lock_status() AS own
                             ON own.pid IS NULL AND l.pid IS NULL
                            AND own.virtualtransaction OPERATOR(pg_catalog.=) l.virtualtransaction
                      LEFT JOIN pg_catalog.pg_prepared_xact() AS p
                             ON p.transaction OPERATOR(pg_catalog.=) own.transactionid
                WHERE l.granted
                  AND l.relation OPERATOR(pg_catalog.=) ANY (s.locked)
                  AND l.database OPERATOR(pg_catalog.=) (
                          SELECT d.oid
                            FROM pg_catalog.pg_database AS d
                           WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
                  AND s.state OPERATOR(pg_catalog.=) ANY (ARRAY['full', 'waiting'])
                  AND l.pid IS DISTINCT FROM (SELECT r.pid FROM outbox.relay_status() AS r)) AS b
     ORDER BY s.relation;
COMMENT ON VIEW outbox.rotation IS
    'the tables behind outbox.event: current (written to), empty, full (emptied once all in it is published) or waiting (since blocked_since for locks, of the processes and prepared transactions named, whose oldest began at blocking_since)';

CREATE FUNCTION outbox.rotate() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'outbox_rotate';
COMMENT ON FUNCTION outbox.rotate() IS
    'has the relay empty at once what can be emptied, which it does by itself in a while';

CREATE FUNCTION outbox.wait_published(timeout interval DEFAULT '10 s') RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'outbox_wait_published';
COMMENT ON FUNCTION outbox.wait_published(interval) IS
    'waits until all that was committed before the call is confirmed; false: the time was over';

CREATE FUNCTION outbox.restart_relay() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'outbox_restart_relay';
COMMENT ON FUNCTION outbox.restart_relay() IS
    'has the relay end and a new one start, with the settings as they are now';

CREATE FUNCTION outbox.pause(reason text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'outbox_pause';
COMMENT ON FUNCTION outbox.pause(text) IS
    'from the commit of the call nothing is published, across restarts, until outbox.resume()';

CREATE FUNCTION outbox.resume() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'outbox_resume';
COMMENT ON FUNCTION outbox.resume() IS 'ends outbox.pause()';

CREATE FUNCTION outbox.adopt() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'outbox_adopt';
COMMENT ON FUNCTION outbox.adopt() IS
    'makes a copied outbox this database''s own, and forgets every event recorded before';

CREATE FUNCTION outbox.adopt_with_events() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'outbox_adopt_with_events';
COMMENT ON FUNCTION outbox.adopt_with_events() IS
    'after pg_upgrade: this cluster is the original, moved; what was recorded before is published';

CREATE FUNCTION outbox.report_consumer(
    name text, state text, messages bigint, keys_deleted bigint, dead_lettered bigint,
    delay_p50_ms double precision, delay_p99_ms double precision, last_error text,
    canary_delay_ms double precision DEFAULT NULL, canary_age_ms double precision DEFAULT NULL)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'outbox_report_consumer';
COMMENT ON FUNCTION outbox.report_consumer(text, text, bigint, bigint, bigint, double precision,
                                           double precision, text, double precision,
                                           double precision) IS
    'a consumer tells how it is: outbox-worker --report-to, each second; kept in shared memory';

CREATE FUNCTION outbox.forget_consumer(name text) RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'outbox_forget_consumer';
COMMENT ON FUNCTION outbox.forget_consumer(text) IS
    'takes a worker that is gone for good out of outbox.consumer; false: it is not there';

CREATE FUNCTION outbox.consumer_status(
    OUT name text, OUT state text, OUT reported_at timestamptz,
    OUT messages bigint, OUT keys_deleted bigint, OUT dead_lettered bigint,
    OUT delay_p50_ms double precision, OUT delay_p99_ms double precision, OUT last_error text,
    OUT canary_delay_ms double precision, OUT canary_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'outbox_consumer_status';
COMMENT ON FUNCTION outbox.consumer_status() IS 'behind outbox.consumer';

CREATE VIEW outbox.consumer AS
    SELECT name, state, reported_at, messages, keys_deleted, dead_lettered, delay_p50_ms,
           delay_p99_ms, last_error, canary_delay_ms, canary_at
      FROM outbox.consumer_status();
COMMENT ON VIEW outbox.consumer IS
    'the last report of each worker; a delay runs from the event''s created_at to the key''s deletion';

-- ---- For those who look every few seconds ---------------------------------------------------------

CREATE FUNCTION outbox.queue_status(
    OUT queue text, OUT messages bigint, OUT consumers bigint, OUT looked_at timestamptz,
    OUT problem text)
    LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'outbox_queue_status';
COMMENT ON FUNCTION outbox.queue_status() IS 'behind outbox.queue';

CREATE VIEW outbox.queue AS
    SELECT queue, messages, consumers, looked_at, problem FROM outbox.queue_status();
COMMENT ON VIEW outbox.queue IS
    'the queue of the invalidations at the broker: messages that are ready, and consumers; asked at most every 10 s, and only when somebody looks';

-- Called by outbox.health_status() where a rotation is blocked, and not planned where none is.
CREATE FUNCTION outbox.rotation_blockers() RETURNS text
    LANGUAGE sql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(pg_catalog.string_agg(DISTINCT b.who, ', '), '')
      FROM outbox.rotation AS r
           CROSS JOIN LATERAL (
               SELECT pg_catalog.format('process %s', p.pid) AS who
                 FROM pg_catalog.unnest(r.blocking_pids) AS p (pid)
               UNION ALL
               SELECT pg_catalog.format('prepared transaction %L', g.gid)
                 FROM pg_catalog.unnest(r.blocking_gids) AS g (gid)) AS b
     WHERE r.blocked_since IS NOT NULL
    $$;
COMMENT ON FUNCTION outbox.rotation_blockers() IS
    'whose locks keep tables of the outbox from being emptied, for outbox.health';

CREATE FUNCTION outbox.health_status(
    OUT "check" text, OUT status text, OUT detail text, OUT hint text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'outbox_health_status';
COMMENT ON FUNCTION outbox.health_status() IS 'behind outbox.health';

CREATE VIEW outbox.health AS
    SELECT "check", status, detail, hint FROM outbox.health_status();
COMMENT ON VIEW outbox.health IS
    'one row for each check, all of them always: status is ok, warning or critical';

CREATE FUNCTION outbox.parked_status(
    OUT destinations bigint, OUT events bigint, OUT since timestamptz, OUT dead bigint)
    LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'outbox_parked_status';
COMMENT ON FUNCTION outbox.parked_status() IS
    'how many destinations are parked, with how many events, and how many events are dead (1,000: or more)';

-- Names are those of Prometheus. What is not known has no row, rather than one without a value.
CREATE VIEW outbox.metrics AS
    SELECT m.name, m.labels, m.value
      FROM (
        SELECT v.name, v.labels, v.value
          FROM outbox.relay_status() AS r,
               LATERAL (VALUES
                   ('pg_outbox_relay_up', '{}'::pg_catalog.jsonb,
                    (r.pid IS NOT NULL)::pg_catalog.int4::pg_catalog.float8),
                   ('pg_outbox_relay_events_total', '{}', r.events),
                   ('pg_outbox_relay_messages_total', '{}', r.messages),
                   ('pg_outbox_relay_keys_total', '{}', r.keys),
                   ('pg_outbox_relay_keys_coalesced_total', '{}', r.keys_coalesced),
                   ('pg_outbox_relay_confirmed_total', '{}', r.confirmed),
                   ('pg_outbox_relay_returned_total', '{}', r.returned),
                   ('pg_outbox_relay_nacked_total', '{}', r.nacked),
                   ('pg_outbox_relay_reconnects_total', '{}', r.reconnects),
                   ('pg_outbox_relay_connected_timestamp_seconds', '{}',
                    extract(epoch FROM r.connected_at)),
                   ('pg_outbox_relay_last_confirmed_timestamp_seconds', '{}',
                    extract(epoch FROM r.last_confirmed_at)),
                   ('pg_outbox_relay_last_error_timestamp_seconds', '{}',
                    extract(epoch FROM r.last_error_at)))
               AS v (name, labels, value)
        UNION ALL
        SELECT 'pg_outbox_relay_state', pg_catalog.jsonb_build_object('state', s.state),
               (s.state OPERATOR(pg_catalog.=) r.state)::pg_catalog.int4
          FROM outbox.relay_status() AS r,
               pg_catalog.unnest(ARRAY['not running', 'starting', 'connecting', 'idle',
                                       'publishing', 'blocked', 'paused', 'copied',
                                       'waiting to reconnect']) AS s (state)
        UNION ALL
        SELECT v.name, '{}', v.value
          FROM outbox.lag_status() AS l,
               LATERAL (VALUES
                   ('pg_outbox_pending_events', l.pending_events::pg_catalog.float8),
                   ('pg_outbox_lag_seconds', extract(epoch FROM l.lag)),
                   ('pg_outbox_bytes', l.outbox_bytes))
               AS v (name, value)
        UNION ALL
        SELECT v.name, '{}', v.value
          FROM outbox.parked_status() AS p,
               LATERAL (VALUES
                   ('pg_outbox_parked_destinations', p.destinations::pg_catalog.float8),
                   ('pg_outbox_parked_events', p.events),
                   ('pg_outbox_parked_seconds',
                    greatest(extract(epoch FROM pg_catalog.clock_timestamp()
                                                OPERATOR(pg_catalog.-) p.since), 0)),
                   ('pg_outbox_dead_events', p.dead))
               AS v (name, value)
        UNION ALL
        SELECT v.name,
               pg_catalog.jsonb_build_object('exchange', coalesce(d.exchange, '*'),
                                             'routing_key', coalesce(d.routing_key, '*')),
               v.value
          FROM (SELECT s.exchange, s.routing_key, s.messages, s.parked
                  FROM outbox.destination_status() AS s LIMIT 50) AS d,
               LATERAL (VALUES
                   ('pg_outbox_destination_messages_total', d.messages),
                   ('pg_outbox_destination_parked_events', d.parked))
               AS v (name, value)
        UNION ALL
        SELECT v.name, pg_catalog.jsonb_build_object('queue', q.queue), v.value
          FROM outbox.queue_status() AS q,
               LATERAL (VALUES
                   ('pg_outbox_queue_messages', q.messages::pg_catalog.float8),
                   ('pg_outbox_queue_consumers', q.consumers),
                   ('pg_outbox_queue_looked_at_timestamp_seconds', extract(epoch FROM q.looked_at)))
               AS v (name, value)
        UNION ALL
        SELECT v.name, v.labels, v.value
          FROM outbox.consumer_status() AS c,
               LATERAL (VALUES
                   ('pg_outbox_consumer_up', pg_catalog.jsonb_build_object('name', c.name),
                    (c.state OPERATOR(pg_catalog.=) 'consuming')::pg_catalog.int4::pg_catalog.float8),
                   ('pg_outbox_consumer_reported_timestamp_seconds',
                    pg_catalog.jsonb_build_object('name', c.name), extract(epoch FROM c.reported_at)),
                   ('pg_outbox_consumer_messages_total',
                    pg_catalog.jsonb_build_object('name', c.name), c.messages),
                   ('pg_outbox_consumer_keys_deleted_total',
                    pg_catalog.jsonb_build_object('name', c.name), c.keys_deleted),
                   ('pg_outbox_consumer_dead_lettered_total',
                    pg_catalog.jsonb_build_object('name', c.name), c.dead_lettered),
                   ('pg_outbox_consumer_delay_seconds',
                    pg_catalog.jsonb_build_object('name', c.name, 'quantile', '0.5'),
                    c.delay_p50_ms OPERATOR(pg_catalog./) 1000),
                   ('pg_outbox_consumer_delay_seconds',
                    pg_catalog.jsonb_build_object('name', c.name, 'quantile', '0.99'),
                    c.delay_p99_ms OPERATOR(pg_catalog./) 1000),
                   ('pg_outbox_consumer_canary_delay_seconds',
                    pg_catalog.jsonb_build_object('name', c.name),
                    c.canary_delay_ms OPERATOR(pg_catalog./) 1000),
                   ('pg_outbox_consumer_canary_timestamp_seconds',
                    pg_catalog.jsonb_build_object('name', c.name), extract(epoch FROM c.canary_at)))
               AS v (name, labels, value)
        UNION ALL
        SELECT 'pg_outbox_rotation_blocked_seconds', '{}',
               extract(epoch FROM coalesce(pg_catalog.max(pg_catalog.clock_timestamp()
                                                          OPERATOR(pg_catalog.-) r.blocked_since),
                                           '0'::pg_catalog.interval))
          FROM outbox.rotation_status() AS r
        UNION ALL
        SELECT 'pg_outbox_canary_interval_seconds', '{}',
               extract(epoch FROM pg_catalog.current_setting('outbox.canary_interval')::pg_catalog.interval)
        UNION ALL
        SELECT 'pg_outbox_health_status', pg_catalog.jsonb_build_object('check', h."check"),
               pg_catalog.array_position(ARRAY['ok', 'warning', 'critical'], h.status)
               OPERATOR(pg_catalog.-) 1
          FROM outbox.health_status() AS h
        UNION ALL
        SELECT 'pg_outbox_info',
               pg_catalog.jsonb_build_object('version', e.extversion, 'server',
                                             pg_catalog.current_setting('server_version')), 1
          FROM pg_catalog.pg_extension AS e
         WHERE e.extname OPERATOR(pg_catalog.=) 'pg_outbox') AS m (name, labels, value)
     WHERE m.value IS NOT NULL;
COMMENT ON VIEW outbox.metrics IS
    'every counter and gauge of the database''s side, for SQL exporters: names, labels and units as Prometheus has them';

-- For people, and psql's \watch: lines of at most 80 characters. What is wrong goes over several.
CREATE VIEW outbox.dashboard AS
    SELECT d.part,
           CASE WHEN pg_catalog.length(d.state) OPERATOR(pg_catalog.>) 62
                THEN pg_catalog.left(d.state, 59) OPERATOR(pg_catalog.||) '...'
                ELSE d.state END AS state
      FROM (
        SELECT 1, 1::pg_catalog.int8, 'outbox',
               pg_catalog.format(
                   '%s; %s',
                   CASE l.pending_events WHEN 0 THEN 'nothing pending'
                        ELSE pg_catalog.format('%s pending, the oldest for %s', l.pending_events,
                                               pg_catalog.date_trunc('second', l.lag)) END,
                   pg_catalog.pg_size_pretty(l.outbox_bytes))
          FROM outbox.lag_status() AS l
        UNION ALL
        SELECT v.place, 1, v.part, v.state
          FROM outbox.relay_status() AS r,
               LATERAL (VALUES
                   (2, 'relay', pg_catalog.concat_ws(', ', r.state, r.broker)),
                   (3, 'published',
                    pg_catalog.format('events %s, keys %s (merged %s), messages %s',
                                      r.events, r.keys, r.keys_coalesced, r.messages)),
                   (4, 'confirmed',
                    pg_catalog.format('%s; returned %s, nacked %s, reconnects %s',
                                      coalesce('last ' OPERATOR(pg_catalog.||) pg_catalog.date_trunc(
                                                   'second', pg_catalog.clock_timestamp()
                                                   OPERATOR(pg_catalog.-) r.last_confirmed_at)
                                               OPERATOR(pg_catalog.||) ' ago', 'nothing yet'),
                                      r.returned, r.nacked, r.reconnects)))
               AS v (place, part, state)
        UNION ALL
        SELECT 5, 1, 'refused',
               pg_catalog.format('parked destinations %s, their events %s; dead events %s',
                                 p.destinations, p.events, p.dead)
          FROM outbox.parked_status() AS p
        UNION ALL
        SELECT 6, 1, 'queue',
               pg_catalog.format('%s: ready %s, consumers %s', q.queue,
                                 coalesce(q.messages::pg_catalog.text, '?'),
                                 coalesce(q.consumers::pg_catalog.text, '?'))
          FROM outbox.queue_status() AS q
        UNION ALL
        SELECT 7, pg_catalog.row_number() OVER (ORDER BY c.name), 'worker',
               pg_catalog.format('%s: %s, messages %s, delay %s ms (99 %%: %s)', c.name, c.state,
                                 c.messages,
                                 coalesce(pg_catalog.round(c.delay_p50_ms::pg_catalog.numeric, 1)
                                          ::pg_catalog.text, '-'),
                                 coalesce(pg_catalog.round(c.delay_p99_ms::pg_catalog.numeric, 1)
                                          ::pg_catalog.text, '-'))
          FROM (SELECT s.name, s.state, s.messages, s.delay_p50_ms, s.delay_p99_ms
                  FROM outbox.consumer_status() AS s
                 ORDER BY s.reported_at DESC LIMIT 10) AS c
        UNION ALL
        SELECT 9,
               pg_catalog.row_number() OVER (ORDER BY h.status, h."check") OPERATOR(pg_catalog.*) 100
                   OPERATOR(pg_catalog.+) t.number,
               CASE t.number WHEN 1 THEN h.status ELSE '' END,
               pg_catalog.rtrim(t.line[1])
          FROM outbox.health_status() AS h,
               LATERAL pg_catalog.regexp_matches(
                   pg_catalog.format('%s: %s', h."check", h.detail),
                   '\S{62}|.{1,62}(?:\s|$)', 'g') WITH ORDINALITY AS t (line, number)
         WHERE h.status OPERATOR(pg_catalog.<>) 'ok'
        UNION ALL
        SELECT 8, 1, 'health',
               pg_catalog.format('%s of %s checks are ok',
                                 pg_catalog.count(*) FILTER (WHERE h.status OPERATOR(pg_catalog.=) 'ok'),
                                 pg_catalog.count(*))
          FROM outbox.health_status() AS h) AS d (place, number, part, state)
     ORDER BY d.place, d.number;
COMMENT ON VIEW outbox.dashboard IS
    'the state in a few lines of at most 80 characters, for psql''s \watch';

-- SECURITY DEFINER: a worker's role, which may call nothing but this and report_consumer, gets figures,
-- names and the relay's own words, never a key, a payload or a password.
CREATE FUNCTION outbox.pipeline() RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT pg_catalog.jsonb_build_object(
        'database', pg_catalog.current_database(),
        'at', extract(epoch FROM now.at),
        'relay', pg_catalog.jsonb_build_object(
            'state', r.state, 'broker', r.broker,
            'events', r.events, 'messages', r.messages,
            'keys', r.keys, 'keys_coalesced', r.keys_coalesced,
            'confirmed', r.confirmed, 'returned', r.returned, 'nacked', r.nacked,
            'reconnects', r.reconnects,
            'connected_for_s', CASE
                WHEN r.state OPERATOR(pg_catalog.=) ANY (ARRAY['idle', 'publishing', 'blocked'])
                THEN extract(epoch FROM now.at OPERATOR(pg_catalog.-) r.connected_at) END,
            'last_error', r.last_error,
            'last_error_age_s', extract(epoch FROM now.at OPERATOR(pg_catalog.-) r.last_error_at)),
        'lag', pg_catalog.jsonb_build_object(
            'pending_events', l.pending_events,
            'lag_s', extract(epoch FROM l.lag),
            'outbox_bytes', l.outbox_bytes),
        'parked', pg_catalog.jsonb_build_object('destinations', p.destinations, 'events', p.events),
        'dead', p.dead,
        'health', (
            SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                       'check', h."check", 'status', h.status, 'detail', h.detail, 'hint', h.hint))
              FROM outbox.health_status() AS h))
      FROM (SELECT pg_catalog.clock_timestamp()) AS now (at),
           outbox.relay_status() AS r, outbox.lag_status() AS l, outbox.parked_status() AS p
    $$;
COMMENT ON FUNCTION outbox.pipeline() IS
    'the state of this database''s outbox as one object, for a status page: outbox-worker asks it through --report-to';

-- ---- Rights ----------------------------------------------------------------------------------------
-- Whoever calls these functions or makes triggers needs a GRANT; who writes a watched table needs none.

REVOKE ALL ON SCHEMA outbox FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA outbox FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA outbox FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA outbox FROM PUBLIC;

GRANT USAGE ON SCHEMA outbox TO pg_monitor;
GRANT SELECT (id, xid, created_at, exchange, routing_key) ON outbox.event TO pg_monitor;
GRANT SELECT ON outbox.watched, outbox.lag, outbox.relay, outbox.rotation TO pg_monitor;
GRANT EXECUTE ON FUNCTION outbox.relay_status(), outbox.lag_status(), outbox.rotation_status()
    TO pg_monitor;
GRANT EXECUTE ON FUNCTION outbox.trigger_details(oid) TO pg_monitor;
GRANT SELECT ON outbox.destination TO pg_monitor;
GRANT SELECT (event_id, exchange, routing_key, state, reason, attempts, first_failed_at, failed_at,
              next_attempt_at) ON outbox.dead_letter TO pg_monitor;
GRANT EXECUTE ON FUNCTION outbox.destination_status() TO pg_monitor;

GRANT SELECT ON outbox.consumer TO pg_monitor;
GRANT EXECUTE ON FUNCTION outbox.consumer_status() TO pg_monitor;
GRANT SELECT ON outbox.queue, outbox.health, outbox.metrics, outbox.dashboard
    TO pg_monitor;
GRANT EXECUTE ON FUNCTION outbox.parked_status(), outbox.queue_status(), outbox.rotation_blockers(),
    outbox.health_status(), outbox.pipeline() TO pg_monitor;

-- ---- The last step: this instance's name, its first position, and a word to the launcher -----------

CREATE FUNCTION outbox.installed() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'outbox_installed';
COMMENT ON FUNCTION outbox.installed() IS 'the last step of CREATE EXTENSION';
REVOKE ALL ON FUNCTION outbox.installed() FROM PUBLIC;

SELECT outbox.installed();
