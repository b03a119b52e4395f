-- Nothing in the schema is for PUBLIC; who writes a watched table needs nothing there.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE ROLE outbox_low;
CREATE ROLE outbox_owner;
CREATE ROLE outbox_watcher IN ROLE pg_monitor;
CREATE TABLE owned (id int);
ALTER TABLE owned OWNER TO outbox_owner;
GRANT INSERT, TRIGGER ON owned TO outbox_low;
SELECT outbox.watch('owned', 'owned:{id}');

-- the writer
BEGIN;
INSERT INTO owned VALUES (1);
SELECT outbox.publish('q', '1');
SET LOCAL ROLE outbox_low;
COMMIT;
SET ROLE outbox_low;
INSERT INTO owned VALUES (2);
SELECT outbox.invalidate('a');
CREATE TRIGGER mine AFTER INSERT ON owned FOR EACH ROW EXECUTE FUNCTION outbox.invalidate('flush:{id}');
SELECT * FROM outbox.event;
INSERT INTO outbox.event_1 DEFAULT VALUES;
SELECT nextval('outbox.event_id_seq');
SET outbox.enabled = off;
SET outbox.queue = 'mine';
SHOW outbox.amqp_url;
SET outbox.traceparent = 'anyone may';
RESET ROLE;
SELECT keys, payload FROM outbox.event WHERE id > :start ORDER BY id;

-- nothing at all is granted to PUBLIC
SELECT p.oid::regprocedure FROM pg_proc AS p
 WHERE pronamespace = 'outbox'::regnamespace AND has_function_privilege('outbox_low', p.oid, 'EXECUTE');
SELECT c.oid::regclass FROM pg_class AS c
 WHERE relnamespace = 'outbox'::regnamespace AND relkind IN ('r', 'v')
   AND has_any_column_privilege('outbox_low', c.oid, 'SELECT, INSERT, UPDATE');
SELECT has_schema_privilege('outbox_low', 'outbox', 'USAGE'), has_schema_privilege('outbox_low', 'outbox', 'CREATE'),
       has_sequence_privilege('outbox_low', 'outbox.event_id_seq', 'USAGE, SELECT');

-- whoever was granted it may watch tables whose triggers are theirs to make
GRANT USAGE ON SCHEMA outbox TO outbox_low, outbox_owner;
GRANT EXECUTE ON FUNCTION outbox.watch(regclass, text[]), outbox.unwatch(regclass) TO outbox_low, outbox_owner;
CREATE TABLE foreign_to_them (id int);
SET ROLE outbox_owner;
SELECT outbox.watch('owned', 'again:{id}');
RESET ROLE;
GRANT EXECUTE ON FUNCTION outbox.invalidate() TO outbox_low, outbox_owner;
SET ROLE outbox_owner;
SELECT outbox.watch('foreign_to_them', 'x:{id}');
SELECT outbox.watch('owned', 'again:{id}');
INSERT INTO owned VALUES (3);
SET ROLE outbox_low;
SELECT outbox.unwatch('owned');
SET ROLE outbox_owner;
SELECT outbox.unwatch('owned');
RESET ROLE;

-- members of pg_monitor see that there are events, not what is in them
SET ROLE outbox_watcher;
SELECT count(*) > 0 FROM (SELECT id, xid, created_at, exchange, routing_key FROM outbox.event) AS e;
SELECT keys FROM outbox.event;
SELECT payload FROM outbox.event;
SELECT headers FROM outbox.event;
SELECT * FROM outbox.event_1;
SELECT count(*) >= 0 FROM outbox.watched;
SELECT outbox.invalidate('a');
RESET ROLE;

-- not even a superuser's INSERT, or a copy by replication, brings rows
INSERT INTO outbox.event_2 (id, xid, created_at) VALUES (1, '3', now());
SET session_replication_role = replica;
INSERT INTO outbox.event_2 (id, xid, created_at) VALUES (1, '3', now());
INSERT INTO outbox.instance VALUES (gen_random_uuid(), 1, 1, now());
RESET session_replication_role;
SELECT count(*) FROM outbox.event_2;
SELECT count(*) FROM outbox.instance;
SELECT outbox.installed();

REVOKE ALL ON SCHEMA outbox FROM outbox_low, outbox_owner;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA outbox FROM outbox_low, outbox_owner;
DROP TABLE owned, foreign_to_them;
DROP ROLE outbox_low, outbox_owner, outbox_watcher;
