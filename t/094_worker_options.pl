# What a stranger tries first: --check, --dry-run, prefixes, a stop that has no time, a stop before anything has
# begun, a URL of the wrong kind; and no password in the process title.

use strict;
use warnings;
use Fcntl;
use HTTP::Tiny;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::Redis;
use Outbox::SentinelGroup;
use Outbox::Wait;
use Outbox::Worker;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

my $pipe = Outbox::Pipeline->start(node => 0, worker => 0);
my ($broker, $dir) = map { $pipe->$_ } qw(broker dir);
$pipe->redis->kill9;
my $socket = PostgreSQL::Test::Utils::tempdir_short() . '/redis.sock';
my $redis = $pipe->{redis} = Outbox::Redis->new(dir => "$dir/cache", options => [ '--unixsocket', $socket ])->start;
my $group = Outbox::SentinelGroup->new(dir => "$dir/group", replicas => 0, sentinels => 1)->start;
my ($sentinel) = $group->sentinels;
my $queue = 'cache-invalidation';
my $closed = free_port();
my $port = free_port();

sub worker
{
	my ($name, @options) = @_;
	return Outbox::Worker->new(name => $name, dir => $dir, broker => $broker, redis => $redis, options => [@options])->start;
}

sub in_queue { return $broker->queue_length($queue) }
sub page { return HTTP::Tiny->new(timeout => 20)->get("http://127.0.0.1:$port/$_[0]")->{content} }

# ---- --check -------------------------------------------------------------------------------------

# Exit status and what it says.
sub check
{
	my (@options) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ $ENV{OUTBOX_WORKER} // 'outbox-worker', '--check', '--amqp-url', $broker->url,
		'--redis-url', $redis->url, @options ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(60));
	return ($? >> 8, $out . $err);
}

sub finds
{
	my ($what, $expected, $pattern, @options) = @_;
	my ($status, $said) = check(@options);
	is($status, $expected, "--check, $what: exit status $expected") or diag $said;
	like($said, $pattern, '... and it is said');
	return $said;
}

my $redis_name = '127\.0\.0\.1:' . $redis->port;
my $declares = 'not there yet, the worker will declare it';
finds('nothing declared yet', 0, qr/\Abroker \S+: ok\nqueue $queue: $declares\nqueue $queue\.dead: $declares\nredis $redis_name\/0: ok\n\z/);
finds('an exchange', 0, qr/^queue $queue\.dead: $declares\nexchange caches: $declares$/m, '--exchange=caches');
ok(!$broker->queue_exists($queue), '... and nothing is declared by looking');
finds('--no-declare', 1, qr/^queue $queue: .*NOT_FOUND.*\nqueue $queue\.dead: .*NOT_FOUND/m, '--no-declare');
$broker->declare_queue($queue);
finds('only the queue is there', 1, qr/^queue $queue: ok, 0 messages\nqueue $queue\.dead: .*NOT_FOUND/m, '--no-declare', '--exchange=caches');
$broker->declare_queue("$queue.dead");
$broker->declare_exchange('caches', 'direct');
finds('both are, and an exchange', 0, qr/^queue $queue\.dead: ok, 0 messages\nexchange caches: ok$/m, '--exchange=caches');

