-- plpgsql.sql
--    The textbook outbox: a trigger in plpgsql that writes a row for each changed row. Three times.
--
-- lean   written as well as it can be: one INSERT of one array; nothing for the old row where it makes
--        the same keys as the new one; no query, no loop, no dynamic SQL; a table with an identity
--        column and no index but its primary key.
-- usual  the same trigger with the table that textbooks show: what it is about, a jsonb payload, when
--        it was published, and a partial index by which the publisher finds what was not.
-- listen lean once more, and a NOTIFY at commit, once for each transaction, that wakes the publisher.
--
-- All leave out what would cost more: duplicates within a transaction are recorded again, an UPDATE
-- that changes nothing is recorded, the writer needs rights in the outbox, and whoever reads by id
-- loses what commits late. Expects the tables bench.lean,
-- bench.usual and bench.listen.

CREATE TABLE bench.lean_outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    keys       text[] NOT NULL
);

CREATE FUNCTION bench.lean_record() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.id = OLD.id AND NEW.author_id = OLD.author_id THEN
            INSERT INTO bench.lean_outbox (keys) VALUES (
                ARRAY['blogs:all', 'blog:' || NEW.id, 'author:' || NEW.author_id || ':blogs']);
        ELSE
            INSERT INTO bench.lean_outbox (keys) VALUES (
                ARRAY['blogs:all', 'blog:' || OLD.id, 'author:' || OLD.author_id || ':blogs',
                      'blog:' || NEW.id, 'author:' || NEW.author_id || ':blogs']);
        END IF;
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO bench.lean_outbox (keys) VALUES (
            ARRAY['blogs:all', 'blog:' || NEW.id, 'author:' || NEW.author_id || ':blogs']);
    ELSE
        INSERT INTO bench.lean_outbox (keys) VALUES (
            ARRAY['blogs:all', 'blog:' || OLD.id, 'author:' || OLD.author_id || ':blogs']);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER lean_record AFTER INSERT OR UPDATE OR DELETE ON bench.lean
    FOR EACH ROW EXECUTE FUNCTION bench.lean_record();

CREATE TABLE bench.usual_outbox (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    aggregate_type text NOT NULL,
    aggregate_id   text NOT NULL,
    event_type     text NOT NULL,
    payload        jsonb NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    published_at   timestamptz
);
CREATE INDEX usual_outbox_unpublished ON bench.usual_outbox (id) WHERE published_at IS NULL;

CREATE FUNCTION bench.usual_record() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.id = OLD.id AND NEW.author_id = OLD.author_id THEN
            INSERT INTO bench.usual_outbox (aggregate_type, aggregate_id, event_type, payload)
            VALUES ('blog', NEW.id, 'updated', jsonb_build_object('keys', jsonb_build_array(
                'blogs:all', 'blog:' || NEW.id, 'author:' || NEW.author_id || ':blogs')));
        ELSE
            INSERT INTO bench.usual_outbox (aggregate_type, aggregate_id, event_type, payload)
            VALUES ('blog', NEW.id, 'updated', jsonb_build_object('keys', jsonb_build_array(
                'blogs:all', 'blog:' || OLD.id, 'author:' || OLD.author_id || ':blogs',
                'blog:' || NEW.id, 'author:' || NEW.author_id || ':blogs')));
        END IF;
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO bench.usual_outbox (aggregate_type, aggregate_id, event_type, payload)
        VALUES ('blog', NEW.id, 'created', jsonb_build_object('keys', jsonb_build_array(
            'blogs:all', 'blog:' || NEW.id, 'author:' || NEW.author_id || ':blogs')));
    ELSE
        INSERT INTO bench.usual_outbox (aggregate_type, aggregate_id, event_type, payload)
        VALUES ('blog', OLD.id, 'deleted', jsonb_build_object('keys', jsonb_build_array(
            'blogs:all', 'blog:' || OLD.id, 'author:' || OLD.author_id || ':blogs')));
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER usual_record AFTER INSERT OR UPDATE OR DELETE ON bench.usual
    FOR EACH ROW EXECUTE FUNCTION bench.usual_record();

CREATE TABLE bench.listen_outbox (LIKE bench.lean_outbox INCLUDING ALL);
DO $$
BEGIN
    EXECUTE replace(pg_get_functiondef('bench.lean_record'::regproc), 'lean', 'listen');
END
$$;
CREATE TRIGGER listen_record AFTER INSERT OR UPDATE OR DELETE ON bench.listen
    FOR EACH ROW EXECUTE FUNCTION bench.listen_record();

CREATE FUNCTION bench.listen_notify() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY outbox;
    RETURN NULL;
END
$$;
CREATE TRIGGER listen_notify AFTER INSERT ON bench.listen_outbox
    FOR EACH STATEMENT EXECUTE FUNCTION bench.listen_notify();
