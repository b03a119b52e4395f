# A relay that waits, waits: broker away, a message held, all quiet. Its processor time is compared
# with the clock over several of its own tries.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

use constant MOST => 0.1;    # of one processor; a loop that does not wait takes all of it

my $pipe = Outbox::Pipeline->start(worker => 0);
my ($broker, $node) = ($pipe->broker, $pipe->node);

# Processor time of a process so far, in seconds.
sub cpu_s
{
	my ($pid) = @_;
	my @field = split ' ', slurp_file("/proc/$pid/stat") =~ s/^.*\) //r;
	return ($field[11] + $field[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK);
}

# While this happens the relay hardly runs.
sub is_calm
{
	my ($what, $happened) = @_;
	my $pid = $node->relay->{pid};
	my ($began, $used) = (monotonic_s(), cpu_s($pid));
	poll_until($what, $happened);
	my $share = (cpu_s($pid) - $used) / (monotonic_s() - $began);
	cmp_ok($share, '<', MOST, sprintf '%s: %.1f %% of a processor', $what, 100 * $share);
	return;
}

# A counter of outbox.relay has gone up by this.
sub grows
{
	my ($counter, $by) = @_;
	my $before = $node->relay->{$counter};
	return sub { $node->relay->{$counter} >= $before + $by };
}

$node->wait_relay('idle');
my $end = monotonic_s() + 3;
is_calm('three quiet seconds', sub { monotonic_s() >= $end });

$broker->stop;
$node->wait_relay('waiting to reconnect');
$pipe->sql(q(SELECT outbox.invalidate('key')));
is_calm('the broker away: four tries to connect', grows('reconnects', 4));
$node->restart;
$node->wait_relay('waiting to reconnect');
is_calm('away from the start: five tries', grows('reconnects', 5));

$broker->start;
$node->wait_published;
$pipe->sql(q(SELECT outbox.publish('no-such-queue', '1')));
$node->wait_relay_error(qr/NO_ROUTE/);
is_calm('a message that comes back: four tries', grows('returned', 4));

$pipe->finish;
