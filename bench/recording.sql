-- recording.sql
--    What bench/recording writes to: one table several times, each with another trigger or none.
--
-- The shape is that of a blog: a key, an author with an index, a title, some text, a counter. Beside each
-- table a procedure of transactions of one UPDATE each, committed one by one: from within, since a client
-- that is woken for each answer costs the backend more than the trigger, and not always as much. 7919
-- has no divisor in common with the number of rows (bench.rows; 100,000 unless set): neighbours do not
-- follow each other.
--
-- plain      no trigger
-- watched    outbox.watch() with three templates
-- lean       a trigger in plpgsql: peers/plpgsql.sql, to be read after this
-- usual      another one there
-- listen     lean, and a NOTIFY for each transaction: peers/plpgsql.sql as well
-- pgq        PgQ's trigger in C: peers/pgq.sql, where PgQ is installed
-- pto        what npm's pg-transactional-outbox stores: peers/transactional_outbox.sql
-- nothing, row   triggers in C that do nothing, and insert one row: floor/one_row.c, by bench/ways
-- columns    outbox.watch_columns(): a change of views is no reason
-- of         by hand, AFTER UPDATE OF title
-- whenever   by hand, WHEN (OLD.title IS DISTINCT FROM NEW.title)

CREATE SCHEMA bench;

DO $$
DECLARE
    name text;
    rows int := coalesce(nullif(current_setting('bench.rows', true), ''), '100000');
BEGIN
    FOREACH name IN ARRAY ARRAY['plain', 'watched', 'lean', 'usual', 'listen', 'pgq',
                                    'pto', 'nothing', 'row', 'columns', 'of', 'whenever'] LOOP
        EXECUTE format('
            CREATE TABLE bench.%1$I (
                id         bigint PRIMARY KEY,
                author_id  bigint NOT NULL,
                title      text NOT NULL,
                body       text NOT NULL,
                views      integer NOT NULL DEFAULT 0,
                updated_at timestamptz NOT NULL DEFAULT now()
            ) WITH (fillfactor = 45, autovacuum_enabled = off);
            CREATE INDEX ON bench.%1$I (author_id, id DESC);
            INSERT INTO bench.%1$I (id, author_id, title, body)
                SELECT n, n %% 1000, ''title '' || n, repeat(md5(n::text), 8)
                  FROM generate_series(1, %2$s) AS n;
            CREATE PROCEDURE bench.%1$s_updates(first bigint, count bigint) LANGUAGE plpgsql AS $p$
            BEGIN
                FOR n IN first .. first + count - 1 LOOP
                    UPDATE bench.%1$I SET views = views + 1 WHERE id = n * 7919 %% %2$s + 1;
                    COMMIT;
                END LOOP;
            END
            $p$;', name, rows);
    END LOOP;
END
$$;

SELECT outbox.watch('bench.watched', 'blogs:all', 'blog:{id}', 'author:{author_id}:blogs');
SELECT outbox.watch_columns('bench.columns', '{title}',
                            'blogs:all', 'blog:{id}', 'author:{author_id}:blogs');
CREATE TRIGGER record AFTER UPDATE OF title ON bench.of FOR EACH ROW
    EXECUTE FUNCTION outbox.invalidate('blogs:all', 'blog:{id}', 'author:{author_id}:blogs');
CREATE TRIGGER record AFTER UPDATE ON bench.whenever FOR EACH ROW
    WHEN (OLD.title IS DISTINCT FROM NEW.title)
    EXECUTE FUNCTION outbox.invalidate('blogs:all', 'blog:{id}', 'author:{author_id}:blogs');
