-- Ids of events come from a sequence of which nobody else gets to see anything.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset

-- in the order of the calls, and of transactions
SELECT count(outbox.publish('q', to_jsonb(i))) FROM generate_series(1, 300) AS i;
SELECT outbox.invalidate('next');
SELECT bool_and(payload = to_jsonb(place)) AS in_order, max(id) - min(id) AS width
  FROM (SELECT id, payload, row_number() OVER (ORDER BY id) AS place FROM outbox.event
         WHERE id > :start AND payload IS NOT NULL) AS e;
SELECT id > (SELECT max(id) FROM outbox.event WHERE payload IS NOT NULL) AS after FROM outbox.event WHERE keys = '{next}';

-- what is rolled back gives none back
SELECT max(id) AS last FROM outbox.event \gset
BEGIN;
SELECT outbox.invalidate('gone');
SET LOCAL outbox.max_pending_keys = 16;
SELECT count(outbox.invalidate('gone:' || i)) FROM generate_series(1, 16) AS i;
SELECT count(*) AS spilled FROM outbox.event WHERE id > :last;
ROLLBACK;
SELECT outbox.invalidate('kept');
SELECT id > :last + 1 AS another FROM outbox.event WHERE keys = '{kept}';

-- the sequence is ahead of all of them
SELECT last_value >= (SELECT max(id) FROM outbox.event) AS ahead FROM outbox.event_id_seq;

-- lastval() and currval() stay the user's, also where a new block is taken
CREATE TABLE numbered (id serial PRIMARY KEY, title text);
SELECT outbox.watch('numbered', 'numbered:{id}');
INSERT INTO numbered (title) VALUES ('one');
SELECT lastval();
SELECT count(outbox.publish('q', '0')) FROM generate_series(1, 300);
SELECT lastval(), currval('numbered_id_seq');
DROP TABLE numbered;

-- moved by hand: followed once a block is used up
SELECT max(id) AS last FROM outbox.event \gset
SELECT setval('outbox.event_id_seq', last_value + 100000) > 0 AS moved FROM outbox.event_id_seq;
SELECT count(outbox.publish('q', '1')) FROM generate_series(1, 300);
SELECT max(id) > :last + 100000 AS moved FROM outbox.event;
ALTER SEQUENCE outbox.event_id_seq RESTART 500000;
SELECT count(outbox.publish('q', '2')) FROM generate_series(1, 300);
SELECT max(id) BETWEEN 500000 AND 501000 AS restarted FROM outbox.event;
