-- The key of a template without placeholders is not looked up for each row: it must be recorded anew
-- wherever what was recorded before is taken back or written early.
LOAD 'pg_outbox';
CREATE TABLE pages (id int PRIMARY KEY, n int DEFAULT 0);
INSERT INTO pages SELECT generate_series(1, 100);
SELECT outbox.watch('pages', 'pages:all', 'page:{id}');

-- each transaction records it once
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
UPDATE pages SET n = 1 WHERE id <= 2;
UPDATE pages SET n = 2 WHERE id = 1;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- a rolled back savepoint takes back its own; the parent's stays
SELECT max(id) AS start FROM outbox.event \gset
BEGIN;
SAVEPOINT s;
UPDATE pages SET n = 3 WHERE id = 1;
ROLLBACK TO s;
UPDATE pages SET n = 3 WHERE id = 2;
SAVEPOINT t;
UPDATE pages SET n = 3 WHERE id = 3;
ROLLBACK TO t;
UPDATE pages SET n = 3 WHERE id = 4;
COMMIT;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- not while recording is off
SELECT max(id) AS start FROM outbox.event \gset
BEGIN;
SET LOCAL outbox.enabled = off;
UPDATE pages SET n = 4 WHERE id = 1;
SET LOCAL outbox.enabled = on;
UPDATE pages SET n = 4 WHERE id = 2;
COMMIT;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- written early by a savepoint that rolls back, whichever row fills the journal
SET outbox.max_pending_keys = 16;
CREATE FUNCTION written_early(rows int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        UPDATE pages SET n = n + 1 WHERE id <= rows;
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
        UPDATE pages SET n = n + 1 WHERE id = 100;
    END;
END
$$;
SELECT max(id) AS start FROM outbox.event \gset
SELECT written_early(14);
SELECT written_early(15);
SELECT written_early(16);
SELECT written_early(30);
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- it fills the journal itself
SELECT outbox.watch('pages', 'pages:all');
SELECT max(id) AS start FROM outbox.event \gset
BEGIN;
SAVEPOINT s;
SELECT count(outbox.invalidate('k' || n)) FROM generate_series(1, 15) AS n;
UPDATE pages SET n = 5 WHERE id = 1;
SELECT cardinality(keys) FROM outbox.event WHERE id > :start;
ROLLBACK TO s;
UPDATE pages SET n = 5 WHERE id = 2;
COMMIT;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

DROP TABLE pages;
DROP FUNCTION written_early(int);
RESET outbox.max_pending_keys;
