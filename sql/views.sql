-- What is written through a view counts on the table behind it; so do rules and INSTEAD OF triggers.
LOAD 'pg_outbox';
SELECT coalesce(max(id), 0) AS start FROM outbox.event \gset
CREATE TABLE behind (id int PRIMARY KEY, v text, hidden boolean DEFAULT false);
SELECT outbox.watch('behind', 'behind:{id}');
CREATE VIEW simple AS SELECT id, v FROM behind WHERE NOT hidden;
CREATE VIEW nested AS SELECT id AS number FROM simple WITH CASCADED CHECK OPTION;
INSERT INTO simple VALUES (1, 'a'), (2, 'b');
UPDATE simple SET v = 'c' WHERE id = 1;
UPDATE nested SET number = 3 WHERE number = 2;
DELETE FROM nested WHERE number = 1;

CREATE VIEW joined AS SELECT b.id, count(*) FROM behind AS b GROUP BY b.id;
CREATE FUNCTION joined_insert() RETURNS trigger LANGUAGE plpgsql AS
  $$BEGIN INSERT INTO behind VALUES (NEW.id); RETURN NEW; END$$;
CREATE TRIGGER instead INSTEAD OF INSERT ON joined FOR EACH ROW EXECUTE FUNCTION joined_insert();
INSERT INTO joined (id) VALUES (10);
CREATE RULE also AS ON UPDATE TO joined DO INSTEAD UPDATE behind SET v = 'by rule' WHERE id = OLD.id;
UPDATE joined SET id = 10;
SELECT keys FROM outbox.event WHERE id > :start ORDER BY id;
DROP TABLE behind CASCADE;
DROP FUNCTION joined_insert();
