-- The install script leaves nothing to a search path and takes over nobody's objects: pgspot's rules.
SELECT pg_read_file(setting || '/extension/pg_outbox--1.0.sql') AS script
  FROM pg_config WHERE name = 'SHAREDIR' \gset
-- without comments and strings
SELECT regexp_replace(regexp_replace(:'script', '--[^\n]*', '', 'g'), '''([^'']|'''')*''', '''''', 'g') AS bare \gset

-- no OR REPLACE, no IF NOT EXISTS, no @extschema@, no DO, no EXECUTE of text, no SET without LOCAL
SELECT count(*) FROM regexp_matches(:'bare', 'OR\s+REPLACE|IF\s+(NOT\s+)?EXISTS|@extschema|^\s*DO\s|^\s*(SET|RESET)\s', 'gin');
-- what is made is made in the schema outbox
SELECT m[1] FROM regexp_matches(:'bare', '^CREATE\s+(?:TABLE|VIEW|FUNCTION|SEQUENCE|TYPE)\s+(\S+)', 'gn') AS m
 WHERE m[1] NOT LIKE 'outbox.%';
-- triggers and indexes are on its tables
SELECT m[1] FROM regexp_matches(:'bare', '^CREATE\s+(?:UNIQUE\s+)?(?:INDEX|TRIGGER)\s+[^;]*?\sON\s+(\S+)', 'gn') AS m
 WHERE m[1] NOT LIKE 'outbox.%';
-- tables and functions in FROM and JOIN are qualified
SELECT m[1] FROM regexp_matches(:'bare', '\m(?:FROM|JOIN|LATERAL)\s+([a-z_][a-z0-9_.]*)', 'g') AS m
 WHERE m[1] NOT LIKE 'outbox.%' AND m[1] NOT LIKE 'pg_catalog.%';
-- operators are qualified: no bare ones but the = of options and settings
SELECT m[1] FROM regexp_matches(:'bare', '\s(<>|<|>|<=|>=|!=|\+|-|/|\|\||~|&|LIKE|BETWEEN)\s', 'g') AS m;
SELECT m[1] FROM regexp_matches(:'bare', '(WITH \([^)]*\)|SET search_path = [^\n]*|[^\n]*\s=\s[^\n]*)', 'g') AS m
 WHERE m[1] ~ '=' AND m[1] !~ '^(WITH \(autovacuum_enabled = off, toast.autovacuum_enabled = off\)|SET search_path = pg_catalog, pg_temp)'
   AND m[1] !~ 'SET search_path = pg_catalog, pg_temp' AND m[1] !~ '(autovacuum_enabled|deduplicate_items) = off';

-- functions: SQL and PL/pgSQL ones, and all with SECURITY DEFINER, pin their search path
SELECT p.oid::regprocedure FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
 WHERE p.pronamespace = 'outbox'::regnamespace AND (l.lanname <> 'c' OR p.prosecdef)
   AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false);
-- those with SECURITY DEFINER are few, and named here
SELECT p.oid::regprocedure FROM pg_proc AS p WHERE p.pronamespace = 'outbox'::regnamespace AND p.prosecdef ORDER BY 1;
-- those that record or write are never parallel safe
SELECT p.oid::regprocedure FROM pg_proc AS p
 WHERE p.pronamespace = 'outbox'::regnamespace AND p.proparallel = 's' ORDER BY 1;

-- nothing is PUBLIC's; every object has a comment, but indexes, constraints and types
SELECT 'function', p.oid::regprocedure::text FROM pg_proc AS p, LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
 WHERE p.pronamespace = 'outbox'::regnamespace AND a.grantee = 0
UNION ALL
SELECT 'relation', c.oid::regclass::text FROM pg_class AS c, LATERAL aclexplode(c.relacl) AS a
 WHERE c.relnamespace = 'outbox'::regnamespace AND a.grantee = 0
UNION ALL
SELECT 'schema', n.nspname FROM pg_namespace AS n, LATERAL aclexplode(n.nspacl) AS a WHERE n.nspname = 'outbox' AND a.grantee = 0;
SELECT c.oid::regclass::text FROM pg_class AS c
 WHERE relnamespace = 'outbox'::regnamespace AND relkind IN ('r', 'v', 'S') AND obj_description(c.oid, 'pg_class') IS NULL
UNION ALL
SELECT p.oid::regprocedure::text FROM pg_proc AS p
 WHERE pronamespace = 'outbox'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL;

-- members of the extension, all of them
SELECT c.oid::regclass FROM pg_class AS c
 WHERE relnamespace = 'outbox'::regnamespace AND relkind IN ('r', 'v', 'S')
   AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = c.oid AND deptype = 'e');
