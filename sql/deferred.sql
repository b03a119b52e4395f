-- Deferred constraint triggers fire before keys are written: at commit, at prepare, or when asked to.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE postponed (id int PRIMARY KEY, other int);
CREATE TABLE follower (id int);
SELECT outbox.watch('follower', 'follower:{id}');
CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE ON postponed DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION outbox.invalidate('late:{id}');
CREATE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql AS
  $$BEGIN INSERT INTO follower VALUES (NEW.id); PERFORM outbox.publish('q', to_jsonb(NEW.id)); RETURN NULL; END$$;
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON postponed DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION follow();
BEGIN;
INSERT INTO postponed VALUES (1), (2);
SELECT outbox.invalidate('first');
COMMIT;
SELECT keys, payload FROM outbox.event WHERE id > :start ORDER BY id;

-- asked to fire at once, inside a savepoint that rolls back; then again at commit
SELECT max(id) AS start FROM outbox.event \gset
BEGIN;
INSERT INTO postponed VALUES (3);
SAVEPOINT s;
SET CONSTRAINTS ALL IMMEDIATE;
INSERT INTO postponed VALUES (4);
ROLLBACK TO s;
COMMIT;
SELECT keys, payload FROM outbox.event WHERE id > :start ORDER BY id;

-- one that fails at commit: nothing
SELECT max(id) AS start FROM outbox.event \gset
ALTER TABLE postponed ADD CONSTRAINT refers FOREIGN KEY (other) REFERENCES postponed DEFERRABLE INITIALLY DEFERRED;
BEGIN;
INSERT INTO postponed VALUES (5, 6);
SELECT outbox.invalidate('never');
COMMIT;
SELECT count(*) FROM outbox.event WHERE id > :start;
DROP TABLE postponed, follower;
DROP FUNCTION follow();
