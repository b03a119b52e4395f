# The server is stopped at once, at any moment, under writers with and without synchronous_commit and with
# rotations as fast as they go: what is committed after recovery is published, what was published is committed.
# (F24, F25)

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

use constant CRASHES => 3 * ($ENV{OUTBOX_TEST_ROUNDS} // 1);
use constant CLIENTS => 8;
use constant RATE => 800;             # transactions a second: what the test can read
use constant MOST_MESSAGES => 800;    # of a round, before the crash

# Nobody but the relay and synchronous commits writes WAL to disk in time.
my $pipe = Outbox::Pipeline->start(
	worker => 0,
	relay_conf => "wal_writer_delay = '10s'\nwal_writer_flush_after = 0\nfsync = on\n"
	  . "max_prepared_transactions = ${\ (2 * CLIENTS) }\nautovacuum = off\n");
my ($broker, $node) = ($pipe->broker, $pipe->node);

$broker->declare_queue('q');
$pipe->sql('CREATE TABLE sent (id uuid); CHECKPOINT');

# Names that no crash hands out again.
my $writers = $pipe->write_script('writers', <<'SQL');
\set way random(1, 20)
BEGIN;
WITH new AS (INSERT INTO sent SELECT gen_random_uuid() RETURNING id)
SELECT outbox.publish('q', to_jsonb(id)) FROM new;
\if :way = 1
ROLLBACK;
\elif :way = 2
COMMIT;
\elif :way = 3
PREPARE TRANSACTION 'client:client_id';
COMMIT PREPARED 'client:client_id';
\else
SET LOCAL synchronous_commit = off;
COMMIT;
\endif
SQL
my $rotators = $pipe->write_script('rotators', "SELECT outbox.rotate();\n\\sleep 10 ms\n");

sub pgbench
{
	my ($script, @options) = @_;
	return IPC::Run::start([ 'pgbench', '-n', '-f', $script, '-T', 600, @options, $node->connstr('blog') ],
		'>', \my $out, '2>', \my $err);
}

my %published;
my $repeated = 0;

# All that is there; or, while writers may be faster than we are, so many at the most.
sub take
{
	my ($most) = @_;
	for (my $taken = 0; !defined $most || $taken < $most; $taken++)
	{
		my $message = $broker->get_message('q') or last;
		$repeated++ if $published{ $message->{json} }++;
	}
	return;
}

for my $crash (1 .. CRASHES)
{
	$node->wait_relay([qw(idle publishing)]);
	my @running = (pgbench($writers, '-c', CLIENTS, '-R', RATE), pgbench($rotators));
	my $before = keys %published;
	my $wanted = 50 + int rand(MOST_MESSAGES);
	poll_until("$wanted messages", sub { take(50); keys(%published) - $before >= $wanted });
	$node->stop('immediate');
	eval { $_->finish } for @running;
	$node->start;
	# Those that were prepared, and whose client is gone.
	for my $gid (split /\n/, $pipe->sql('SELECT gid FROM pg_prepared_xacts'))
	{
		$pipe->sql("COMMIT PREPARED '$gid'");
	}
	$node->wait_published;
	take();
	my %committed = map { $_ => 1 } split /\n/, $pipe->sql('SELECT id FROM sent');
	is(scalar(grep { !$published{$_} } keys %committed), 0, "crash $crash: what is committed is published");
	is(scalar(grep { !$committed{$_} } keys %published), 0, "crash $crash: what was published is committed");
}
note scalar(keys %published), " messages, $repeated of them repeated";
unlike(slurp_file($node->logfile), qr/ERROR|PANIC|TRAP/, 'no error in the log');
$pipe->finish;
