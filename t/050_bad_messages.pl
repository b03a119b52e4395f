# A message that cannot be understood goes to the dead-letter queue; the worker goes on.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $pipe = Outbox::Pipeline->start(node => 0);
my ($redis, $broker) = ($pipe->redis, $pipe->broker);
my $queue = 'cache-invalidation';
my $dead = "$queue.dead";

poll_until('the queues', sub { $broker->queue_exists($queue) && $broker->queue_exists($dead) });

my @bad = (
	[ 'not JSON',                  'keys: a' ],
	[ 'empty',                     '' ],
	[ 'truncated',                 '{"keys":["a"' ],
	[ 'an array',                  '["a"]' ],
	[ 'a string',                  '"a"' ],
	[ 'neither keys nor patterns', '{"key":["a"]}' ],
	[ 'keys a string',             '{"keys":"a"}' ],
	[ 'keys null',                 '{"keys":null}' ],
	[ 'a key that is a number',    '{"keys":["a",1]}' ],
	[ 'patterns an object',        '{"keys":["a"],"patterns":{}}' ],
	[ 'something behind it',       '{"keys":["a"]} x' ],
	[ 'the same member twice',     '{"keys":["a"],"keys":["b"]}' ],
	[ 'invalid UTF-8',             "{\"keys\":[\"a\xff\"]}" ],
	[ 'a lone surrogate',          '{"keys":["\ud800"]}' ],
	[ 'a content encoding',        '{"keys":["a"]}', content_encoding => 'gzip' ],
	[ 'too deep',                  '{"keys":["a"],"x":' . ('[' x 40) . (']' x 40) . '}' ],
	[ 'too many keys',             '{"keys":[' . join(',', ('"a"') x 10_001) . ']}' ]);

$redis->set_keys('a', 'b');
for my $case (@bad)
{
	my ($what, $body, %properties) = @$case;
	$broker->publish($queue, $body, content_type => 'application/json', message_id => $what,
		type => 'some.type', headers => { 'x-mine' => 'yes', 'x-number' => 42 }, %properties);
	my $letter = eval { $broker->wait_message($dead, 20) } || {};
	is($letter->{body}, $body, "$what: in the dead-letter queue with its body");
	ok(length($letter->{headers}{'x-outbox-error'} // ''), "$what: x-outbox-error says why")
	  and note("x-outbox-error: $letter->{headers}{'x-outbox-error'}");
	is($letter->{message_id}, $what, "$what: with its message_id");
	is($letter->{headers}{'x-mine'} . $letter->{headers}{'x-number'},
		'yes42', "$what: with its headers");
}
is($redis->exists('a', 'b'), 2, 'none of them deleted a key');

$broker->publish($queue, '{"keys":["a"],"other":{"is":"ignored"}}');
ok($redis->wait_gone('a'), 'the worker goes on; unknown members are ignored');
$broker->publish($queue, '{"keys":[]}');
$broker->publish($queue, '{"patterns":["b"]}');
ok($redis->wait_gone('b'), 'patterns alone are enough');
poll_until('an empty queue', sub { $broker->queue_length($queue) == 0 });
is($broker->queue_length($dead), 0, 'empty keys are no mistake');

# Bad ones between good ones, faster than they can be handled one by one.
$redis->set_keys(map { "many:$_" } 1 .. 100);
for my $n (1 .. 100)
{
	$broker->publish($queue, qq({"keys":["many:$n"]}));
	$broker->publish($queue, "bad $n");
}
ok($redis->wait_gone(map { "many:$_" } 1 .. 100), 'good ones between bad ones are all done');
poll_until('100 dead letters', sub { $broker->queue_length($dead) == 100 });
my %seen;
while (my $letter = $broker->get_message($dead)) { $seen{ $letter->{body} }++ }
is_deeply([ sort keys %seen ], [ sort map { "bad $_" } 1 .. 100 ], 'and each bad one is a dead letter');
ok($pipe->worker->alive, 'the worker still runs');
is($pipe->worker->stop, 0, 'and ends with 0');

$pipe->finish;
