# What others see of a worker: /metrics, /healthz, /readyz.

use strict;
use warnings;
use HTTP::Tiny;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $port = free_port();
my $pipe = Outbox::Pipeline->start(node => 0,
	worker_options => [ "--metrics-listen=127.0.0.1:$port", '--log-level=debug' ]);
my ($redis, $broker, $worker) = map { $pipe->$_ } qw(redis broker worker);
my $queue = 'cache-invalidation';
my $http = HTTP::Tiny->new(timeout => 20, keep_alive => 0);

sub ask { my ($path, $method) = @_; return $http->request($method // 'GET', "http://127.0.0.1:$port$path") }

# One value, by its whole name with labels; undef where there is none.
sub metric
{
	my ($name) = @_;
	my ($value) = ask('/metrics')->{content} =~ /^outbox_worker_\Q$name\E (\S+)$/m;
	return $value;
}

sub wait_metric
{
	my ($name, $wanted) = @_;
	my $seen = 'nothing';
	eval {
		poll_until("$name to be $wanted", sub { $seen = metric($name) // 'nothing'; $seen eq $wanted });
	};
	is($seen, $wanted, "$name is $wanted");
	return;
}

poll_until('the worker to be ready', sub { ask('/readyz')->{status} == 200 });
is(ask('/readyz')->{content}, "ready\n", '/readyz says ready');
is(ask('/healthz')->{status}, 200, '/healthz');
is(ask('/nothing')->{status}, 404, 'other paths: 404');
is(ask('/metrics', 'POST')->{status}, 405, 'other methods: 405');
is(ask('/metrics', 'HEAD')->{status}, 200, 'HEAD is fine');

$redis->set_keys('a', 'b', 'c', 'p:1', 'p:2');
my $now_us = int(Time::HiRes::time() * 1e6);
$broker->publish($queue, '{"keys":["a","b","none"]}', headers => { 'x-outbox-created-at' => $now_us - 2_000_000 });
$broker->publish($queue, '{"keys":["c"]}', headers => { 'x-outbox-created-at' => $now_us + 3_600_000_000 });
$broker->publish($queue, '{"patterns":["p:*"]}');
$broker->publish($queue, 'not understood');
$redis->wait_gone('a', 'b', 'c', 'p:1', 'p:2');
wait_metric('messages_total', 4);
wait_metric('keys_deleted_total', 5);
wait_metric('patterns_total', 1);
wait_metric('dead_lettered_total', 1);
wait_metric('in_flight_messages', 0);
wait_metric('queue_messages', 0);
wait_metric('up{to="broker"}', 1);
wait_metric('up{to="redis"}', 1);
wait_metric('reconnects_total{to="redis"}', 0);
wait_metric('delay_seconds_count', 2);
is(metric('delay_seconds_bucket{le="1"}'), 1, 'a clock that is ahead makes no negative delay');
is(metric('delay_seconds_bucket{le="+Inf"}'), 2, 'two seconds are more than one');
cmp_ok(metric('delay_seconds_sum'), '>=', 2, 'the sum');
cmp_ok(metric('redis_seconds_count'), '>=', 3, 'round trips to Redis');
like($worker->log_text, qr/debug deleted key=a$/m, 'deleted keys in the log at debug level');

my $page = ask('/metrics');
like($page->{headers}{'content-type'}, qr{^text/plain; version=0\.0\.4}, 'the content type');
my $program = $ENV{OUTBOX_WORKER} // 'outbox-worker';
my ($release) = qx('$program' --version) =~ /^outbox-worker (\S+)$/;
is(metric("info{version=\"$release\"}"), 1, 'the release, as --version tells it');
my ($out, $err) = ('', '');
IPC::Run::run([ 'promtool', 'check', 'metrics' ], '<', \$page->{content}, '>', \$out, '2>', \$err);
is($?, 0, 'promtool check metrics is content');
is("$out$err", '', '... and has nothing to say');

# Redis is away, then back.
$redis->stop;
poll_until('the worker not to be ready', sub { ask('/readyz')->{status} == 503 });
like(ask('/readyz')->{content}, qr/^(waiting for redis|consuming): \S/, '/readyz says why');
is(ask('/healthz')->{status}, 200, '/healthz does not mind');
is(metric('up{to="redis"}'), 0, 'up is 0');
$redis->start;
poll_until('the worker to be ready', sub { ask('/readyz')->{status} == 200 });
wait_metric('reconnects_total{to="redis"}', 1);

# The broker.
$broker->freeze;
is(ask('/healthz')->{status}, 200, 'a frozen broker does not stop the loop');
$broker->thaw;
$broker->stop;
poll_until('the worker not to be ready', sub { ask('/readyz')->{status} == 503 });
$broker->start;
poll_until('the worker to be ready', sub { ask('/readyz')->{status} == 200 });
wait_metric('reconnects_total{to="broker"}', 1);

# Many who connect and say nothing.
my @silent = map { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") } 1 .. 30;
$redis->set_keys('d');
$broker->publish($queue, '{"keys":["d"]}');
ok($redis->wait_gone('d'), 'connections that say nothing hold up no deletion');
close $_ for grep { $_ } @silent;
poll_until('an answer again', sub { ask('/healthz')->{status} == 200 });

# A second worker on the same port.
my $second = Outbox::Worker->new(dir => $pipe->dir, broker => $broker, redis => $redis,
	name => 'second', options => ["--metrics-listen=$port"])->start;
is($second->wait_end, 1, 'a port that is taken: exit status 1');
like($second->log_text, qr/error failed reason="--metrics-listen: 127\.0\.0\.1:$port: Address already in use"/,
	'... and the reason');

$pipe->finish;
