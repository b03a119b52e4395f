# Redis Cluster under load: masters are killed, frozen and relieved by their replicas, all slots move
# to a node that joins, and that one leaves: no key outlives its invalidation.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

use constant KEYS_PER_MESSAGE => 20;
use constant ASK_AGAIN_S => 10;    # a fail-over that was asked for has five

my $rounds = $ENV{OUTBOX_TEST_ROUNDS} || 1;
my $pipe = Outbox::Pipeline->start(node => 0, cluster => { node_timeout_ms => 1500 });
my ($cluster, $broker, $worker) = map { $pipe->$_ } qw(redis broker worker);
my $queue = 'cache-invalidation';
my $count = 0;
$worker->wait_log(qr/info consuming/);

# Keys are set first, by a client that follows redirections, and then invalidated.
sub change
{
	my @keys = map { "key:" . $count++ } 1 .. KEYS_PER_MESSAGE;
	$cluster->set($_) for @keys;
	$broker->publish($queue, '{"keys":[' . join(',', map { qq("$_") } @keys) . ']}');
	return;
}

sub change_until
{
	my ($what, $condition) = @_;
	return poll_until($what, sub { change(); $condition->() });
}

sub audit
{
	my ($what) = @_;
	change() for 1 .. 5;
	$cluster->wait_ok;
	ok($cluster->wait_empty, "$what: no key is left");
	poll_until('the queue to be empty', sub { $broker->queue_length($queue) == 0 });
	return;
}

# The replica of a master takes over, whatever made the master go. $may_fail: nobody tries again by himself.
sub relieved
{
	my ($what, $go, $come, $may_fail) = @_;
	for my $round (1 .. $rounds)
	{
		my ($master) = $cluster->masters;
		my $replica = $cluster->replica_of($master);
		change() for 1 .. 5;
		$go->($master, $replica);
		my $asked_s = monotonic_s();
		change_until('the replica to take over', sub {
			return 1 if $replica->cli('ROLE')->[0] eq 'master';
			$asked_s = monotonic_s(), $go->($master, $replica) if $may_fail && monotonic_s() > $asked_s + ASK_AGAIN_S;
			return 0;
		});
		change() for 1 .. 5;
		$come->($master);
		change_until('the old master to follow', sub { $master->cli('ROLE')->[0] eq 'slave' });
		audit("$what, round $round");
	}
	return;
}

relieved('CLUSTER FAILOVER', sub { my (undef, $replica) = @_; $replica->cli('CLUSTER', 'FAILOVER') }, sub { }, 1);
relieved('a master killed', sub { $_[0]->kill9 }, sub { $_[0]->start });
relieved('a master frozen', sub { $cluster->freeze($_[0]) }, sub { $_[0]->thaw });

# All slots of a master, one after the other.
sub reshard
{
	my ($what, $from, $to, $slots) = @_;
	my $run = $cluster->begin_reshard($from, $to, $slots);
	my $patterns = 0;
	change_until(
		'the slots to have moved',
		sub {
			# A pattern now and then: what it names is there on whichever side of the move.
			my @keys = map { "pattern:$patterns:$_" } 1 .. 50;
			$cluster->set($_) for @keys;
			$broker->publish($queue, qq({"patterns":["pattern:$patterns:*"]}));
			$patterns++;
			$run->{harness}->pump_nb if $run->{harness}->pumpable;
			return !$run->{harness}->pumpable;
		});
	$cluster->end_reshard($run);
	audit("$what, with $patterns patterns");
	return;
}

my @masters = $cluster->masters;
my $fifth = $rounds > 1 ? 1 : 16;
my $joined = $cluster->add_node->start;
$cluster->meet($masters[0], $joined);
reshard('slots move to a node that has joined', $masters[0], $joined, int 5461 / $fifth);
reshard('and back', $joined, $masters[0], int 5461 / $fifth);

$pipe->finish;
