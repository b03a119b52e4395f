# pg_dump and restore carry what is watched, and no pending event; pg_upgrade finds nothing to object to.

use strict;
use warnings;
use Outbox::Postgres;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Outbox::Postgres->create('pg', conf => "outbox.run_on = 'nowhere'");
$node->start;
$node->create_blog;
$node->safe_psql('blog', <<'SQL');
	CREATE ROLE editor;
	GRANT USAGE ON SCHEMA outbox TO editor;
	GRANT EXECUTE ON FUNCTION outbox.invalidate(text[]) TO editor;
	CREATE SCHEMA "Odd ""schema";
	CREATE DOMAIN positive AS int NOT NULL CHECK (VALUE > 0);
	CREATE TABLE "Odd ""schema"."it's (" (id positive PRIMARY KEY, "a ""column" text, tags text[], doc jsonb);
	SELECT outbox.watch_columns('"Odd ""schema"."it''s ("', ARRAY['a "column', 'tags'], 'it''s \ {id}', '{"a ""column"}:{{x}}');
	CREATE TABLE posts (id int PRIMARY KEY, title text, published boolean, at timestamptz);
	SELECT outbox.watch_when('posts',
		$$(OLD.published OR NEW.published) AND OLD.* IS DISTINCT FROM NEW.* AND coalesce(NEW.title, '') <> ') EXECUTE'$$,
		'posts', 'post:{id}');
	CREATE FUNCTION public.is_good(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 IS DISTINCT FROM $$bad$$';
	CREATE TABLE parts (id positive, v text) PARTITION BY LIST (id);
	CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
	SELECT outbox.watch_when('parts', 'public.is_good(NEW.v) OR OLD.id = 1', 'part:{id}');
	CREATE TABLE by_hand (id int, v text);
	CREATE TRIGGER hand AFTER UPDATE OF v ON by_hand FOR EACH ROW WHEN (old.id > 1) EXECUTE FUNCTION outbox.invalidate('hand:{id}');
	CREATE TRIGGER tell AFTER INSERT ON by_hand FOR EACH ROW EXECUTE FUNCTION outbox.publish_row('search');
	ALTER TABLE by_hand DISABLE TRIGGER hand;
	INSERT INTO blogs VALUES (1, 7, 'one');
	INSERT INTO posts VALUES (1, 'shown', true), (2, 'draft', false);
	INSERT INTO parts VALUES (1, 'good');
	INSERT INTO by_hand VALUES (1, 'x');
	INSERT INTO "Odd ""schema"."it's (" VALUES (1, 'a', '{b}', '{}');
	SELECT outbox.publish('q', '"pending"');
SQL

my $watched = q(
	SELECT relation, trigger, templates, columns, condition, enabled, problem FROM outbox.watched ORDER BY relation::text, 2);
my $triggers = q(
	SELECT tgrelid::regclass, tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger
	 WHERE tgfoid IN ('outbox.invalidate()'::regprocedure, 'outbox.publish_row()'::regprocedure)
	 ORDER BY tgrelid::regclass::text, tgname);
my $rights = q(SELECT has_function_privilege('editor', 'outbox.invalidate(text[])', 'EXECUTE'));
cmp_ok($node->safe_psql('blog', 'SELECT count(*) FROM outbox.event'), '>', 5, 'events are pending');

for my $format (qw(plain custom))
{
	my $copy = "copy_$format";
	my $file = "$ENV{TESTDIR}/$copy.dump";
	$node->safe_psql('postgres', "CREATE DATABASE $copy");
	$node->command_ok([ 'pg_dump', "--format=$format", "--file=$file", 'blog' ], "pg_dump, $format");
	if ($format eq 'plain')
	{
		$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $file, $copy ], 'restore');
	}
	else
	{
		# In parallel a partitioned table's triggers may be made before the data of its partitions are there.
		local $ENV{PGOPTIONS} = '-c outbox.enabled=off';
		$node->command_ok([ 'pg_restore', '--exit-on-error', '-j', '2', '-d', $copy, $file ], 'restore, in parallel');
	}
	is($node->safe_psql($copy, $watched), $node->safe_psql('blog', $watched), 'the same tables are watched');
	is($node->safe_psql($copy, $triggers), $node->safe_psql('blog', $triggers), 'by the same triggers');
	is($node->safe_psql($copy, $rights), 't', 'grants are restored');
	is($node->safe_psql($copy, 'SELECT count(*) FROM outbox.event'), 0,
		'no event comes along, and restoring recorded none');
	isnt($node->safe_psql($copy, 'SELECT id FROM outbox.instance'),
		$node->safe_psql('blog', 'SELECT id FROM outbox.instance'),
		'the restored outbox has a name of its own');

	$node->safe_psql($copy, <<'SQL');
		ALTER TABLE posts ADD author text;
		UPDATE posts SET title = 'still a draft' WHERE id = 2;
		UPDATE posts SET title = 'changed' WHERE id = 1;
		INSERT INTO parts VALUES (1, 'bad');
		DELETE FROM parts WHERE v = 'bad';
		UPDATE "Odd ""schema"."it's (" SET doc = '{"x": 1}';
		UPDATE "Odd ""schema"."it's (" SET tags = '{c}';
		INSERT INTO by_hand VALUES (2, 'y');
SQL
	is( $node->safe_psql($copy, q(SELECT coalesce(keys::text, routing_key) FROM outbox.event ORDER BY id)),
		"{posts,post:1}\n{part:1}\n{\"it's \\\\ 1\",a:\{x\}}\nsearch" =~ s/a:\{x\}/"a:{x}"/r,
		'and record as they did');
}

# A data-only dump has no events either: they belong to the extension.
my ($dump) = run_command([ 'pg_dump', '--data-only', '-d', $node->connstr('blog') ]);
unlike($dump, qr/outbox\.event|outbox\.instance|pending/, 'a dump of data has no row of the outbox');
$node->stop;

my $new = Outbox::Postgres->create('new');
my $bindir = `pg_config --bindir`;
chomp $bindir;
chdir $ENV{TESTDIR};
command_ok(
	[
		'pg_upgrade', '--check', '-b', $bindir, '-B', $bindir,
		'-d', $node->data_dir, '-D', $new->data_dir,
		'-p', $node->port, '-P', $new->port, '-s', $node->host
	],
	'pg_upgrade --check');

done_testing();