finds('a wrong password for the broker', 1, qr/^broker .*ACCESS_REFUSED/m, '--amqp-url=' . $broker->url(password => 'wrong'));
finds('no such vhost', 1, qr/^broker .*vhost/m, '--amqp-url=' . $broker->url(vhost => 'none'));
finds('no broker', 1, qr/^broker .*refused\nredis .*: ok$/m, "--amqp-url=amqp://127.0.0.1:$closed");
finds('the second of two', 0, qr/^broker .*refused\nbroker .*: ok$/m, "--amqp-url=amqp://127.0.0.1:$closed," . $broker->url);
finds('no Redis', 1, qr/^redis .*refused$/m, "--redis-url=redis://127.0.0.1:$closed");
finds('a wrong password for Redis', 1, qr/^redis .*WRONGPASS/m, '--redis-url=redis://nobody:wrong@127.0.0.1:' . $redis->port);
finds('no such database', 1, qr/^redis .*DB index is out of range$/m, '--redis-url=redis://127.0.0.1:' . $redis->port . '/99');
finds('a socket', 0, qr/^redis \Q$socket\E\?db=2: ok$/m, "--redis-url=redis+unix://$socket?db=2");
finds('no socket', 1, qr/^redis .*No such file/m, '--redis-url=redis+unix:///nowhere/redis.sock');
finds('a Redis that is a broker', 1, qr/^redis .*: (?!ok$)./m, '--redis-url=redis://127.0.0.1:' . $broker->port);
my $not_redis = qr/it is a Sentinel, which holds no keys: use redis\+sentinel:/;
finds('a Redis that is a Sentinel', 1, qr/^redis .*$not_redis/m, '--redis-url=redis://127.0.0.1:' . $sentinel->port);
finds('by Sentinel', 0, qr/^redis sentinel .*: ok$/m, '--redis-url=' . $group->url);

# What --check says is what a worker waits for.
$broker->publish($queue, '{"keys":["a"]}');
my $worker = worker('sentinel', "--metrics-listen=$port", '--redis-url=redis://127.0.0.1:' . $sentinel->port);
ok($worker->wait_log(qr/warning waiting for redis .*$not_redis/), 'a plain URL at a Sentinel: the log says so');
like(page('readyz'), qr/^waiting for redis: $not_redis/, '... and /readyz');
is($worker->stop, 0, '... it can be stopped');
is(in_queue(), 1, '... and nothing was taken');
$broker->purge_queue($queue);

# An exchange of another type is used as it is.
$worker = worker('direct', '--exchange=caches');
$worker->wait_log(qr/info consuming/);
$redis->set_keys('a');
$broker->client->publish(exchange => 'caches', routing_key => '', body => '{"keys":["a"]}');
ok($redis->wait_gone('a'), '--exchange, one of another type: used as it is');
is($worker->stop, 0, '... and the worker ends');

# ---- --dry-run and prefixes ----------------------------------------------------------------------

