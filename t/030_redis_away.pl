# F36: While Redis is away messages wait in the queue; nothing is acknowledged that was not deleted.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $pipe = Outbox::Pipeline->start;
my ($redis, $broker, $node, $worker) = map { $pipe->$_ } qw(redis broker node worker);

sub change
{
	my (@ids) = @_;
	$pipe->sql("INSERT INTO blogs VALUES ($_, 1, 'x')") for @ids;
	return;
}

# Ready ones and those that a consumer holds.
sub messages_in_queue
{
	my ($line) = grep { /^cache-invalidation\t/ } split /\n/,
	  $broker->ctl('list_queues', 'name', 'messages', '--no-table-headers');
	my (undef, $count) = split /\t/, $line // "\t0";
	return $count;
}

$redis->set_keys(map { "blog:$_" } 1 .. 40);
change(1);
ok($redis->wait_gone('blog:1'), 'the way is open');

$redis->stop;
change(2 .. 10);
$node->wait_published;
is($node->pending, 0, 'Redis stopped: publishing goes on');
cmp_ok(messages_in_queue(), '>=', 1, 'messages wait in the queue');
ok($worker->alive, 'the worker waits');
$redis->start;
ok($redis->wait_gone(map { "blog:$_" } 2 .. 10), 'once Redis is back the keys are gone');
is($redis->exists('blog:11'), 1, 'others are not');
poll_until('an empty queue', sub { messages_in_queue() == 0 });
pass('and the messages are acknowledged');

# A frozen server keeps its connections and answers nothing.
$redis->freeze;
change(11 .. 15);
$node->wait_published;
cmp_ok(messages_in_queue(), '>=', 1, 'Redis frozen: messages wait');
$redis->thaw;
ok($redis->wait_gone(map { "blog:$_" } 11 .. 15), 'thawed: the keys are gone');

# A server that refuses writes for a while.
$redis->cli('CONFIG', 'SET', 'min-replicas-to-write', 1);
change(16 .. 18);
$node->wait_published;
is($redis->exists('blog:16'), 1, 'Redis refuses writes: the key is still there');
$redis->cli('CONFIG', 'SET', 'min-replicas-to-write', 0);
ok($redis->wait_gone(map { "blog:$_" } 16 .. 18), 'it accepts again: the keys are gone');

# Redis is away when the worker starts.
is($worker->stop, 0, 'SIGTERM ends the worker with 0');
$redis->stop;
change(19, 20);
$worker->start;
$node->wait_published;
ok($worker->alive, 'a worker started without Redis waits');
$redis->start;
ok($redis->wait_gone('blog:19', 'blog:20'), 'and works once it is there');

# SIGTERM while Redis is away.
$redis->stop;
change(21);
$node->wait_published;
is($worker->stop, 0, 'SIGTERM while Redis is away: ends with 0');
$redis->start;
is($redis->exists('blog:21'), 1, 'what was unfinished was not done');
$worker->start;
ok($redis->wait_gone('blog:21'), 'and is done by the next worker');
poll_until('an empty queue', sub { messages_in_queue() == 0 });
is($broker->queue_length('cache-invalidation.dead'), 0, 'no dead letter');

$pipe->finish;
