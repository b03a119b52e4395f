# A committed change deletes the keys of its row from Redis; nothing else does.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $pipe = Outbox::Pipeline->start;
my ($redis, $broker, $node) = ($pipe->redis, $pipe->broker, $pipe->node);

$redis->set_keys('blogs:all', 'blog:1', 'blog:2', 'author:7:blogs', 'author:8:blogs');
$pipe->sql(q(INSERT INTO blogs VALUES (1, 7, 'one')));
ok($redis->wait_gone('blogs:all', 'blog:1', 'author:7:blogs'), 'INSERT: the keys of the row are gone');
is($redis->exists('blog:2', 'author:8:blogs'), 2, 'other keys stay');

$redis->set_keys('blog:1', 'author:7:blogs');
$pipe->sql('UPDATE blogs SET author_id = 8 WHERE id = 1');
ok($redis->wait_gone('blog:1', 'author:7:blogs', 'author:8:blogs'),
	'UPDATE: the keys of the old row and of the new row are gone');

$redis->set_keys('blog:1');
$pipe->sql('DELETE FROM blogs WHERE id = 1');
ok($redis->wait_gone('blog:1'), 'DELETE: the key is gone');

# What was rolled back must never come. A later change, which comes after it in every queue, tells
# when it would have come.
$redis->set_keys('blog:11', 'blog:12', 'blog:13');
$pipe->sql(q(
	BEGIN;
	INSERT INTO blogs VALUES (11, 1, 'rolled back');
	ROLLBACK;
	BEGIN;
	SAVEPOINT s;
	INSERT INTO blogs VALUES (12, 1, 'rolled back to the savepoint');
	ROLLBACK TO s;
	INSERT INTO blogs VALUES (13, 1, 'committed');
	COMMIT;
));
ok($redis->wait_gone('blog:13'), 'committed after a rolled back savepoint: the key is gone');
is($redis->exists('blog:11'), 1, 'rolled back: the key stays');
is($redis->exists('blog:12'), 1, 'rolled back to a savepoint: the key stays');

$redis->set_keys('by:hand', 'by:hand:too');
$pipe->sql(q(SELECT outbox.invalidate('by:hand', 'by:hand:too')));
ok($redis->wait_gone('by:hand', 'by:hand:too'), 'outbox.invalidate deletes the keys it is given');

$redis->set_keys('page:1', 'page:2', 'pages', 'a*b', 'axb');
$pipe->sql(q(SELECT outbox.invalidate_pattern('page:*')));
ok($redis->wait_gone('page:1', 'page:2'), 'outbox.invalidate_pattern deletes what matches');
is($redis->exists('pages'), 1, 'and nothing else');
$pipe->sql(q(SELECT outbox.invalidate('a*b')));
ok($redis->wait_gone('a*b'), 'a key may look like a pattern');
is($redis->exists('axb'), 1, 'and is none');

$redis->set_keys('blogs:all', 'blog:1', 'blog:999', 'author:5:blogs', 'author:5');
$pipe->sql('TRUNCATE blogs');
ok($redis->wait_gone('blogs:all', 'blog:1', 'blog:999', 'author:5:blogs'),
	'TRUNCATE deletes whatever the templates could make');
is($redis->exists('author:5'), 1, 'and nothing else');

my $odd = "blog:gr\xc3\xbc\xc3\x9fe \"quoted\" back\\slash \xf0\x9f\x98\x80";
$redis->set_keys($odd);
$pipe->sql("SELECT outbox.invalidate('" . Encode::decode('UTF-8', $odd) . "')");
ok($redis->wait_gone($odd), 'a key with quotes, a backslash and characters beyond ASCII');

# Messages to a queue of one's own.
$broker->declare_queue('emails');
$pipe->sql(q(BEGIN; SELECT outbox.publish('emails', '{"to": "nobody"}'); ROLLBACK));
$pipe->sql(q(SELECT outbox.publish('emails', '{"to": "ann@example.org"}',
	headers => '{"kind": "welcome", "n": 7}', properties => '{"message_id": "m-1"}')));
my $message = $broker->wait_message('emails');
is_deeply($message->{json}, { to => 'ann@example.org' }, 'outbox.publish: the payload arrives');
is($message->{message_id}, 'm-1', 'with the message_id it was given');
is($message->{headers}{kind}, 'welcome', 'and the header');
is($message->{headers}{n}, 7, 'and the number');
is($message->{headers}{'x-outbox-database'}, 'blog', 'x-outbox-database names the database');
is($message->{delivery_mode}, 2, 'persistent');

ok($node->wait_published, 'wait_published: all is confirmed');
is($broker->queue_length('emails'), 0, 'the rolled back message never came');
is($node->pending, 0, 'nothing is pending');
is($broker->queue_length('cache-invalidation.dead'), 0, 'no dead letter');
is($pipe->worker->stop, 0, 'the worker ends with 0 after SIGTERM');

$pipe->finish;
