# A message to a queue that does not exist is not lost: it is shown, and goes once the queue is there.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $pipe = Outbox::Pipeline->start;
my ($redis, $broker, $node) = ($pipe->redis, $pipe->broker, $pipe->node);

$node->wait_relay('idle');
$redis->set_keys('blog:1', 'blog:2');
$pipe->sql(q(INSERT INTO blogs VALUES (1, 1, 'before')));
ok($redis->wait_gone('blog:1'), 'what came before goes its way');

$pipe->sql(q(SELECT outbox.publish('emails', '{"n": 1}')));
my $row = $node->wait_relay_error(qr/NO_ROUTE|312/);
like($row->{last_error}, qr/emails/, 'last_error names the queue');
cmp_ok($row->{returned}, '>=', 1, 'outbox.relay counts it as returned');
cmp_ok($node->pending, '>=', 1, 'the message is pending');
ok(!$broker->queue_exists('emails'), 'the relay declares no queue of outbox.publish');

# It is tried again and again; commits go on.
$pipe->sql(q(INSERT INTO blogs VALUES (2, 1, 'after'); SELECT outbox.publish('emails', '{"n": 2}')));
my $returned = $row->{returned};
poll_until('another attempt', sub { $node->relay->{returned} > $returned });
pass('it is tried again');

$node->restart;
$node->wait_relay_error(qr/NO_ROUTE|312/);
pass('after a restart it is still there');

$broker->declare_queue('emails');
is($broker->wait_message('emails')->{json}{n}, 1, 'once the queue is declared the message arrives');
is($broker->wait_message('emails')->{json}{n}, 2, 'and the next one, in order');
ok($redis->wait_gone('blog:2'), 'and the invalidation');
$node->wait_published;
is($node->pending, 0, 'nothing is pending');

# An exchange that does not exist closes the channel: nothing is lost either.
$pipe->sql(q(SELECT outbox.publish_to('no.such.exchange', 'k', '{"n": 3}')));
$row = $node->wait_relay_error(qr/no\.such\.exchange/);
like($row->{last_error}, qr/NOT_FOUND/, 'an unknown exchange: the broker\'s words');
$broker->declare_exchange('no.such.exchange', 'fanout');
$broker->bind_queue('emails', 'no.such.exchange', '');
is($broker->wait_message('emails')->{json}{n}, 3, 'once it is declared the message arrives');
$node->wait_published;

$pipe->finish;
