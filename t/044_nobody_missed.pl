# A commit that meets the relay while it looks is not missed: nobody else comes to wake it, and the next look
# that it takes by itself is a minute away.
#
# So it has to wish to be woken before it looks: one that does so behind its look fails at the pairs. No test
# shows that the memory barriers around that wish are missing (extension/shmem.c): on both sides a lock is taken
# or let go between the two accesses, and is one itself.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

use constant ROUNDS => 10 * ($ENV{OUTBOX_TEST_ROUNDS} // 1);
use constant CLIENTS => 4;
use constant TRANSACTIONS => 25;
use constant LIMIT_S => 20;
use constant PAIRS => 1000 * ($ENV{OUTBOX_TEST_ROUNDS} // 1);

my $pipe = Outbox::Pipeline->start(worker => 0, relay_conf => "synchronous_commit = off\n");
my $node = $pipe->node;
$node->wait_relay('idle');

# Some one after the other, some at once: with and without the pause between two windows.
my $script = $pipe->write_script('commits', <<'SQL');
\set pause random(0, 3000)
\set way random(1, 4)
SELECT outbox.invalidate('key:' || :client_id);
\if :way = 1
\sleep :pause us
\endif
SQL

my $missed = 0;
for my $round (1 .. ROUNDS)
{
	my ($output, $errors);
	IPC::Run::run(
		[ 'pgbench', '-n', '-f', $script, '-c', CLIENTS, '-t', TRANSACTIONS, $node->connstr('blog') ],
		'>', \$output, '2>', \$errors) or die "pgbench: $errors";
	# outbox.lag looks by itself, and wakes nobody.
	my $until = monotonic_s() + LIMIT_S;
	1 while $node->pending > 0 && monotonic_s() < $until;
	$missed++ if $node->pending > 0;
	last if $missed;
}
is($missed, 0, ROUNDS . ' times the last of many commits is published');
cmp_ok($node->relay->{events}, '>=', ROUNDS * CLIENTS * TRANSACTIONS, 'and all before it');

# Two who wait until nothing is pending commit next to each other then, and nobody after them.
$pipe->sql(<<'SQL');
CREATE FUNCTION wait_drained() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	until timestamptz := clock_timestamp() + '20 s';
BEGIN
	WHILE (SELECT pending_events FROM outbox.lag) > 0 LOOP
		IF clock_timestamp() > until THEN
			RAISE 'a commit was missed';
		END IF;
		PERFORM pg_sleep(0.0002);
	END LOOP;
END $$
SQL
$script = $pipe->write_script('pairs', "SELECT outbox.invalidate('key:' || :client_id);\nSELECT wait_drained();\n");
my ($output, $errors);
IPC::Run::run([ 'pgbench', '-n', '-f', $script, '-c', 2, '-t', PAIRS, $node->connstr('blog') ], '>', \$output, '2>', \$errors);
is($?, 0, PAIRS . ' pairs of commits, none of them is missed') or diag $errors;
$pipe->finish;
