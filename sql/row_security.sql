-- Row security hides rows from who reads and writes, not from the outbox; and never stops its writing.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE ROLE outbox_tenant;
CREATE TABLE secured (id int PRIMARY KEY, tenant name, v text);
INSERT INTO secured VALUES (1, 'outbox_tenant', 'mine'), (2, 'other', 'theirs');
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secured USING (tenant = current_user) WITH CHECK (tenant = current_user);
CREATE POLICY never_seen ON secured AS RESTRICTIVE FOR SELECT USING (v <> 'secret');
GRANT SELECT (id, tenant, v), INSERT, DELETE, UPDATE (v) ON secured TO outbox_tenant;
SELECT outbox.watch('secured', 'one:{id}', 'v:{v}');

SET ROLE outbox_tenant;
UPDATE secured SET v = 'changed';
INSERT INTO secured VALUES (3, 'other', 'refused');
INSERT INTO secured VALUES (4, 'outbox_tenant', 'secret');
DELETE FROM secured WHERE id = 4;
DELETE FROM secured;
BEGIN;
INSERT INTO secured VALUES (5, 'outbox_tenant', 'x');
SET LOCAL row_security = off;
COMMIT;
RESET ROLE;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;

-- the owner's FORCE, and row security of the session switched off
SELECT max(id) AS start FROM outbox.event \gset
ALTER TABLE secured FORCE ROW LEVEL SECURITY;
SET row_security = off;
UPDATE secured SET v = 'by a superuser';
RESET row_security;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;
DROP TABLE secured;
DROP ROLE outbox_tenant;
