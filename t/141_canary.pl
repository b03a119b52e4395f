# outbox.canary_interval: a message without keys goes the whole way every few seconds, is measured, and
# piles up nowhere.

use strict;
use warnings;
use HTTP::Tiny;
use Outbox::Faults;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::Wait;
use Outbox::Worker;
use PostgreSQL::Test::Utils;
use Test::More;

my $port = free_port();
my $pipe = Outbox::Pipeline->start(node => 0, worker => 0);
my ($redis, $broker) = map { $pipe->$_ } qw(redis broker);
my $node = $pipe->{node} = Outbox::Postgres->create('pg', amqp_url => $broker->url);
my $faults = Outbox::Faults->new(dir => $pipe->dir);
$faults->start_node($node);
$node->create_blog;

sub relay    { return $node->relay('blog') }
sub sent     { return relay()->{messages} }
# Those that no rotation has taken away yet.
sub recorded { return $pipe->sql(q(SELECT count(*) FROM outbox.event WHERE properties->>'type' = 'cache.canary')) }
sub consumer { return $node->row('blog', 'TABLE outbox.consumer') }

sub canary_check
{
	my $row = $node->row('blog', q(SELECT * FROM outbox.health WHERE "check" = 'canary'));
	return "$row->{status}: $row->{detail}";
}

