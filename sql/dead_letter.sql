-- Events that were not accepted: who may see what, and what the calls refuse.
LOAD 'pg_outbox';
CREATE ROLE outbox_nobody;
CREATE ROLE outbox_reader IN ROLE pg_monitor;
CREATE ROLE outbox_operator;

-- as the relay would have parked them (which no INSERT may)
INSERT INTO outbox.parked (id, xid, created_at, to_exchange, to_routing_key, dead, first_failed_at, failed_at)
VALUES (1, '3', now(), '', 'q', false, now(), now());
SELECT count(*) FROM outbox.parked;
SET session_replication_role = replica;
INSERT INTO outbox.parked (id, xid, created_at, to_exchange, to_routing_key, dead, first_failed_at, failed_at)
VALUES (1, '3', now(), '', 'q', false, now(), now());
RESET session_replication_role;
SELECT count(*) FROM outbox.parked;
BEGIN;
ALTER TABLE outbox.parked DISABLE TRIGGER discard;
INSERT INTO outbox.parked (id, xid, created_at, exchange, routing_key, payload, headers, attempts, to_exchange, to_routing_key, dead, reason, first_failed_at, failed_at)
SELECT -n, '3', '2026-01-01', '', 'q', to_jsonb(n), '{"h": 1}', n % 2, '', 'q', n % 2 = 1, CASE n % 2 WHEN 1 THEN 'too large' END, '2026-01-02', '2026-01-03'
  FROM generate_series(1, 6) AS n;
ALTER TABLE outbox.parked ENABLE ALWAYS TRIGGER discard;
COMMIT;
SELECT event_id, exchange, routing_key, state, reason, attempts, next_attempt_at, payload, headers FROM outbox.dead_letter ORDER BY 1 DESC;

-- ---- rights --------------------------------------------------------------------------------------

-- nothing for PUBLIC
SET ROLE outbox_nobody;
SELECT event_id FROM outbox.dead_letter;
SELECT * FROM outbox.destination;
SELECT outbox.retry_dead_letter(-1);
RESET ROLE;

-- a monitor sees that something waits, not what; and changes nothing
SET ROLE outbox_reader;
SELECT event_id, exchange, routing_key, state, reason, attempts, first_failed_at IS NULL, failed_at IS NULL, next_attempt_at FROM outbox.dead_letter WHERE event_id = -1;
SELECT count(*) FROM outbox.destination;
SELECT keys FROM outbox.dead_letter;
SELECT patterns FROM outbox.dead_letter;
SELECT payload FROM outbox.dead_letter;
SELECT body FROM outbox.dead_letter;
SELECT headers FROM outbox.dead_letter;
SELECT properties FROM outbox.dead_letter;
SELECT count(*) FROM outbox.parked;
DELETE FROM outbox.dead_letter;
SELECT outbox.retry_dead_letter(-1);
SELECT outbox.discard_dead_letter(-1);
SELECT outbox.retry_dead_letters('', 'q');
RESET ROLE;

-- whoever is granted the functions needs nothing else
GRANT USAGE ON SCHEMA outbox TO outbox_operator;
GRANT EXECUTE ON FUNCTION outbox.retry_dead_letter(bigint), outbox.discard_dead_letter(bigint), outbox.retry_dead_letters(text, text) TO outbox_operator;
SET ROLE outbox_operator;
SELECT outbox.discard_dead_letter(-1);
SELECT outbox.retry_dead_letter(-2);
RESET ROLE;
SELECT string_agg(event_id::text, ' ' ORDER BY event_id DESC) FROM outbox.dead_letter;
SELECT id, routing_key, payload, headers, created_at = '2026-01-01' FROM outbox.event WHERE id < 0;

-- ---- errors --------------------------------------------------------------------------------------

SELECT outbox.discard_dead_letter(-1);
SELECT outbox.retry_dead_letter(-1);
SELECT outbox.retry_dead_letter(9223372036854775807);
SELECT outbox.retry_dead_letter(NULL);
SELECT outbox.discard_dead_letter(NULL);
SELECT outbox.retry_dead_letters(NULL, 'q');
SELECT outbox.retry_dead_letters('', NULL);
SELECT outbox.retry_dead_letters('', 'no.such');
BEGIN TRANSACTION READ ONLY;
SAVEPOINT s;
SELECT outbox.retry_dead_letter(-3);
ROLLBACK TO s;
SELECT outbox.discard_dead_letter(-3);
ROLLBACK TO s;
SELECT outbox.retry_dead_letters('', 'q');
COMMIT;

-- ---- transactions --------------------------------------------------------------------------------

BEGIN;
SAVEPOINT s;
SELECT outbox.discard_dead_letter(-3);
SELECT outbox.retry_dead_letter(-4);
ROLLBACK TO s;
SELECT outbox.retry_dead_letter(-4);
SELECT outbox.retry_dead_letter(-4);
ROLLBACK;
SELECT string_agg(event_id::text, ' ' ORDER BY event_id DESC) FROM outbox.dead_letter;
BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM outbox.dead_letter;
SELECT outbox.discard_dead_letter(-6);
SELECT outbox.discard_dead_letter(-6);
ROLLBACK;
BEGIN;
SELECT outbox.discard_dead_letter(-3);
PREPARE TRANSACTION 'discards';
SELECT string_agg(event_id::text, ' ' ORDER BY event_id DESC) FROM outbox.dead_letter;
COMMIT PREPARED 'discards';
SELECT string_agg(event_id::text, ' ' ORDER BY event_id DESC) FROM outbox.dead_letter;

-- dead ones go back into the outbox, in order; those that wait stay, and are counted
SELECT outbox.retry_dead_letters('', 'q');
SELECT event_id, state FROM outbox.dead_letter ORDER BY 1 DESC;
SELECT id FROM outbox.event WHERE id < 0 ORDER BY id DESC;

-- all of them count: a publication of all tables stops nobody
SET client_min_messages = error; -- wal_level is not logical here
CREATE PUBLICATION dead_letter_all FOR ALL TABLES;
RESET client_min_messages;
SELECT outbox.discard_dead_letter(-4);
SELECT outbox.retry_dead_letter(-6);
DROP PUBLICATION dead_letter_all;
SELECT count(*) FROM outbox.parked;

REVOKE ALL ON SCHEMA outbox FROM outbox_operator;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA outbox FROM outbox_operator;
DROP ROLE outbox_nobody, outbox_reader, outbox_operator;
