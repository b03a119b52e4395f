# ALTER EXTENSION pg_outbox UPDATE, walked with made-up versions; and what is said where the library
# and the SQL objects do not belong together.

use strict;
use warnings;
use File::Path ();
use Outbox::Postgres;
use PostgreSQL::Test::Utils;
use Test::More;

# Made-up scripts go into a copy of the server's programs of this test's own.
my %folder;
for my $which (qw(bindir pkglibdir sharedir))
{
	my $from = `pg_config --$which`;
	chomp $from;
	my ($layout) = $from =~ m{(/usr/.*)$} or BAIL_OUT("unexpected answer of pg_config: $from");
	$folder{$which} = "$ENV{OUTBOX_WORK}/update$layout";
	File::Path::make_path($folder{$which});
	system('cp', '-R', "$from/.", $folder{$which}) == 0 or BAIL_OUT("cannot copy $from");
}
$ENV{PATH} = "$folder{bindir}:$ENV{PATH}";

sub write_script
{
	my ($name, $text) = @_;
	append_to_file("$folder{sharedir}/extension/pg_outbox--$name.sql", $text);
	return;
}

my $version = '1.0';
write_script("0.9--$version", q(
\echo Use "ALTER EXTENSION pg_outbox UPDATE" to load this file. \quit
CREATE FUNCTION outbox.made_by_update() RETURNS int LANGUAGE sql
    SET search_path = pg_catalog, pg_temp AS 'SELECT 42';
REVOKE ALL ON FUNCTION outbox.made_by_update() FROM PUBLIC;
));
write_script("0.8--$version", 'SELECT 1;');
write_script("$version--99", 'CREATE FUNCTION outbox.of_99() RETURNS int LANGUAGE sql AS $$ SELECT 99 $$;');

my $node = Outbox::Postgres->create('pg',
	conf => "outbox.run_on = 'nowhere'", amqp_url => 'amqp://localhost:1/%2f');
$node->start;
$node->create_blog;
$node->safe_psql('blog', q(
	CREATE ROLE writer;
	GRANT INSERT, UPDATE ON blogs TO writer;
	CREATE ROLE caller;
	GRANT USAGE ON SCHEMA outbox TO caller;
	GRANT EXECUTE ON FUNCTION outbox.invalidate(text[]) TO caller;
	INSERT INTO blogs VALUES (1, 1, 'one');
));

sub extension_version
{
	return $node->safe_psql('blog', q(SELECT extversion FROM pg_extension WHERE extname = 'pg_outbox'));
}

sub refused
{
	my ($sql, $message, $hint, $what) = @_;
	my ($status, $output, $errors) = $node->psql('blog', $sql);
	isnt($status, 0, "$what is refused");
	like($errors, $message, 'with the reason');
	like($errors, $hint, 'and what to do');
	return;
}

is(extension_version(), $version, 'the script makes the version that the control file names');
is($node->safe_psql('blog', q(
	SELECT count(*) FROM pg_extension_update_paths('pg_outbox') WHERE source = '0.9' AND target = '1.0' AND path IS NOT NULL)),
	1, 'there is a way from the made-up old version');

# A new package, and the server started again, but no ALTER EXTENSION yet.
$node->safe_psql('blog', q(
	SET allow_system_table_mods = on;
	UPDATE pg_extension SET extversion = '0.9' WHERE extname = 'pg_outbox';
));
my $not_known = qr/ERROR:  extension "pg_outbox" has version "0\.9", which its library does not know/;
refused(q(UPDATE blogs SET title = 'two'), $not_known, qr/HINT:  Run ALTER EXTENSION pg_outbox UPDATE/,
	'a change of a watched table');
refused(q(SELECT outbox.invalidate('a')), $not_known, qr/DETAIL:  The library .* is version 1\.0/, 'a call');
is($node->safe_psql('blog', 'SELECT count(*) FROM blogs'), 1, 'reading is not');
is($node->safe_psql('blog', 'SELECT keys FROM outbox.event'), '{blogs:all,blog:1,author:1:blogs}',
	'nor is reading what was recorded');

$node->safe_psql('blog', 'ALTER EXTENSION pg_outbox UPDATE');
is(extension_version(), $version, 'ALTER EXTENSION pg_outbox UPDATE updates');
is($node->safe_psql('blog', 'SELECT outbox.made_by_update()'), 42, 'what its script makes is there');
is($node->safe_psql('blog', q(
	SELECT count(*) FROM pg_depend
	 WHERE deptype = 'e' AND objid = 'outbox.made_by_update()'::regprocedure)),
	1, 'and belongs to the extension');
$node->safe_psql('blog', q(SET ROLE writer; UPDATE blogs SET title = 'two'));
$node->safe_psql('blog', q(SET ROLE caller; SELECT outbox.invalidate('still granted')));
is($node->safe_psql('blog', 'SELECT keys FROM outbox.event ORDER BY id'),
	"{blogs:all,blog:1,author:1:blogs}\n{blogs:all,blog:1,author:1:blogs}\n{\"still granted\"}",
	'triggers, grants and events are what they were');

# A newer script than the library that the server has loaded.
my $unknown = qr/ERROR:  the library of pg_outbox does not know version "99" of its extension/;
refused(q(ALTER EXTENSION pg_outbox UPDATE TO '99'), $unknown, qr/HINT:  .*restart the server/,
	'an update beyond the library');
is(extension_version(), $version, 'the version is what it was');
$node->safe_psql('postgres', 'CREATE DATABASE other');
my ($status, undef, $errors) = $node->psql('other', q(CREATE EXTENSION pg_outbox VERSION '99'));
like($errors, $unknown, 'CREATE EXTENSION of such a version is refused, too');
$node->safe_psql('blog', q(SELECT outbox.invalidate('goes on')));
is($node->safe_psql('blog', q(SELECT count(*) FROM outbox.event WHERE keys = '{goes on}')), 1,
	'recording goes on');

# The relay reads no tables of a version that it does not know, and goes on after the update.
for my $other (qw(0.8 99))
{
	$node->safe_psql('blog', qq(
		SET allow_system_table_mods = on;
		UPDATE pg_extension SET extversion = '$other' WHERE extname = 'pg_outbox';
	));
	$node->adjust_conf('postgresql.conf', 'outbox.run_on', undef);
	$node->restart;
	$node->wait_relay_error(qr/version "\Q$other\E"/);
	my $relay = $node->wait_relay('not running');
	is($relay->{last_error}, qq(extension "pg_outbox" has version "$other", which its library does not know),
		'the relay says why it does not run');
	is($relay->{pid}, undef, 'and does not');
	cmp_ok($node->safe_psql('blog', 'SELECT count(*) FROM outbox.event'), '>', 0, 'events wait');
	$node->safe_psql('blog', $other eq '99'
		? q(SET allow_system_table_mods = on; UPDATE pg_extension SET extversion = '1.0' WHERE extname = 'pg_outbox';
			ALTER EXTENSION pg_outbox UPDATE TO '1.0'; SELECT outbox.restart_relay())
		: 'ALTER EXTENSION pg_outbox UPDATE');
	isnt($node->wait_relay([ 'connecting', 'waiting to reconnect' ])->{pid}, undef, 'it runs once they fit');
}
like(slurp_file($node->logfile), qr/LOG:  outbox relay: not running\n.*DETAIL:  extension "pg_outbox" has version "99"/,
	'and the log has it');

$node->stop;
done_testing();
