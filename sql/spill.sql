-- Beyond outbox.max_pending_keys keys are written early, each row with the savepoint it belongs to.
LOAD 'pg_outbox';
SET outbox.max_pending_keys = 16;
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset

CREATE FUNCTION spilled(after bigint) RETURNS TABLE (rows bigint, keys bigint, different bigint)
    LANGUAGE sql AS $$
    SELECT count(DISTINCT id), count(*), count(DISTINCT key)
      FROM outbox.event, unnest(keys) AS key WHERE id > after
    $$;

-- at the top level: a full set is written; its keys may come again
BEGIN;
SELECT count(outbox.invalidate('top:' || i)) FROM generate_series(1, 40) AS i;
SELECT * FROM spilled(:start);
SELECT count(outbox.invalidate('top:' || i)) FROM generate_series(1, 40) AS i;
COMMIT;
SELECT * FROM spilled(:start);

-- a savepoint's rows vanish with it, older keys do not
SELECT max(id) AS start FROM outbox.event \gset
BEGIN;
SELECT count(outbox.invalidate('kept:' || i)) FROM generate_series(1, 10) AS i;
SAVEPOINT s;
SELECT count(outbox.invalidate('gone:' || i)) FROM generate_series(1, 100) AS i;
SELECT rows > 0 AS spilled FROM spilled(:start);
ROLLBACK TO s;
SELECT rows FROM spilled(:start);
SELECT outbox.invalidate('kept:11');
COMMIT;
SELECT key FROM outbox.event, unnest(keys) AS key WHERE id > :start ORDER BY id, key COLLATE "C";

-- keys of a parent that were written at the end of a savepoint
SELECT max(id) AS start FROM outbox.event \gset
BEGIN;
SAVEPOINT parent;
SELECT count(outbox.invalidate('parent:' || i)) FROM generate_series(1, 10) AS i;
SAVEPOINT child;
SELECT count(outbox.invalidate('child:' || i)) FROM generate_series(1, 10) AS i;
SELECT rows FROM spilled(:start);
RELEASE child;
SELECT * FROM spilled(:start);
SELECT outbox.invalidate('parent:1');
ROLLBACK TO parent;
SELECT * FROM spilled(:start);
SELECT outbox.invalidate('after');
COMMIT;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- grandparent's keys are left alone by a child whose parent has none
SELECT max(id) AS start FROM outbox.event \gset
BEGIN;
SELECT count(outbox.invalidate('grandparent:' || i)) FROM generate_series(1, 10) AS i;
SAVEPOINT parent;
SAVEPOINT child;
SELECT count(outbox.invalidate('child:' || i)) FROM generate_series(1, 10) AS i;
RELEASE child;
ROLLBACK TO parent;
COMMIT;
SELECT * FROM spilled(:start);

-- a loop of EXCEPTION blocks neither grows nor writes a row for each
SELECT max(id) AS start FROM outbox.event \gset
DO $$
BEGIN
    FOR i IN 1..1000 LOOP
        BEGIN
            PERFORM outbox.invalidate('loop:' || i);
            IF i % 10 = 0 THEN
                RAISE EXCEPTION 'no';
            END IF;
        EXCEPTION WHEN raise_exception THEN
        END;
    END LOOP;
END
$$;
SELECT rows BETWEEN 900 / 16 AND 900 / 16 + 2 AS few_rows, keys, different FROM spilled(:start);

-- an error while one is ending takes nothing of the parent's along
SELECT max(id) AS start FROM outbox.event \gset
DO $$
BEGIN
    PERFORM outbox.invalidate('before:' || i) FROM generate_series(1, 15) AS i;
    BEGIN
        PERFORM outbox.invalidate('in');
        ALTER TABLE outbox.event_1 ADD surplus int;
    EXCEPTION WHEN object_not_in_prerequisite_state THEN
        RAISE NOTICE 'the end of the block failed';
    END;
END
$$;
SELECT * FROM spilled(:start);

-- triggers, random nesting: what committed is there, what rolled back is not
SELECT max(id) AS start FROM outbox.event \gset
CREATE TABLE spill_log (key text);
CREATE FUNCTION spill_nest(depth int, seed int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    branch int;
    name text;
BEGIN
    FOR branch IN 1..3 LOOP
        BEGIN
            FOR k IN 1..(seed * 7 + branch * 5 + depth * 3) % 11 LOOP
                name := format('%s.%s.%s', depth, (seed * 31 + branch * 17) % 97, k);
                PERFORM outbox.invalidate(name);
                INSERT INTO spill_log VALUES (name);
            END LOOP;
            IF depth > 0 THEN
                PERFORM spill_nest(depth - 1, (seed * 31 + branch * 17) % 97);
            END IF;
            IF (seed + branch * depth) % 4 = 1 THEN
                RAISE EXCEPTION 'roll back';
            END IF;
        EXCEPTION WHEN raise_exception THEN
        END;
    END LOOP;
END
$$;
SELECT spill_nest(5, 1);
SELECT count(*) > 100 AS enough FROM spill_log;
SELECT key AS lost FROM spill_log EXCEPT SELECT key FROM outbox.event, unnest(keys) AS key WHERE id > :start;
SELECT key AS never_committed FROM outbox.event, unnest(keys) AS key WHERE id > :start EXCEPT SELECT key FROM spill_log;

-- messages keep their order; 16 MB are enough, too
RESET outbox.max_pending_keys;
SET outbox.max_payload = '16MB';
SELECT max(id) AS start FROM outbox.event \gset
BEGIN;
SELECT count(outbox.publish('q', to_jsonb(i || repeat('x', 4 * 1024 * 1024)))) FROM generate_series(1, 9) AS i;
SELECT count(*) > 0 AS spilled FROM outbox.event WHERE id > :start;
COMMIT;
SELECT string_agg(left(payload #>> '{}', 1), '' ORDER BY id) FROM outbox.event WHERE id > :start;

-- no row holds more than 256 kB of keys
SELECT max(id) AS start FROM outbox.event \gset
SELECT count(outbox.invalidate(i || repeat('k', 8000))) FROM generate_series(1, 100) AS i;
SELECT bool_and(octet_length(keys::text) <= 256 * 1024) AS small, sum(cardinality(keys)) FROM outbox.event WHERE id > :start;
DROP TABLE spill_log;
DROP FUNCTION spilled(bigint), spill_nest(int, int);
