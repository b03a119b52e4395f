# A fanout exchange for invalidations (outbox.invalidation_exchange, --exchange): a queue and a worker for each
# region. Every queue gets every invalidation; a region whose cache is frozen holds up no other.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Redis;
use Outbox::Wait;
use Outbox::Worker;
use PostgreSQL::Test::Utils;
use Test::More;

my $pipe = Outbox::Pipeline->start(worker => 0,
	relay_conf => "outbox.invalidation_exchange = 'caches'\noutbox.queue = 'home'\n");
my ($home, $broker, $node) = map { $pipe->$_ } qw(redis broker node);
my $away = Outbox::Redis->new(dir => "${\ $pipe->dir }/away")->start;

sub conf
{
	my ($name, $value) = @_;
	my $pid = $node->relay->{pid};
	$node->append_conf('postgresql.conf', "$name = '$value'");
	$node->reload;
	poll_until('another relay', sub { my $now = $node->relay; ($now->{pid} // $pid) != $pid && $now->{state} eq 'idle' });
	return;
}

sub change { my ($id) = @_; return $pipe->sql("INSERT INTO blogs VALUES ($id, 1, 'x')") }

sub destination
{
	return $pipe->sql(q(SELECT string_agg(concat_ws(' ', quote_literal(exchange), quote_literal(routing_key), state), ', '
		ORDER BY exchange, routing_key) FROM outbox.destination));
}

# Takes messages off a queue until one has had this key; several keys may have come in one message.
my %taken;

sub gets
{
	my ($queue, $key) = @_;
	return poll_until("$key in $queue", sub {
		my $message = $broker->get_message($queue);
		$taken{$queue}{$_} = 1 for $message ? @{ $message->{json}{keys} } : ();
		return $taken{$queue}{$key};
	});
}

# ---- the relay's side ----------------------------------------------------------------------------

$node->wait_relay('idle');
change(1);
ok(gets('home', 'blog:1'), 'the exchange is declared, and outbox.queue bound to it');
ok(eval { $broker->declare_exchange('caches', 'fanout'); 1 }, '... a durable fanout') or diag $@;
poll_until('it to be shown', sub { destination() eq q('caches' '' open) });
pass('outbox.destination shows it');

$broker->declare_queue('away');
$broker->bind_queue('away', 'caches', '');
change(2);
ok(gets('home', 'blog:2') && gets('away', 'blog:2'), 'two queues on it: both get each invalidation');
$pipe->sql(q(SELECT outbox.publish('home', '{"n": 1}')));
$node->wait_published;
is($broker->get_message('home')->{json}{n}, 1, 'messages of outbox.publish go to their queue');
is($broker->queue_length('away'), 0, '... and to no other');

# One of them full: the broker's nack is for the message, whoever else took it.
$broker->delete_queue('away');
$broker->declare_queue('away', arguments => { 'x-max-length' => 1, 'x-overflow' => 'reject-publish' });
$broker->bind_queue('away', 'caches', '');
change($_), $node->wait_published for 3 .. 6;
poll_until('it to be parked', sub { destination() =~ q('caches' '' parked) });
ok(gets('home', 'blog:3'), 'one queue full: the other has what was tried');
ok(gets('away', "blog:$_"), "blog:$_ arrives as the full one is emptied") for 3 .. 6;
poll_until('it to be open', sub { destination() =~ q('caches' '' open) });
ok(gets('home', 'blog:6'), 'and the other missed nothing');
$broker->delete_queue('away');
$broker->purge_queue('home');

# What was deleted by somebody is declared again.
$broker->unbind_queue('home', 'caches', '');
change(7);
ok(gets('home', 'blog:7'), 'a binding that is gone is made again');
$broker->delete_exchange('caches');
change(8);
ok(gets('home', 'blog:8'), 'and so is the exchange');

# Another one, of somebody else's making: used as it is.
$broker->declare_exchange('theirs', 'topic');
conf('outbox.invalidation_exchange', 'theirs');
change(9);
ok(gets('home', 'blog:9'), 'a reload takes another exchange over, and uses one that exists as it is');
$broker->unbind_queue('home', 'theirs', '');
conf('outbox.declare_topology', 'off');
conf('outbox.invalidation_exchange', 'not.yet');
change(10);
poll_until('it to be parked', sub { destination() =~ q('not.yet' '' parked) });
pass('declare_topology off: an exchange that is missing is waited for');
$broker->declare_exchange('not.yet', 'fanout');
$broker->bind_queue('home', 'not.yet', '');
ok(gets('home', 'blog:10'), '... and what waited goes there');
conf('outbox.invalidation_exchange', '');
change(11);
ok(gets('home', 'blog:11'), 'without an exchange: to the queue again');
poll_until('it to be shown', sub { destination() =~ q('' 'home' open) });
conf('outbox.declare_topology', 'on');
conf('outbox.invalidation_exchange', 'caches');

# ---- a worker for each region --------------------------------------------------------------------

my $workers = 0;

sub worker
{
	my ($queue, $redis, @options) = @_;
	my $worker = Outbox::Worker->new(name => "worker-$queue-" . ++$workers, dir => $pipe->dir, broker => $broker, redis => $redis,
		options => [ "--queue=$queue", @options ])->start;
	$worker->wait_log(qr/info consuming/);
	return $worker;
}

$broker->delete_exchange('caches');
my $home_worker = worker('home', $home, '--exchange=caches');
my $away_worker = worker('away', $away, '--exchange=caches');
$_->set_keys(map { "blog:$_" } 20 .. 40) for $home, $away;
change(20);
ok($_->wait_gone('blog:20'), 'workers declare the exchange and bind their queues: the key is gone in both regions')
  for $home, $away;

$away->freeze;
change(21);
ok($home->wait_gone('blog:21'), 'one region frozen: the other goes on');
# Longer than an answer may take: the worker there knows by now.
$away_worker->wait_log(qr/waiting for redis/);
change(22);
ok($home->wait_gone('blog:22'), '... and on');
$away->thaw;
ok($away->wait_gone('blog:21', 'blog:22'), 'the frozen one catches up');
is($away->exists('blog:23') + $home->exists('blog:23'), 2, 'what nobody changed is still there');

is($away_worker->stop, 0, 'one worker stops');
$broker->unbind_queue('away', 'caches', '');
$away_worker = worker('away', $away, '--exchange=caches', '--no-declare');
change(24);
ok($home->wait_gone('blog:24'), '--no-declare: a queue that is not bound');
is($away->exists('blog:24'), 1, '... is left unbound');
$broker->bind_queue('away', 'caches', '');
change(25);
ok($away->wait_gone('blog:25'), '... until somebody binds it');
is($_->stop, 0, 'a worker ends in good order') for $home_worker, $away_worker;

my $log = slurp_file($node->logfile);
like($log, qr/parks messages to exchange "caches"/, 'the log names the exchange');
$away->kill9;
$node->stop('immediate');
$broker->discard;
$home->kill9;
done_testing();
