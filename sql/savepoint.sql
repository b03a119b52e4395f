-- A rolled back savepoint takes back its own keys only.
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset

BEGIN;
SELECT outbox.invalidate('a');
SAVEPOINT s;
SELECT outbox.invalidate('a', 'b');
SELECT outbox.publish('q', '"rolled back"');
ROLLBACK TO s;
COMMIT;
SELECT keys, payload FROM outbox.event WHERE id > :start ORDER BY id;

-- released ones belong to the parent, and go with it
SELECT max(id) AS start FROM outbox.event \gset
BEGIN;
SELECT outbox.invalidate('top');
SAVEPOINT one;
SELECT outbox.invalidate('one');
SAVEPOINT two;
SELECT outbox.invalidate('two');
SAVEPOINT three;
SELECT outbox.invalidate('three');
RELEASE three;
RELEASE two;
SELECT outbox.invalidate('one again');
ROLLBACK TO one;
SELECT outbox.invalidate('two');
SAVEPOINT four;
SAVEPOINT five;
SELECT outbox.invalidate('five');
RELEASE four;
COMMIT;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- a savepoint that records nothing, between two that do
SELECT max(id) AS start FROM outbox.event \gset
BEGIN;
SAVEPOINT one;
SELECT outbox.invalidate('one');
SAVEPOINT two;
SAVEPOINT three;
SELECT outbox.invalidate('three');
RELEASE three;
ROLLBACK TO two;
SELECT outbox.invalidate('two');
RELEASE two;
RELEASE one;
SAVEPOINT one;
SELECT outbox.invalidate('gone');
ROLLBACK TO one;
COMMIT;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- blocks with EXCEPTION are savepoints
SELECT max(id) AS start FROM outbox.event \gset
DO $$
BEGIN
    FOR i IN 1..6 LOOP
        BEGIN
            PERFORM outbox.invalidate('block:' || i, 'all');
            IF i % 2 = 0 THEN
                RAISE EXCEPTION 'no';
            END IF;
        EXCEPTION WHEN raise_exception THEN
            PERFORM outbox.invalidate('failed:' || i);
        END;
    END LOOP;
END
$$;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- transactions inside a procedure are transactions
SELECT max(id) AS start FROM outbox.event \gset
CREATE PROCEDURE savepoint_steps() LANGUAGE plpgsql AS $$
BEGIN
    PERFORM outbox.invalidate('step 1');
    COMMIT;
    PERFORM outbox.invalidate('step 2');
    ROLLBACK;
    PERFORM outbox.invalidate('step 1');
END
$$;
CALL savepoint_steps();
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;
DROP PROCEDURE savepoint_steps();

-- many savepoints cost their number, not its square
SELECT max(id) AS start FROM outbox.event \gset
DO $$
BEGIN
    FOR i IN 1..100000 LOOP
        BEGIN
            IF i % 100 = 1 THEN
                PERFORM outbox.invalidate('many:' || i);
            END IF;
            IF i % 1000 <> 1 THEN
                RAISE EXCEPTION 'no';
            END IF;
        EXCEPTION WHEN raise_exception THEN
        END;
    END LOOP;
END
$$;
SELECT cardinality(keys), keys[1], keys[100] FROM outbox.event WHERE id > :start ORDER BY id;
