-- Who may do what: a writer, who attaches triggers, who calls, who monitors, who operates.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE ROLE outbox_writer;
CREATE ROLE outbox_owner;
CREATE ROLE outbox_caller;
CREATE ROLE outbox_monitor IN ROLE pg_monitor;
CREATE ROLE outbox_operator;
CREATE TABLE roles_table (id int PRIMARY KEY, v text);
ALTER TABLE roles_table OWNER TO outbox_owner;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON roles_table TO outbox_writer, outbox_caller;

-- who attaches: TRIGGER on the table, USAGE on the schema, EXECUTE on the trigger function
GRANT USAGE ON SCHEMA outbox TO outbox_owner, outbox_caller, outbox_operator;
SET ROLE outbox_owner;
CREATE TRIGGER by_hand AFTER INSERT ON roles_table FOR EACH ROW EXECUTE FUNCTION outbox.invalidate('x:{id}');
CREATE TRIGGER by_hand AFTER INSERT ON roles_table FOR EACH ROW EXECUTE FUNCTION outbox.publish_row('q');
SELECT outbox.watch_columns('roles_table', '{v}', 'x:{id}');
SELECT outbox.watch_when('roles_table', 'true', 'x:{id}');
RESET ROLE;
GRANT EXECUTE ON FUNCTION outbox.watch(regclass, text[]), outbox.watch_columns(regclass, name[], text[]),
    outbox.watch_when(regclass, text, text[]), outbox.unwatch(regclass) TO outbox_owner, outbox_caller;
SET ROLE outbox_owner;
SELECT outbox.watch_columns('roles_table', '{v}', 'x:{id}');
SELECT outbox.watch_when('roles_table', 'true', 'x:{id}');
RESET ROLE;
GRANT EXECUTE ON FUNCTION outbox.invalidate(), outbox.publish_row() TO outbox_owner, outbox_caller;
SET ROLE outbox_owner;
SELECT outbox.watch_columns('roles_table', '{v}', 'x:{id}');
SELECT outbox.watch_when('roles_table', 'NEW.v IS NULL OR NEW.v <> ''silent''', 'x:{id}', 'v:{v}');
CREATE TRIGGER by_hand AFTER INSERT ON roles_table FOR EACH ROW EXECUTE FUNCTION outbox.publish_row('q');
-- the right to functions is not that to tables
SET ROLE outbox_caller;
SELECT outbox.watch('roles_table', 'mine:{id}');
SELECT outbox.watch_columns('roles_table', '{v}', 'mine:{id}');
SELECT outbox.watch_when('roles_table', 'true', 'mine:{id}');
SELECT outbox.unwatch('roles_table');
-- a condition runs with the rights of whoever writes
RESET ROLE;
CREATE FUNCTION roles_secret(int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
REVOKE ALL ON FUNCTION roles_secret(int) FROM PUBLIC;
SET ROLE outbox_owner;
SELECT outbox.watch_when('roles_table', 'public.roles_secret(NEW.id)', 'x:{id}');
SET ROLE outbox_writer;
INSERT INTO roles_table VALUES (1, 'a');
RESET ROLE;
GRANT EXECUTE ON FUNCTION roles_secret(int) TO PUBLIC;
SET ROLE outbox_owner;
SELECT outbox.watch_when('roles_table', 'NEW.v <> ''silent''', 'x:{id}', 'v:{v}');

-- the writer needs nothing in the schema, whoever it becomes
SET ROLE outbox_writer;
INSERT INTO roles_table VALUES (1, 'a'), (2, 'silent');
UPDATE roles_table SET v = 'b' WHERE id = 2;
TRUNCATE roles_table;
BEGIN;
INSERT INTO roles_table VALUES (3, 'c');
SET LOCAL ROLE outbox_monitor;
SET TRANSACTION READ ONLY;
COMMIT;
SELECT outbox.invalidate('x');
SELECT outbox.invalidate_all('roles_table');
SELECT * FROM outbox.explain('roles_table', NULL, '{}');
SELECT * FROM outbox.watched;
RESET ROLE;
SELECT keys, patterns, payload->>'op' AS op FROM outbox.event WHERE id > :start ORDER BY id;

-- who calls: each function by itself
SET ROLE outbox_caller;
SELECT outbox.publish('q', '1');
RESET ROLE;
GRANT EXECUTE ON FUNCTION outbox.invalidate(text[]), outbox.invalidate_pattern(text[]), outbox.invalidate_all(regclass),
    outbox.explain(regclass, jsonb, jsonb), outbox.publish(text, jsonb, jsonb, jsonb) TO outbox_caller;
SELECT max(id) AS start FROM outbox.event \gset
SET ROLE outbox_caller;
SELECT outbox.invalidate('k'), outbox.invalidate_pattern('p*'), outbox.publish('q', '1');
SELECT outbox.invalidate_all('roles_table');
SELECT * FROM outbox.explain('roles_table', NULL, '{"id": 1, "v": "a"}');
SELECT * FROM outbox.event;
SELECT outbox.publish_to('x', 'k', '1');
RESET ROLE;
SELECT keys, patterns, payload FROM outbox.event WHERE id > :start ORDER BY id;

-- who monitors reads states, and no contents
SET ROLE outbox_monitor;
SELECT trigger, templates, condition FROM outbox.watched WHERE relation = 'roles_table'::regclass;
SELECT pending_events >= 0 AS lag, (SELECT state IS NOT NULL FROM outbox.relay) AS relay FROM outbox.lag;
SELECT relation, state IN ('current', 'empty', 'full', 'waiting') AS state FROM outbox.rotation;
SELECT count(id) > 0 AS events FROM outbox.event;
SELECT keys, payload FROM outbox.event;
SELECT * FROM outbox.event;
SELECT * FROM outbox.instance;
SELECT outbox.publish('q', '1');
SELECT outbox.restart_relay();
SELECT outbox.rotate();
SELECT outbox.adopt();

-- who operates is granted just that
SET ROLE outbox_operator;
SELECT outbox.restart_relay();
SELECT outbox.adopt();
RESET ROLE;
GRANT EXECUTE ON FUNCTION outbox.restart_relay() TO outbox_operator;
SET ROLE outbox_operator;
SELECT outbox.restart_relay();
SELECT * FROM outbox.lag;
RESET ROLE;

-- nobody but a superuser writes or truncates the tables behind it, or adds to them
SET ROLE outbox_monitor;
TRUNCATE outbox.event_1;
DELETE FROM outbox.event_1;
SET ROLE outbox_owner;
CREATE TRIGGER mine BEFORE INSERT ON outbox.event_1 FOR EACH ROW EXECUTE FUNCTION outbox.discard();
CREATE FUNCTION outbox.mine() RETURNS int LANGUAGE sql AS 'SELECT 1';
RESET ROLE;
DROP TABLE outbox.event_1;
DROP FUNCTION outbox.invalidate(text[]);

DROP TABLE roles_table;
DROP FUNCTION roles_secret(int);
DROP OWNED BY outbox_writer, outbox_owner, outbox_caller, outbox_operator;
DROP ROLE outbox_writer, outbox_owner, outbox_caller, outbox_monitor, outbox_operator;
