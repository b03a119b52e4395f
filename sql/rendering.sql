-- A value becomes the same text in every session, whatever it has set.
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset

CREATE TYPE mood AS ENUM ('so so', 'fine');
CREATE TYPE pair AS (a int, b timestamptz);
CREATE DOMAIN day AS date;
CREATE DOMAIN short AS varchar(5);
CREATE TABLE rendered (
    i2 int2, i4 int4, i8 int8, num numeric(6, 2), f4 float4, f8 float8, yes bool,
    txt text, vc varchar(9), ch char(5), nm name, c "char", sh short,
    u uuid, d date, dd day, t time, tz timetz, ts timestamp, tstz timestamptz, iv interval,
    b bytea, cash money, js json, jb jsonb, m mood, ia int[], ta text[], tsa timestamptz[],
    p pair, r int4range, rc regclass, ip inet, x xml, bits varbit);
INSERT INTO rendered VALUES (
    -2, 4, 8000000000, 12.5, 0.1, 1e-7, true,
    'text', 'vc', 'ch', 'nm', 'c', 'sh',
    'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '2024-02-29', '2024-02-29', '01:02:03.5', '01:02:03+02',
    '2024-02-29 01:02:03', '2024-02-29 01:02:03+00', '1 year 2 months -3 days 04:05:06.7',
    '\x00ff', 12.34, '{"a":  1}', '{"a":  1}', 'so so', '{1,2}', '{a,"b c"}',
    '{2024-02-29 01:02:03+00}', ROW(1, '2024-02-29 01:02:03+00'), '[1,5)', 'rendered', '10.0.0.1/32',
    '<a/>', B'101');

DO $$
DECLARE
    columns text;
BEGIN
    SELECT string_agg(quote_literal(attname || '={' || attname || '}'), ', ' ORDER BY attnum) INTO columns
      FROM pg_attribute WHERE attrelid = 'rendered'::regclass AND attnum > 0;
    EXECUTE 'CREATE TRIGGER rendered AFTER DELETE ON rendered FOR EACH ROW EXECUTE FUNCTION outbox.invalidate(' || columns || ')';
END
$$;

-- a session of strange habits
BEGIN;
SET LOCAL DateStyle = 'German, DMY';
SET LOCAL IntervalStyle = 'iso_8601';
SET LOCAL TimeZone = 'Asia/Kathmandu';
SET LOCAL extra_float_digits = -15;
SET LOCAL bytea_output = 'escape';
SET LOCAL search_path = pg_temp;
SET LOCAL quote_all_identifiers = on;
DELETE FROM public.rendered;
SHOW DateStyle;
SHOW TimeZone;
SHOW search_path;
COMMIT;
SELECT unnest(keys) AS hostile FROM outbox.event WHERE id > :start;

-- as the cast gives it under the settings promised
BEGIN;
SET LOCAL DateStyle = 'ISO';
SET LOCAL IntervalStyle = 'postgres';
SET LOCAL TimeZone = 'UTC';
SET LOCAL extra_float_digits = 1;
SET LOCAL search_path = pg_catalog;
DO $$
DECLARE
    bad text;
BEGIN
    CREATE TEMP TABLE again (LIKE public.rendered);
    INSERT INTO again VALUES (
        -2, 4, 8000000000, 12.5, 0.1, 1e-7, true,
        'text', 'vc', 'ch', 'nm', 'c', 'sh',
        'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '2024-02-29', '2024-02-29', '01:02:03.5', '01:02:03+02',
        '2024-02-29 01:02:03', '2024-02-29 01:02:03+00', '1 year 2 months -3 days 04:05:06.7',
        '\x00ff', 12.34, '{"a":  1}', '{"a":  1}', 'so so', '{1,2}', '{a,"b c"}',
        '{2024-02-29 01:02:03+00}', ROW(1, '2024-02-29 01:02:03+00'), '[1,5)', 'public.rendered',
        '10.0.0.1/32', '<a/>', B'101');
    FOR bad IN SELECT attname FROM pg_attribute WHERE attrelid = 'public.rendered'::regclass AND attnum > 0 LOOP
        EXECUTE format('SELECT %L || %I::text FROM again', bad || '=', bad) INTO bad;
        IF NOT EXISTS (SELECT FROM outbox.event WHERE bad = ANY (keys)) THEN
            RAISE WARNING 'no key %', bad;
        END IF;
    END LOOP;
END
$$;
ROLLBACK;

-- settings come back after an error, too
CREATE FUNCTION mood_fails(m pair) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no text under %', current_setting('DateStyle'); END $$;
CREATE CAST (pair AS text) WITH FUNCTION mood_fails(pair);
CREATE TABLE failing (p pair);
SELECT outbox.watch('failing', 'p:{p}');
SET DateStyle = 'German, DMY';
INSERT INTO failing VALUES (ROW(1, NULL));
SHOW DateStyle;
DO $$
BEGIN
    INSERT INTO public.failing VALUES (ROW(1, NULL));
EXCEPTION WHEN raise_exception THEN
    RAISE NOTICE 'caught, under %', current_setting('DateStyle');
END
$$;
RESET DateStyle;

-- a cast that is dropped or made is noticed; one that gives NULL makes no key
SELECT max(id) AS start FROM outbox.event \gset
DROP CAST (pair AS text);
INSERT INTO failing VALUES (ROW(2, NULL));
CREATE FUNCTION pair_text(p pair) RETURNS text LANGUAGE sql AS $$ SELECT 'pair of ' || p.a $$;
CREATE CAST (pair AS text) WITH FUNCTION pair_text(pair);
INSERT INTO failing VALUES (ROW(3, NULL));
INSERT INTO failing VALUES (ROW(NULL, NULL));
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

DROP TABLE rendered, failing;
DROP CAST (pair AS text);
DROP FUNCTION mood_fails(pair), pair_text(pair);
DROP TYPE mood, pair;
DROP DOMAIN day, short;