sub interval
{
	my ($seconds) = @_;
	my $pid = relay()->{pid};
	$node->safe_psql('postgres', "ALTER DATABASE blog SET outbox.canary_interval = $seconds");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	poll_until('a relay with the new setting', sub { (relay()->{pid} // $pid) != $pid });
	$node->wait_relay([ 'idle', 'publishing' ]);
	return;
}

# Lets time pass by what the relay does in it.
sub wait_sent
{
	my ($more) = @_;
	my $from = sent();
	return poll_until("$more canaries", sub { sent() >= $from + $more });
}

# ---- off, then on ----------------------------------------------------------------------------------

$node->wait_relay('idle');
is(canary_check(), 'ok: off: outbox.canary_interval is 0', 'off by default');
is(sent(), 0, 'nothing is sent');

interval(1);
my $message = $broker->wait_message('cache-invalidation');
is($message->{body}, '{"keys":[]}', 'the body');
is($message->{type}, 'cache.canary', 'the type');
is($message->{content_type}, 'application/json', 'the content type');
like($message->{headers}{'x-outbox-created-at'}, qr/^\d{16}$/, 'when its event was recorded');
like($message->{message_id}, qr/^$message->{headers}{'x-outbox-instance'}\/\d+$/, 'its message_id');
like(canary_check(), qr/^warning: no worker has reported a canary yet; one is sent every 1 s$/, 'no worker tells of it');
cmp_ok(recorded(), '>=', 1, 'it was an event of the outbox');

my $begin = monotonic_s();
wait_sent(3);
cmp_ok(monotonic_s() - $begin, '>', 1.4, 'one a second');

# ---- measured --------------------------------------------------------------------------------------

$node->safe_psql('blog', 'CREATE ROLE reporter LOGIN; GRANT USAGE ON SCHEMA outbox TO reporter; GRANT EXECUTE ON FUNCTION outbox.report_consumer TO reporter');
$broker->purge_queue('cache-invalidation');
my $worker = $pipe->{worker} = Outbox::Worker->new(dir => $pipe->dir, broker => $broker, redis => $redis,
	options => [ '--name=w', "--metrics-listen=127.0.0.1:$port", '--report-to=' . $node->connstr('blog') . ' user=reporter' ])->start;
my $pings = sub { my ($calls) = $redis->cli('INFO', 'commandstats') =~ /cmdstat_ping:calls=(\d+)/; return $calls };

sub metric
{
	my ($name) = @_;
	my $page = HTTP::Tiny->new(timeout => 20)->get("http://127.0.0.1:$port/metrics")->{content};
	return ($page =~ /^outbox_worker_$name (\S+)$/m)[0];
}

# When the last one arrived, by our clock: not before the first, not after the second. The worker tells how long
# ago that was.
sub arrived
{
	my $asked = monotonic_s();
	my $age_s = metric('canary_age_seconds') // return;
	return ($asked - $age_s, monotonic_s() - $age_s);
}

# The first one waited for the worker to start.
my $row = poll_until('a canary in outbox.consumer', sub {
	my $row = consumer();
	return defined $row->{canary_at} && $row->{canary_delay_ms} < 2000 && $row;
});
cmp_ok($row->{canary_delay_ms}, '>', 0, 'its delay is short');
is($row->{delay_p50_ms}, undef, '... and not among those of events');
like(canary_check(), qr/^ok: the last canary took \d+\.\d ms from the outbox to Redis, \d+ s ago$/, 'in outbox.health');
cmp_ok(metric('canary_delay_seconds'), '>', 0, 'in the worker\'s metrics');
cmp_ok(metric('canary_age_seconds'), '<', 10, '... with its age');
is(metric('delay_seconds_count'), 0, '... and not among the delays of events');
cmp_ok($pipe->sql(q(SELECT value FROM outbox.metrics WHERE name = 'pg_outbox_consumer_canary_delay_seconds')), '>', 0, 'in outbox.metrics');
my $pinged = $pings->();
wait_sent(2);
poll_until('a PING for each', sub { $pings->() >= $pinged + 2 });
pass('each one asks Redis');

# ---- Redis away ------------------------------------------------------------------------------------

$redis->freeze;
my (undef, $latest) = arrived();
wait_sent(2);
cmp_ok((arrived())[0], '<=', $latest + 0.01, 'while Redis does not answer none arrives');
cmp_ok(metric('in_flight_messages'), '>', 0, '... they are kept');
# The worker's next report, each second, tells the time anew: the clock jumps until one look is in between.
my $jumped_s = 0;
sub says_after_jump
{
	my ($seconds, $pattern) = @_;
	poll_until("outbox.health to say $pattern", sub { $faults->set_clock($jumped_s += $seconds); canary_check() =~ $pattern });
	return 1;
}
ok(says_after_jump(20, qr/^warning: the last canary took .* \d+ s ago$/), '... which is told');
ok(says_after_jump(120, qr/^critical:/), '... louder after a while');
$faults->set_clock(0);
$redis->thaw;
ok(poll_until('canaries again', sub { (arrived())[0] > $latest + 1 && canary_check() =~ /^ok:/ }), 'Redis is back');
is(metric('delay_seconds_count'), 0, 'none of them counted as an event');

# ---- nothing piles up ------------------------------------------------------------------------------

is($worker->stop, 0, 'the worker ends');
$broker->freeze;
my $before = recorded();
$pipe->sql('SELECT pg_sleep(2.2)');
cmp_ok(recorded() - $before, '<=', 1, 'while the broker does not answer at most one waits');
$broker->thaw;
wait_sent(1);

sub broker_url
{
	my ($url) = @_;
	$node->safe_psql('postgres', $_) for "ALTER SYSTEM SET outbox.amqp_url = '$url'", 'SELECT pg_reload_conf()';
	return;
}

broker_url('amqp://guest:guest@127.0.0.1:1/%2f');
$node->wait_relay('waiting to reconnect');
$before = recorded();
$pipe->sql('SELECT pg_sleep(1.2)');
cmp_ok(recorded(), '<=', $before, 'while there is no connection none is written');
cmp_ok($node->pending, '<=', 1, '... and none is pending, but one that was under way');
broker_url($broker->url);
wait_sent(1);

$pipe->sql(q(SELECT outbox.pause()));
$node->wait_relay('paused');
$before = recorded();
$pipe->sql('SELECT pg_sleep(1.2)');
cmp_ok(recorded(), '<=', $before, 'while the relay is paused none is written');
$pipe->sql(q(SELECT outbox.resume()));
$node->wait_relay('idle');
wait_sent(1);

# Nowhere to go: the queue is gone, and nobody declares it again.
$node->safe_psql('postgres', 'ALTER DATABASE blog SET outbox.declare_topology = off');
$node->safe_psql('blog', 'SELECT outbox.restart_relay()');
wait_sent(1);
$broker->delete_queue('cache-invalidation');
poll_until('one to be parked', sub { $pipe->sql('SELECT events FROM outbox.parked_status()') >= 1 });
$pipe->sql('SELECT pg_sleep(1.2)');
cmp_ok($pipe->sql('SELECT count(*) FROM outbox.dead_letter'), '<=', 2, 'where its destination is parked no more follow');
$broker->declare_queue('cache-invalidation');
$pipe->sql(q(SELECT outbox.retry_dead_letters('', 'cache-invalidation')));
wait_sent(1);
ok(poll_until('none to wait', sub { $pipe->sql('SELECT count(*) FROM outbox.dead_letter') == 0 }), 'they arrive, and new ones follow');

interval(0);
$node->wait_published; # one that was under way
$before = sent();
$pipe->sql('SELECT pg_sleep(1.2)');
is(sent(), $before, 'off again');
$pipe->finish;
