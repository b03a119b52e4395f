-- ways.sql
--    Backlogs for bench/ways: transactions of one key each, key:<first - 1> to key:<last - 1>, committed
--    from within. What a trigger would write is written by hand, so that each way has the same to do
--    afterwards: one event of one key. With bench.keys set, no more keys than that take turns. To be read
--    after recording.sql and peers/plpgsql.sql.

CREATE PROCEDURE bench.record_watched(first bigint, last bigint) LANGUAGE plpgsql AS $$
DECLARE
    keys bigint := current_setting('bench.keys');
BEGIN
    FOR n IN first .. last LOOP
        PERFORM outbox.invalidate('key:' || (n - 1) % keys);
        COMMIT;
    END LOOP;
END
$$;

CREATE PROCEDURE bench.record_lean(first bigint, last bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN first .. last LOOP
        INSERT INTO bench.lean_outbox (keys) VALUES (ARRAY['key:' || n - 1]);
        COMMIT;
    END LOOP;
END
$$;

CREATE PROCEDURE bench.record_pgq(first bigint, last bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN first .. last LOOP
        PERFORM pgq.insert_event('bench', 'key', 'key:' || n - 1);
        COMMIT;
    END LOOP;
END
$$;
