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

my $audit = Outbox::FailOver->new(group => $group, broker => $broker,
	in_flight => sub { (page('metrics') =~ /^outbox_worker_in_flight_messages (\d+)/m)[0] });

sub follows
{
	my ($what, $change) = @_;
	my $result = $audit->change($change);
	note sprintf '%s: elected after %.2f s, deleting %.2f s later, %d keys', $what, @$result{qw(elected_s deleting_s published)};
	is($result->{left}, 0, "$what: every key that was published is gone from the new master");
	ok($result->{untouched}, "$what: no other is");
	cmp_ok($result->{deleting_s}, '<', 2, "$what: within 2 s of the election");
	return $result->{new};
}

# Back as a replica, and everybody knows.
sub join_again
{
	my ($server) = @_;
	poll_until('the old master to be a replica', sub { (eval { $server->cli('ROLE')->[0] } // '') eq 'slave' }, 30);
	$group->wait_ready;
	return;
}

my ($old) = $group->master;
follows('killed', sub { $old->kill9 });
$old->start;
join_again($old);

$old = $group->master;
follows('asked for', sub { ($group->sentinels)[0]->cli('SENTINEL', 'FAILOVER', 'cache') });
join_again($old);

$old = $group->master;
follows('frozen', sub { $old->freeze });
$old->thaw;
join_again($old);

is($worker->stop, 0, 'the worker ends in good order');
$group->discard;
$broker->discard;
done_testing();