$redis->cli('FLUSHALL');
$redis->set_keys(my @keys = ('a', 'app[1]:a', 'app[1]:p1', 'app1:p1', 'p1'));
$broker->publish($queue, $_) for '{"keys":["a"],"patterns":["p*"]}', 'not understood', '{"keys":["foreign"]}', '{"keys":["a"]}', '{"keys":["a"]}';
my @prefix = ('--key-prefix=app[1]:', '--allow-prefix=a', '--allow-prefix=p');
$worker = worker('dry', '--dry-run', '--prefetch=4', @prefix);
$worker->wait_log(qr/(?:would delete prefix=app\[1\]: key=a\n.*){2}/s);
my $log = $worker->log_text;
like($log, qr/would delete prefix=app\[1\]: pattern=p\*$/m, '--dry-run says what it would delete');
like($log, qr/warning dead letter error="not JSON: .*error="key 0 has no allowed prefix"/s, '... and what it would not') or diag $log;
is(in_queue(), 1, '... takes no more than --prefetch');
is($worker->stop, 0, '... ends with 0');
poll_until('all to be back', sub { in_queue() == 5 });
is($broker->queue_length("$queue.dead"), 0, '... acknowledges nothing');
is($redis->exists(@keys), @keys, '... and deletes nothing');

# As "app:a" in the environment would not be allowed, were prefixes compared with what Redis is told.
$worker = Outbox::Worker->new(name => 'prefix', dir => $dir, broker => $broker, redis => $redis,
	env => { OUTBOX_KEY_PREFIX => 'app[1]:', OUTBOX_ALLOW_PREFIX => "a\n p" })->start;
ok($redis->wait_gone('app[1]:a', 'app[1]:p1'), '--key-prefix goes before keys and patterns');
poll_until('dead letters', sub { $broker->queue_length("$queue.dead") == 2 });
is($redis->exists('a', 'app1:p1', 'p1'), 3, '... its glob characters mean themselves');
is($worker->stop, 0, '... and the worker ends');

# ---- --stop-timeout ------------------------------------------------------------------------------

# Redis is away for a worker only once it has not answered for 5 s.
$worker = worker('hurried', '--stop-timeout=700ms', "--metrics-listen=$port");
$worker->wait_log(qr/info consuming/);
$redis->freeze;
$broker->publish($queue, '{"keys":["a"]}');
poll_until('it to be taken', sub { page('metrics') =~ /^outbox_worker_in_flight_messages 1$/m });
my $begin = monotonic_s();
is($worker->stop, 0, '--stop-timeout over: exit status 0');
cmp_ok(monotonic_s() - $begin, '>', 0.6, '... after that time');
cmp_ok(monotonic_s() - $begin, '<', 4, '... and not much later');
poll_until('it to be back', sub { in_queue() == 1 });
pass('what is unfinished is in the queue again');
$redis->thaw;
$broker->purge_queue($queue);

# ---- signals before the loop turns ---------------------------------------------------------------

# It reads its file for as long as somebody writes it.
sub starting
{
	my ($name) = @_;
	my $fifo = "$dir/$name.fifo";
	POSIX::mkfifo($fifo, 0600) or die "$fifo: $!\n";
	my $starting = worker($name, "--config=$fifo");
	my $writer;
	poll_until('it to read its file', sub { sysopen($writer, $fifo, O_WRONLY | O_NONBLOCK) });
	return ($starting, $writer);
}

for my $signal ('TERM', 'INT')
{
	my ($early, $writer) = starting("early-$signal");
	$early->signal($signal);
	is($early->wait_end, 0, "SIG$signal while it reads its configuration: exit status 0");
	close $writer;
}
my ($reloaded, $writer) = starting('early-hup');
$reloaded->signal('HUP');
print $writer "log-level = info\n";
close $writer;
ok($reloaded->wait_log(qr/info reloaded\n.*info consuming/s), 'SIGHUP: it goes on, and reloads');
is($reloaded->stop, 0, '... and ends');

# An errand that is broken off did not succeed.
$redis->freeze;
my $errand = worker('errand', '--check');
my $proc = '/proc/' . $errand->pid;
poll_until('it to connect', sub { readlink("$proc/exe") =~ /worker/ && grep { (readlink($_) // '') =~ /^socket:/ } glob "$proc/fd/*" });
$errand->signal('TERM');
ok(!defined eval { $errand->wait_end }, 'SIGTERM ends --check, and not with 0');
$redis->thaw;

# ---- the process title ---------------------------------------------------------------------------

$redis->cli('ACL', 'SETUSER', 'cache', 'on', '>redis-secret', '~*', '+@all');
$broker->ctl('add_user', 'cache', 'amqp-secret');
$broker->ctl('set_permissions', 'cache', '.*', '.*', '.*');
$worker = Outbox::Worker->new(name => 'title', dir => $dir, options => [
	'--amqp-url', $broker->url(user => 'cache', password => 'amqp-secret'),
	'--redis-url=redis://cache:redis-secret@127.0.0.1:' . $redis->port,
	'--redis-url', $group->url(query => '?sentinel_user=default&sentinel_password=sentinel-secret'),
	'--report-to', "host=$dir application_name=password password=report-secret" ])->start;
$worker->wait_log(qr/info starting/);
my $title = slurp_file('/proc/' . $worker->pid . '/cmdline');
like($title, qr/--amqp-url/, 'the process title');
unlike($title, qr/secret/, '... holds no password') or diag $title =~ tr/\0/ /r;
is($worker->stop, 0, 'the worker ends');
unlike($worker->log_text, qr/secret/, 'nor does its log');

$group->discard;
$broker->discard;
$redis->kill9;
done_testing();
