# Sentinel: a master that is cut off from Sentinels and replicas, but not from the worker, goes on answering. What
# it deletes counts for nothing once another is elected: it is deleted again. With passwords everywhere.

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
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = Outbox::Pipeline::work_folder();
my $port = free_port();
my $broker = Outbox::RabbitMQ->new(dir => "$dir/rabbitmq")->launch;

# Each has a user of its own, so that it can be shut out alone.
my @users = ((map { ('--user', $_, 'on', ">$_-secret", '~*', '&*', '+@all') } qw(sentinel replica)),
	'--user', 'worker', 'on', '>worker-secret', '~*', qw(-@all +unlink +ping +role));
my $group = Outbox::SentinelGroup->new(
	dir     => "$dir/group",
	options => [ @users, '--masteruser', 'replica', '--masterauth', 'replica-secret' ],
	conf    => "sentinel auth-user NAME sentinel\nsentinel auth-pass NAME sentinel-secret\n"
	  . "user peer on >peer-secret +\@all &* ~*\nsentinel sentinel-user peer\nsentinel sentinel-pass peer-secret\n"
	  . "user asker on >asker-secret -\@all +auth +ping +sentinel|get-master-addr-by-name +sentinel|master\n")->start;
$broker->wait_ready;

sub start_worker
{
	my (%arg) = @_;
	my $worker = Outbox::Worker->new(dir => $dir, broker => $broker,
		options => [ "--metrics-listen=$port", '--redis-url=' . $group->url(%arg) ])->start;
	return $worker;
}

sub page { return HTTP::Tiny->new(timeout => 20)->get("http://127.0.0.1:$port/$_[0]")->{content} }

# ---- passwords -----------------------------------------------------------------------------------

for my $sentinel ($group->sentinels)
{
	$sentinel->cli('ACL', 'SETUSER', 'default', 'resetpass', '>boss');
	$sentinel->cli('AUTH', 'default', 'boss');
}
my $worker = start_worker(login => 'worker:worker-secret@');
ok(poll_until('/readyz to say it', sub { page('readyz') =~ /NOAUTH/ }), 'a Sentinel that wants a password: /readyz says so');
is($worker->stop, 0, '... and the worker waits until it is stopped');
$worker = start_worker(login => 'worker:wrong@', query => '?sentinel_user=asker&sentinel_password=asker-secret');
ok(poll_until('/readyz to say it', sub { page('readyz') =~ /WRONGPASS/ }), 'and so with a wrong password for the master');
like(page('readyz'), qr/master 127\.0\.0\.1:\Q${\ $group->master->port }\E, named by Sentinel 127\.0\.0\.1:\d+: WRONGPASS/,
	'... which one, and who named it');
is($worker->stop, 0, 'it waits, too');
$worker = start_worker(login => 'worker:worker-secret@', query => '?sentinel_user=asker&sentinel_password=asker-secret');
ok(poll_until('/readyz', sub { page('readyz') eq "ready\n" }), 'with both passwords it is ready');
unlike(slurp_file("/proc/${\ $worker->pid }/cmdline"), qr/secret/, 'no password in the process title');

# ---- the partition -------------------------------------------------------------------------------

my $audit = Outbox::FailOver->new(group => $group, broker => $broker,
	in_flight => sub { (page('metrics') =~ /^outbox_worker_in_flight_messages (\d+)/m)[0] });
my $old = $group->master;
my $before = 0;
my $result = $audit->change(sub {
	my ($master) = @_;
	# Who is refused as itself goes on as the default user: that one may only do what this test asks.
	$master->cli('ACL', 'SETUSER', 'default', qw(-@all +acl +client +dbsize +role));
	for my $user (qw(replica sentinel))
	{
		$master->cli('ACL', 'SETUSER', $user, 'off');
		$master->cli('CLIENT', 'KILL', 'USER', $user);
	}
	$master->cli('ACL', 'SETUSER', 'default', '-client');
	$before = $master->size;
});
note sprintf 'cut off: elected after %.2f s, deleting %.2f s later, %d keys', @$result{qw(elected_s deleting_s published)};
my $lost = $before - $old->size;
cmp_ok($lost, '>', 1000, "the old master answered for keys that the new one never heard of ($lost)");
is($old->cli('ROLE')->[0], 'master', '... and is a master to this hour');
is($result->{left}, 0, 'every key that was published is gone from the new master');
ok($result->{untouched}, 'no other is');
cmp_ok($result->{deleting_s}, '<', 2, 'within 2 s of the election');

# Healed: it is a replica now, and stays one for the worker.
$old->cli('ACL', 'SETUSER', 'default', '+@all');
$old->cli('ACL', 'SETUSER', $_, 'on') for qw(replica sentinel);
poll_until('the old master to be a replica', sub { (eval { $old->cli('ROLE')->[0] } // '') eq 'slave' });
$group->wait_ready;
my $master = $group->master;
$master->set_keys('after');
$broker->publish('cache-invalidation', '{"keys":["after"]}');
ok($master->wait_gone('after'), 'the worker is where it should be');

is($worker->stop, 0, 'the worker ends in good order');
unlike($worker->log_text, qr/secret/, 'no password in the log');
$group->discard;
$broker->discard;
done_testing();
