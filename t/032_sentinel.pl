# Sentinel: the worker deletes in the master that it names, and follows it through a crash, a freeze, a change
# asked for, and a partition, without losing a key.

use strict;
use warnings;
use HTTP::Tiny;
use Outbox::FailOver;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::RabbitMQ;
use Outbox::SentinelGroup;
use Outbox::Wait;
use Outbox::Worker;
use Test::More;

my $dir = Outbox::Pipeline::work_folder();
my $port = free_port();
my $broker = Outbox::RabbitMQ->new(dir => "$dir/rabbitmq")->launch;
my $group = Outbox::SentinelGroup->new(dir => "$dir/group")->start;
$broker->wait_ready;
my $worker = Outbox::Worker->new(dir => $dir, broker => $broker, redis => $group->url,
	options => ["--metrics-listen=$port"])->start;
$worker->wait_log(qr/info consuming .*redis="?sentinel \S+\/cache\/0: 127\.0\.0\.1:\Q${\ $group->master->port }\E/);
pass('the log names Sentinels and master');

sub page { return HTTP::Tiny->new(timeout => 20)->get("http://127.0.0.1:$port/$_[0]")->{content} }

my $audit = Outbox::FailOver->new(group => $group, broker => $broker, keys => 30_000,
	in_flight => sub { (page('metrics') =~ /^outbox_worker_in_flight_messages (\d+)/m)[0] });

# Ways to lose a master, and what brings the old one back.
my @ways = (
	[ killed      => sub { $_[0]->kill9 },  sub { $_[0]->start } ],
	[ 'asked for' => sub { $group->fail_over },  sub { } ],
	[ frozen      => sub { $_[0]->freeze }, sub { $_[0]->thaw } ]);

# A hundred times with `make test-long`.
my $rounds = 10 * ($ENV{OUTBOX_TEST_ROUNDS} // 0) || @ways;
my (@elected_s, @deleting_s, $published, $left, $touched);
for my $round (1 .. $rounds)
{
	my ($what, $lose, $return) = @{ $ways[($round - 1) % @ways] };
	my $old = $group->master;
	my $result = $audit->change($lose);
	note sprintf '%d, %s: elected after %.2f s, deleting %.2f s later, %d keys, %d left', $round, $what,
	  @$result{qw(elected_s deleting_s published left)};
	$return->($old);
	poll_until('the old master to be a replica', sub { (eval { $old->cli('ROLE')->[0] } // '') eq 'slave' });
	$group->wait_ready;
	push @elected_s, $result->{elected_s};
	push @deleting_s, $result->{deleting_s};
	$published += $result->{published};
	$left += $result->{left};
	$touched += !$result->{untouched};
	next if $rounds > @ways;
	is($result->{left}, 0, "$what: every key that was published is gone from the new master");
	ok($result->{untouched}, "$what: no other is");
	cmp_ok($result->{deleting_s}, '<', 2, "$what: within 2 s of the election");
}
@$_ = sort { $a <=> $b } @$_ for \@elected_s, \@deleting_s;
diag sprintf '%d fail-overs, %d keys published, %d left; elected after %.2f s (median), %.2f s (longest); deleting %.2f s later (median), %.2f s (longest)',
  $rounds, $published, $left, map { $_->[$#$_ / 2], $_->[-1] } \@elected_s, \@deleting_s
  if $rounds > @ways;
is($left, 0, "$rounds fail-overs: no key lost");
is($touched, 0, '... and none deleted that nobody named');
cmp_ok($deleting_s[-1], '<', 2, '... and deletions went on within 2 s of each election');

is($worker->stop, 0, 'the worker ends in good order');
$group->discard;
$broker->discard;
done_testing();
