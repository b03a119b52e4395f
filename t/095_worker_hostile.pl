# A worker among peers that are wrong, away, frozen or full: it says why, spends no processor time on it,
# acknowledges nothing that was not deleted, and goes on by itself.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::Redis;
use Outbox::Wait;
use Outbox::Worker;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

use constant MOST => 0.1;    # of one processor; a loop that does not wait takes all of it

my $pipe = Outbox::Pipeline->start(node => 0, worker => 0);
my ($redis, $broker, $dir) = map { $pipe->$_ } qw(redis broker dir);
my $count = 0;

sub new_worker
{
	my (%arg) = @_;
	return Outbox::Worker->new(dir => $dir, broker => $broker, redis => $redis, name => 'worker' . ++$count, %arg)->start;
}

# Those that no consumer holds; once all workers have ended that is every one.
sub messages { my ($queue) = @_; return eval { $broker->queue_length($queue) } // -1 }

sub cpu_s
{
	my ($pid) = @_;
	my @field = split ' ', slurp_file("/proc/$pid/stat") =~ s/^.*\) //r;
	return ($field[11] + $field[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK);
}

sub is_calm
{
	my ($worker, $what) = @_;
	my ($began, $used) = (monotonic_s(), cpu_s($worker->pid));
	poll_until('a while', sub { monotonic_s() >= $began + 0.6 });
	my $share = (cpu_s($worker->pid) - $used) / (monotonic_s() - $began);
	cmp_ok($share, '<', MOST, sprintf '%s: %.1f %% of a processor', $what, 100 * $share);
	return;
}

# A worker with these mistakes says so, and waits.
sub waits
{
	my ($what, $pattern, %arg) = @_;
	my $worker = new_worker(%arg);
	ok($worker->wait_log($pattern), "$what: the reason is told");
	is_calm($worker, $what);
	unlike($worker->log_text, qr/s3cret/, "$what: no password in the log");
	is($worker->stop, 0, "$what: it ends with 0");
	return;
}

waits('a wrong password', qr/waiting for broker .*ACCESS_REFUSED/,
	broker => $broker->url(user => 'guest', password => 's3cret'));
waits('guest from afar', qr/ACCESS_REFUSED.*\(guest may log in from the broker's own machine only\)/,
	broker => "amqp://guest:s3cret\@0.0.0.0:${\ $broker->port }/%2f");
waits('an unknown vhost', qr/waiting for broker .*(?:vhost|NOT_ALLOWED)/, broker => $broker->url(vhost => 'nowhere'));
waits('a wrong password of Redis', qr/waiting for redis .*WRONGPASS/, redis => "redis://nobody:s3cret\@127.0.0.1:${\ $redis->port }/0");
waits('a database that is not there', qr/waiting for redis .*DB index is out of range/,
	redis => "redis://127.0.0.1:${\ $redis->port }/99");
waits('both away', qr/waiting for broker .*refused/, broker => 'amqp://127.0.0.1:' . free_port() . '/%2f',
	redis => 'redis://127.0.0.1:' . free_port());
waits('a queue that is not there', qr/waiting for broker .*NOT_FOUND - no queue 'missing'/,
	options => [ '--no-declare', '--queue=missing' ]);

waits('the broker in place of Redis', qr/waiting for redis .*not the Redis protocol/,
	redis => "redis://127.0.0.1:${\ $broker->port }");

# ---- a cluster's node ----

my $node = Outbox::Redis->new(dir => "$dir/cluster",
	options => [ '--cluster-enabled', 'yes', '--cluster-port', free_port(), '--appendonly', 'no', '--enable-debug-command', 'yes' ]);
$node->start;
# It has a few slots only: patterns would be scanned on a part of the keys, and keys are MOVED, or there is
# no such slot. Neither is a success.
$node->cli('CLUSTER', 'ADDSLOTSRANGE', 0, 100);
my $worker = new_worker(redis => $node, options => ['--queue=cluster']);
poll_until('the queue', sub { $broker->queue_exists('cluster') });
$broker->publish('cluster', '{"keys":["a","b","c"]}');
ok($worker->wait_log(qr/waiting for redis .*Redis Cluster/), 'plain redis:// at a cluster: the reason is told');
is_calm($worker, 'plain redis:// at a cluster');
is($worker->stop, 0, '... it ends with 0');
ok(poll_until('the message to be back', sub { messages('cluster') == 1 }), '... and nothing is acknowledged');
$node->kill9;

# ---- frozen, cut, paused: each while 3,000 keys are on their way ----

my $port = free_port();
$worker = new_worker(options => [ '--queue=busy', "--metrics-listen=$port" ]);
$worker->wait_log(qr/info consuming/);

sub survives
{
	my ($what, $do) = @_;
	$redis->set_keys(map { "k:$_" } 1 .. 3000);
	$broker->publish('busy', '{"keys":[' . join(',', map { qq("k:$_") } 30 * $_ - 29 .. 30 * $_) . ']}') for 1 .. 50;
	$do->();
	$broker->publish('busy', '{"keys":[' . join(',', map { qq("k:$_") } 30 * $_ - 29 .. 30 * $_) . ']}') for 51 .. 100;
	ok($redis->wait_gone(map { "k:$_" } 1 .. 3000), "$what: every key is deleted");
	return;
}

survives('connections of Redis killed', sub { $redis->cli('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes') });
survives('writes paused', sub { $redis->cli('CLIENT', 'PAUSE', 1500, 'WRITE') });
survives('Redis frozen for a moment',
	sub { $redis->freeze; is_calm($worker, 'Redis frozen'); $redis->thaw });
survives('the broker frozen for a moment',
	sub { $broker->freeze; is_calm($worker, 'the broker frozen'); $broker->thaw });
survives('the worker frozen for a moment', sub {
	$worker->freeze;
	my $end = monotonic_s() + 1;
	poll_until('a while', sub { monotonic_s() >= $end });
	$worker->thaw;
});

# Slow readers of its pages hold nothing up.
my @slow = map { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") } 1 .. 8;
$_ and print $_ "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" x 200 for @slow;
$_ and $_->flush for @slow;
survives('readers that do not read', sub { is_calm($worker, 'readers that do not read') });
close $_ for grep { $_ } @slow;
is($worker->stop, 0, 'it ends with 0');
is(messages('busy'), 0, '... with an empty queue');
$worker->start;
$worker->wait_log(qr/info stopped(?s:.*)info consuming/);

# ---- its queue is exchanged for another under the same name ----

$broker->delete_queue('busy');
poll_until('the queue declared again', sub { eval { $broker->queue_exists('busy') } });
$broker->delete_queue('busy');
eval { $broker->declare_queue('busy', arguments => { 'x-max-length' => 1000 }) };
$redis->set_keys('again');
poll_until('a message in the queue', sub { eval { $broker->publish('busy', '{"keys":["again"]}'); 1 } });
ok($redis->wait_gone('again'), 'a queue of other arguments under its name is used as it is');
is($worker->stop, 0, 'it ends with 0');

# ---- killed at any moment ----

for my $round (1 .. 3 * ($ENV{OUTBOX_TEST_ROUNDS} // 1))
{
	$redis->set_keys(map { "kill:$_" } 1 .. 5000);
	$broker->publish('busy', '{"keys":[' . join(',', map { qq("kill:$_") } 50 * $_ - 49 .. 50 * $_) . '],"patterns":["none"]}') for 1 .. 100;
	$worker = new_worker(options => [ '--queue=busy', '--second-delete=100ms' ]);
	poll_until('some of the keys to be gone', sub { $redis->exists(map { "kill:$_" } 1 .. 5000) < 5000 - 400 * $round });
	$worker->kill9;
	$worker = new_worker(options => ['--queue=busy']);
	$worker->wait_log(qr/info consuming/);
	ok($redis->wait_gone(map { "kill:$_" } 1 .. 5000), "kill -9 on its way ($round): the next one deletes every key");
	is($worker->stop, 0, '... ends with 0');
	is(messages('busy'), 0, '... with an empty queue');
}

$pipe->{worker} = $worker;
$pipe->finish;
