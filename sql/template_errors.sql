-- A wrong template or trigger is refused where it is made.
LOAD 'pg_outbox';
CREATE TABLE wrong (id int, name text);
\set make 'CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON wrong FOR EACH ROW EXECUTE FUNCTION outbox.invalidate'

:make ('blog:{ID}');
:make ('ok:{id}', 'blog:{nothing}');
:make ('tableoid:{tableoid}');
:make ('blog:{id');
:make ('größe:{id}}');
:make ('{id}:}');
:make ('{');
:make ('blog:{}');
:make ('blog:{""}');
:make ('blog:{"id}');
:make ('blog:{"id"x}');
:make ('');
:make ('{name.first}');
:make ('{name|trim}');
:make ();

-- too long for a key
SELECT format('CREATE TRIGGER t AFTER INSERT ON wrong FOR EACH ROW EXECUTE FUNCTION outbox.invalidate(%L)', repeat('x', 8193)) AS long \gset
:long;

-- the wrong time or level
CREATE TRIGGER t BEFORE INSERT ON wrong FOR EACH ROW EXECUTE FUNCTION outbox.invalidate('x:{id}');
CREATE TRIGGER t AFTER INSERT ON wrong FOR EACH STATEMENT EXECUTE FUNCTION outbox.invalidate('x:{id}');
CREATE TRIGGER t AFTER UPDATE OR TRUNCATE ON wrong FOR EACH STATEMENT EXECUTE FUNCTION outbox.invalidate('x:{id}');
CREATE TRIGGER t BEFORE TRUNCATE ON wrong FOR EACH STATEMENT EXECUTE FUNCTION outbox.invalidate('x');
CREATE VIEW wrong_view AS SELECT * FROM wrong;
CREATE TRIGGER t INSTEAD OF INSERT ON wrong_view FOR EACH ROW EXECUTE FUNCTION outbox.invalidate('x:{id}');
SELECT outbox.invalidate();

-- the triggers of others are none of our business
CREATE FUNCTION wrong_other() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER other BEFORE INSERT ON wrong FOR EACH ROW EXECUTE FUNCTION wrong_other('{nothing}');

-- a key that turns out too long names its template
CREATE TRIGGER t AFTER INSERT ON wrong FOR EACH ROW EXECUTE FUNCTION outbox.invalidate('id:{id}', 'name:{name}');
INSERT INTO wrong VALUES (1, repeat('ä', 4094));
INSERT INTO wrong VALUES (1, repeat('x', 8187));
SELECT count(*) FROM wrong;

-- nothing was made by what failed
SELECT tgname FROM pg_trigger WHERE tgrelid IN ('wrong'::regclass, 'wrong_view'::regclass) ORDER BY 1;
DROP TABLE wrong CASCADE;
DROP FUNCTION wrong_other();
