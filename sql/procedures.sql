-- Procedures that commit inside, and cursors over them: each transaction records its own.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE stepped (id int PRIMARY KEY, v text);
SELECT outbox.watch('stepped', 'stepped:{id}');
CREATE PROCEDURE in_steps() LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    FOR i IN 1..3 LOOP
        INSERT INTO stepped VALUES (i, 'x');
        IF i = 2 THEN ROLLBACK; ELSE COMMIT; END IF;
    END LOOP;
    INSERT INTO stepped VALUES (9, 'x');
END$$;
CALL in_steps();
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- a loop over a cursor that survives the commits in it
SELECT max(id) AS start FROM outbox.event \gset
CREATE PROCEDURE over_cursor() LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT * FROM stepped ORDER BY id LOOP
        UPDATE stepped SET v = 'step ' || r.id WHERE id = r.id;
        BEGIN
            INSERT INTO stepped VALUES (100 + r.id, 'undone');
            RAISE division_by_zero;
        EXCEPTION WHEN division_by_zero THEN
            PERFORM outbox.invalidate('caught:' || r.id);
        END;
        COMMIT;
    END LOOP;
END$$;
CALL over_cursor();
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- an error after a commit takes back what came after it
SELECT max(id) AS start FROM outbox.event \gset
DO $$BEGIN
    PERFORM outbox.invalidate('committed');
    COMMIT;
    PERFORM outbox.invalidate('failed');
    PERFORM 1 / 0;
END$$;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- WHERE CURRENT OF; a cursor WITH HOLD whose query runs at commit, a cursor that calls
SELECT max(id) AS start FROM outbox.event \gset
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM stepped ORDER BY id FOR UPDATE;
FETCH 2 FROM c;
UPDATE stepped SET v = 'current' WHERE CURRENT OF c;
DECLARE h CURSOR WITH HOLD FOR SELECT outbox.invalidate('held:' || i) FROM generate_series(1, 3) AS i;
FETCH 1 FROM h;
COMMIT;
FETCH 1 FROM h;
CLOSE h;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;
DROP TABLE stepped;
DROP PROCEDURE in_steps();
DROP PROCEDURE over_cursor();
