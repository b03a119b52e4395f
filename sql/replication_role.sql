-- session_replication_role: plain triggers count as origin and local, not as replica. So what logical
-- replication applies, and a restore in that role, records nothing: the origin recorded it already.
-- Who wants the keys on a subscriber too says ENABLE ALWAYS or ENABLE REPLICA. Calls always record.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE replicated (id int);
SELECT outbox.watch('replicated', 'replicated:{id}');
SET session_replication_role = origin;
INSERT INTO replicated VALUES (1);
SET session_replication_role = local;
INSERT INTO replicated VALUES (2);
SET session_replication_role = replica;
INSERT INTO replicated VALUES (3);
TRUNCATE replicated;
SELECT outbox.invalidate('by hand');
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;

RESET session_replication_role;
SELECT max(id) AS start FROM outbox.event \gset
ALTER TABLE replicated ENABLE ALWAYS TRIGGER outbox_invalidate;
INSERT INTO replicated VALUES (4);
SET session_replication_role = replica;
INSERT INTO replicated VALUES (5);
RESET session_replication_role;
ALTER TABLE replicated ENABLE REPLICA TRIGGER outbox_invalidate;
INSERT INTO replicated VALUES (6);
SET session_replication_role = replica;
INSERT INTO replicated VALUES (7);
RESET session_replication_role;
SELECT keys, patterns FROM outbox.event WHERE id > :start ORDER BY id;
-- watch again is plain again
SELECT outbox.watch('replicated', 'replicated:{id}');
SELECT enabled, problem FROM outbox.watched WHERE relation = 'replicated'::regclass;
DROP TABLE replicated;
