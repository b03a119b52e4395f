# The outbox returns to its empty size once drained, also while someone holds an old snapshot.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

use constant TRANSACTIONS    => 3_000;
use constant SLACK_BYTES     => 65_536;    # a row or two in each table, and their indexes' pages
use constant ROTATION_LIMIT_S => 150;      # the last rotation comes within a minute of the drain

my $pipe = Outbox::Pipeline->start(worker => 0);
my ($broker, $node) = ($pipe->broker, $pipe->node);

sub outbox_bytes { return $node->lag->{outbox_bytes} }

# Many events that are large enough to see, a message each.
sub fill
{
	# The last one needs the toast table.
	my $script = $pipe->write_script('fill', join '',
		(map { "SELECT outbox.invalidate('$_:' || repeat(md5('$_'), 20));\n" } 1 .. TRANSACTIONS),
		"SELECT outbox.publish('sink', to_jsonb((SELECT string_agg(md5(n::text), '') FROM generate_series(1, 10000) n)));\n");
	$node->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('blog'),
			'-o', '/dev/null', '-f', $script ], 'events are written');
	return;
}

$broker->declare_queue('sink');
$node->wait_relay('idle');
my $empty = outbox_bytes();
note "empty: $empty bytes";

$broker->freeze;
fill();
cmp_ok(outbox_bytes(), '>', $empty + 10 * SLACK_BYTES, 'the outbox grows while the broker is away');
$broker->thaw;
$node->wait_published;
is($node->pending, 0, 'it drains');
poll_until('the outbox to return to its empty size',
	sub { outbox_bytes() <= $empty + SLACK_BYTES }, ROTATION_LIMIT_S);
pass('the outbox returns to its empty size');

# Someone looks at an old state of the database for as long as this takes.
my $holder = $node->background_psql('blog');
$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM blogs;');
fill();
$node->wait_published;
poll_until('the outbox to return to its empty size under a held snapshot',
	sub { outbox_bytes() <= $empty + SLACK_BYTES }, ROTATION_LIMIT_S);
pass('a held snapshot does not hinder it');

# A writer that has not committed is not waited for, and not forgotten.
my $writer = $node->background_psql('blog');
$writer->query_safe(q(BEGIN; SELECT outbox.publish('late', '"committed late"');));
fill();
$node->wait_published;
is($node->pending, 0, 'an open transaction does not hold up others');
$broker->declare_queue('late');
$writer->query_safe('COMMIT;');
is($broker->wait_message('late')->{json}, 'committed late', 'its message comes when it commits');
$writer->quit;
$holder->query_safe('ROLLBACK;');
$holder->quit;

is($node->safe_psql('blog', q(
	SELECT coalesce(sum(n_dead_tup + n_tup_upd + n_tup_del), 0) FROM pg_stat_all_tables
	WHERE schemaname = 'outbox')), 0, 'no row was updated or deleted: nothing for vacuum');
unlike(slurp_file($node->logfile), qr/ERROR|PANIC|TRAP/, 'no error in the log');
$pipe->finish;
