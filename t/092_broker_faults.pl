# F41 to F45: what a broker does to its consumers: deliveries again after a crash, a delivery limit, a queue that
# is deleted, a time limit for acknowledgements, another consumer beside this one.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use Outbox::Worker;
use PostgreSQL::Test::Utils;
use Test::More;

my $pipe = Outbox::Pipeline->start(node => 0, worker => 0);
my ($redis, $broker, $dir) = map { $pipe->$_ } qw(redis broker dir);

sub new_worker
{
	my ($name, @options) = @_;
	return Outbox::Worker->new(dir => $dir, broker => $broker, redis => $redis, name => $name,
		options => [ @options, '--log-level=debug' ])->start;
}

sub messages { my ($queue) = @_; return eval { $broker->queue_length($queue) } // -1 }

# ---- F41: killed between the answer of Redis and the acknowledgement ----
# A refused SCAN keeps the message open after its key is gone.

$redis->cli('ACL', 'SETUSER', 'default', '-scan');
my $worker = new_worker('killed', '--queue=crash');
$worker->wait_log(qr/info consuming/);
$redis->set_keys('key', 'p:1');
$broker->publish('crash', '{"keys":["key"],"patterns":["p:*"]}');
$redis->wait_gone('key');
$worker->wait_log(qr/warning patterns wait reason="SCAN: NOPERM/);
$redis->set_keys('key');
$worker->kill9;
poll_until('the message to be back', sub { messages('crash') == 1 });
pass('kill -9 after the answer, before the acknowledgement: the message is back');
$redis->cli('ACL', 'SETUSER', 'default', '+scan');
$worker->start;
ok($redis->wait_gone('key', 'p:1'), 'the next one deletes it again');
is($worker->stop, 0, 'and ends');
is(messages('crash'), 0, '... with an empty queue');

# ---- F44: consumer_timeout ----

$broker->ctl('eval', 'application:set_env(rabbit, channel_tick_interval, 500), '
	  . 'application:set_env(rabbit, consumer_timeout, 1500).');
$redis->cli('ACL', 'SETUSER', 'default', '-scan');
$worker = new_worker('timeout', '--queue=timeout');
$worker->wait_log(qr/info consuming/);
$redis->set_keys('p:2', 'beside');
$broker->publish('timeout', '{"patterns":["p:*"]}');
$broker->publish('timeout', '{"keys":["beside"]}');
ok($redis->wait_gone('beside'), 'a message that is held up does not hold up the next');
$worker->wait_log(qr/waiting for broker .*(?:PRECONDITION_FAILED|timed out)/);
pass('an acknowledgement that takes too long: the broker closes the channel');
$redis->cli('ACL', 'SETUSER', 'default', '+scan');
ok($redis->wait_gone('p:2'), '... and it goes on once it can');
is($worker->stop, 0, 'the worker ends');
is(messages('timeout'), 0, '... with an empty queue');
$broker->ctl('eval', 'application:set_env(rabbit, consumer_timeout, 1800000).');

# ---- F42: a crash loop on a quorum queue with a delivery limit ----

$broker->declare_queue('limited.dead');
$broker->declare_queue('limited', arguments => {
	'x-queue-type' => 'quorum', 'x-delivery-limit' => 3, 'x-dead-letter-exchange' => '',
	'x-dead-letter-routing-key' => 'limited.dead' });
$redis->set_keys(map { "limited:$_" } 1 .. 30);
$broker->publish('limited', qq({"patterns":["limited:$_"]})) for 1 .. 30;
$redis->cli('ACL', 'SETUSER', 'default', '-scan');
for my $round (1 .. 10)
{
	last if messages('limited.dead') == 30;
	$worker = new_worker("crash$round", '--queue=limited');
	poll_until('deliveries', sub { $worker->log_text =~ /debug message/ || messages('limited.dead') == 30 });
	$worker->kill9;
	poll_until('deliveries to be back', sub { messages('limited') + messages('limited.dead') == 30 });
}
poll_until('all of them to be dead letters', sub { messages('limited.dead') == 30 });
pass('beyond the limit the broker makes them dead letters');
$redis->cli('ACL', 'SETUSER', 'default', '+scan');
is($redis->exists(map { "limited:$_" } 1 .. 30), 30, 'none of them was done');
my ($out, $err) = ('', '');
{
	local $ENV{OUTBOX_AMQP_URL} = $broker->url;
	IPC::Run::run([ $ENV{OUTBOX_WORKER} // 'outbox-worker', '--replay-dead', '--queue=limited' ],
		'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(60));
}
like($out, qr/^30 of 30 messages sent/, '--replay-dead brings them back');
$worker = new_worker('healthy', '--queue=limited');
ok($redis->wait_gone(map { "limited:$_" } 1 .. 30), 'none is lost');
is($worker->stop, 0, 'the worker ends');

# ---- F43: the queue is deleted while consuming ----

$worker = new_worker('deleted', '--queue=deleted');
$worker->wait_log(qr/info consuming/);
$broker->delete_queue('deleted');
$worker->wait_log(qr/waiting for broker .*the queue is gone or moved/);
poll_until('the queue to be there again', sub { $broker->queue_exists('deleted') });
$redis->set_keys('a');
$broker->publish('deleted', '{"keys":["a"]}');
ok($redis->wait_gone('a'), 'a deleted queue is declared again and consumed');
is($worker->stop, 0, 'the worker ends');
$worker = new_worker('undeclared', '--queue=deleted', '--no-declare');
$worker->wait_log(qr/info consuming/);
$broker->delete_queue('deleted');
$worker->wait_log(qr/waiting for broker .*the queue is gone or moved/);
ok(!$broker->queue_exists('deleted'), 'with --no-declare it waits for it');
$broker->declare_queue('deleted');
$redis->set_keys('a');
$broker->publish('deleted', '{"keys":["a"]}');
ok($redis->wait_gone('a'), '... and finds it');
is($worker->stop, 0, 'the worker ends');

# ---- F45: two workers on one queue; an operator closes their connections ----

my @two = map { new_worker("two$_", '--queue=two', '--prefetch=5') } 1, 2;
$_->wait_log(qr/info consuming/) for @two;
$redis->set_keys(map { "two:$_" } 1 .. 400);
$broker->publish('two', qq({"keys":["two:$_"]})) for 1 .. 200;
$broker->ctl('close_all_connections', 'by an operator');
$broker->reconnect;
$broker->publish('two', qq({"keys":["two:$_"]})) for 201 .. 400;
ok($redis->wait_gone(map { "two:$_" } 1 .. 400), 'two workers on one queue, thrown out on the way: all is done');
ok($_->wait_log(qr/waiting for broker .*by an operator/), 'the reason is told') for @two;
is($_->stop, 0, 'both end') for @two;
is(messages('two'), 0, 'the queue is empty');

# ---- single active consumer: the second waits until the first is gone ----

$broker->declare_queue('single', arguments => { 'x-single-active-consumer' => \1 });
my @single = map { new_worker("single$_", '--queue=single') } 1, 2;
$_->wait_log(qr/info consuming/) for @single;
$redis->set_keys(map { "single:$_" } 1 .. 20);
$broker->publish('single', qq({"keys":["single:$_"]})) for 1 .. 10;
ok($redis->wait_gone(map { "single:$_" } 1 .. 10), 'single active consumer: one of them works');
my $active = poll_until('it to say so', sub { (grep { $_->log_text =~ /debug deleted/ } @single)[0] });
my ($waiting) = grep { $_ != $active } @single;
unlike($waiting->log_text, qr/debug deleted/, '... the other has nothing to do');
$active->kill9;
$broker->publish('single', qq({"keys":["single:$_"]})) for 11 .. 20;
ok($redis->wait_gone(map { "single:$_" } 11 .. 20), '... until the first is killed');
is($waiting->stop, 0, 'it ends');
is(messages('single'), 0, 'the queue is empty');

$pipe->{worker} = $two[0];
$pipe->finish;
