-- plpgsql.sql
--    The textbook outbox: a trigger in plpgsql that writes a row for each changed row.
--
-- Written as well as it can be: one INSERT of one array; nothing for the old row where it makes the
-- same keys as the new one; no query, no loop, no dynamic SQL; a table with an identity column and no
-- index but its primary key. It leaves out what would cost it more: duplicates within a transaction
-- are recorded again, an UPDATE that changes nothing is recorded, the writer needs rights in the
-- outbox, and whoever reads by id loses what commits late. Expects the table bench.textbook.

CREATE TABLE bench.textbook_outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    keys       text[] NOT NULL
);

CREATE FUNCTION bench.textbook_record() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.id = OLD.id AND NEW.author_id = OLD.author_id THEN
            INSERT INTO bench.textbook_outbox (keys) VALUES (
                ARRAY['blogs:all', 'blog:' || NEW.id, 'author:' || NEW.author_id || ':blogs']);
        ELSE
            INSERT INTO bench.textbook_outbox (keys) VALUES (
                ARRAY['blogs:all', 'blog:' || OLD.id, 'author:' || OLD.author_id || ':blogs',
                      'blog:' || NEW.id, 'author:' || NEW.author_id || ':blogs']);
        END IF;
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO bench.textbook_outbox (keys) VALUES (
            ARRAY['blogs:all', 'blog:' || NEW.id, 'author:' || NEW.author_id || ':blogs']);
    ELSE
        INSERT INTO bench.textbook_outbox (keys) VALUES (
            ARRAY['blogs:all', 'blog:' || OLD.id, 'author:' || OLD.author_id || ':blogs']);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER textbook_record AFTER INSERT OR UPDATE OR DELETE ON bench.textbook
    FOR EACH ROW EXECUTE FUNCTION bench.textbook_record();
