-- transactional_outbox.sql
--    For npm's pg-transactional-outbox: a trigger that stores what its initializeMessageStorage would, without
--    the round trip of a client, which favours it. Its own table is made by transactional_outbox.js setup.
--    Expects the table bench.pto.

CREATE FUNCTION bench.pto_record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.outbox (id, aggregate_type, aggregate_id, message_type, concurrency, payload)
    VALUES (gen_random_uuid(), 'blog', NEW.id, 'updated', 'parallel', jsonb_build_object('keys', jsonb_build_array(
        'blogs:all', 'blog:' || NEW.id, 'author:' || NEW.author_id || ':blogs')));
    RETURN NULL;
END
$$;
CREATE TRIGGER pto_record AFTER UPDATE ON bench.pto FOR EACH ROW EXECUTE FUNCTION bench.pto_record();

CREATE PROCEDURE bench.record_pto(first bigint, last bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN first .. last LOOP
        INSERT INTO public.outbox (id, aggregate_type, aggregate_id, message_type, concurrency, payload)
        VALUES (gen_random_uuid(), 'key', n, 'updated', 'parallel',
                jsonb_build_object('keys', jsonb_build_array('key:' || n - 1)));
        COMMIT;
    END LOOP;
END
$$;
