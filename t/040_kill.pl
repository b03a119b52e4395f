# kill -9 of worker, broker or Redis, or an immediate stop of PostgreSQL, in the middle of 10,000
# changes: once everything runs again, every key of a committed change is gone.
#
# Each round fills Redis with all keys first, so that a change whose invalidation got lost leaves
# its key behind. OUTBOX_TEST_ROUNDS (make test-long) repeats it, killing at other moments.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

use constant CHANGES   => 10_000;
use constant BYSTANDERS => 100;    # keys that nothing invalidates
use constant DRAIN_LIMIT_S => 180;

my $rounds = $ENV{OUTBOX_TEST_ROUNDS} // 1;
my $pipe = Outbox::Pipeline->start;
my ($redis, $broker, $node, $worker) = map { $pipe->$_ } qw(redis broker node worker);

$pipe->sql("SELECT outbox.unwatch('blogs')");
$pipe->sql("INSERT INTO blogs SELECT n, 0, '' FROM generate_series(1, ${\ CHANGES }) n");
$pipe->sql("SELECT outbox.watch('blogs', 'blog:{id}')");

my %kill = (
	'the worker' => sub {
		$worker->kill9;
		$worker->start;
	},
	'the broker' => sub {
		$broker->kill9;
		$broker->start;
	},
	'Redis' => sub {
		$redis->kill9;
		$redis->start;
	},
	'PostgreSQL' => sub {
		$node->stop('immediate');
		$node->start;
	});

my $generation = 0;
for my $round (1 .. $rounds)
{
	kill_while_changing($_, $round) for 'the worker', 'the broker', 'Redis', 'PostgreSQL';
}
is($broker->queue_length('cache-invalidation.dead'), 0, 'no dead letter');
$pipe->finish;

sub kill_while_changing
{
	my ($what, $round) = @_;
	my $label = $rounds > 1 ? "$what, round $round" : $what;
	$generation++;
	$redis->set_keys((map { "blog:$_" } 1 .. CHANGES), map { "other:$_" } 1 .. BYSTANDERS);

	# One row each in a transaction of its own.
	my $writer = start_writer($what);
	my $left = $rounds > 1 ? 500 + int rand(CHANGES - 1000) : int(CHANGES * 2 / 3);
	poll_until("$left keys left before the kill", sub { $redis->size < $left + BYSTANDERS });
	$kill{$what}->();
	finish_writer($writer, $what, $label);

	poll_until('every key to be gone',
		sub { $redis->size <= BYSTANDERS }, DRAIN_LIMIT_S);
	is($redis->size, BYSTANDERS, "$label: every key of a change is gone, no other");
	$node->wait_published;
	is($node->pending, 0, "$label: nothing is pending");
	return;
}

sub start_writer
{
	my ($what) = @_;
	# However far behind the deletions are, the server is stopped before its writer has ended.
	my $script = $pipe->write_script('changes', join '',
		(map { "UPDATE blogs SET author_id = $generation WHERE id = $_;\n" } 1 .. CHANGES),
		$what eq 'PostgreSQL' ? "SELECT pg_sleep(600);\n" : '');
	my %writer = (error => '');
	$writer{handle} = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('blog'), '-f', $script ],
		'<', '/dev/null', '>', '/dev/null', '2>', \$writer{error});
	return \%writer;
}

# Only the loss of PostgreSQL itself may hurt the writer; what it could not write is written after.
sub finish_writer
{
	my ($writer, $what, $label) = @_;
	$writer->{handle}->finish;
	if ($what eq 'PostgreSQL')
	{
		my $done = $pipe->sql("SELECT count(*) FROM blogs WHERE author_id = $generation");
		isnt($writer->{handle}->result(0), 0, "$label: stopped in the middle ($done changes)");
		$pipe->sql("UPDATE blogs SET author_id = $generation WHERE author_id <> $generation");
		return;
	}
	is($writer->{handle}->result(0), 0, "$label: all changes are committed meanwhile")
	  or diag $writer->{error};
	return;
}
