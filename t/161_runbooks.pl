# The runbooks of docs/operations.md, followed: each situation is brought about, and the page's own
# commands tell what it is, mend it, and show that it is mended. Here: the broker is full, Redis was
# away. (An hour of Redis is a few seconds; 030 has what the worker does after a minute.)

use strict;
use warnings;
use FindBin;
use Outbox::Pipeline;
use Outbox::Runbook;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $queue = 'cache-invalidation';
my $pipe = Outbox::Pipeline->start;
my ($node, $broker, $redis, $worker) = map { $pipe->$_ } qw(node broker redis worker);
my $book = Outbox::Runbook->new(root => "$FindBin::RealBin/..", pipe => $pipe);
$pipe->sql(q(INSERT INTO blogs SELECT n, 1, 'title' FROM generate_series(1, 100) AS n));
$node->wait_published;
$worker->wait_log(qr/info consuming/);

sub change { $pipe->sql("UPDATE blogs SET title = title || '.' WHERE id = $_") for @_; return }

# ---- nothing is wrong ----

my $where = 'Where is it stuck?';
like($book->sql($where, 0), qr/pending_events +\| 0\n.*relay_state +\| (?:idle|publishing)\n/s, 'nothing is stuck');
like($book->sh($where, 0), qr/^\Q$queue\E\tclassic\t0\t0\t1\t.*no alarms.*^redis .*: ok$/ms, '... on neither side');

# ---- the broker is full: an alarm ----

my $full = 'Runbook: the broker is full';
my $alarm = 'An alarm: state `blocked`';
$broker->ctl('set_vm_memory_high_watermark', 'absolute', '1MB');
change(1);
$node->wait_relay('blocked');
like($book->sql($full, 0), qr/state +\| blocked\nlast_error +\| .*low on memory$/m, 'an alarm is told from a full queue');
like($book->sh($alarm, 0), qr/Memory alarm on node/, 'which alarm');
$redis->set_keys('blog:1');
$book->sh($alarm, 1);
like($book->sql($alarm, 0), qr/wait_published \| t/, 'all is out once it is gone');
ok($redis->wait_gone('blog:1'), 'and the copy is deleted');

# ---- the broker is full: a queue ----

my $refuses = 'A queue that does not accept';
is($worker->stop, 0, 'nobody consumes');
$broker->ctl('set_policy', 'limit', "^$queue\$", '{"max-length":5,"overflow":"reject-publish"}', '--apply-to', 'queues');
change(1 .. 40);
poll_until('the queue to be parked',
	sub { $book->ask($full, 0) =~ /routing_key +\| \Q$queue\E\nparked +\| [1-9].*its queue may be full/s });
pass('a full queue is told from an alarm');
like($book->sh($refuses, 0), qr/^\Q$queue\E\t5\t0\t0\tlimit/m, 'nobody takes from it');
$worker->start;
$worker->wait_log(qr/(?:info consuming.*){2}/s);
like($book->sql($refuses, 0), qr/retry_dead_letters \| \d+/, 'tried at once');
poll_until('the queue to be open', sub { $book->ask($refuses, 1) =~ /parked +\| 0\nstate +\| open/ });
$node->wait_published;
is($pipe->sql('SELECT count(*) FROM outbox.dead_letter'), 0, 'nothing is left behind');
$broker->ctl('clear_policy', 'limit');

# ---- Redis was away ----

my $away = 'Runbook: Redis was away for an hour';
$redis->set_keys('blog:7', 'left');
$redis->stop;
change(7);
$node->wait_published;
$worker->wait_log(qr/warning waiting for redis.*\n\z/);
like($book->sh($away, 0), qr/^\Q$queue\E\t\d+\t\d+\t0\t\d+$/m, 'what gathers, and that nobody consumes');
$redis->start;
ok($redis->wait_gone('blog:7'), 'the backlog deletes what changed meanwhile');
$redis->set_keys('blog:8', 'other');
$book->sql($away, 0);
ok($redis->wait_gone('blog:8'), 'all keys of watched tables');
is($redis->exists('other'), 1, '... and of nothing else');
$book->sh($away, 1);
is($redis->cli('DBSIZE'), 0, 'or all');
like($book->sh($away, 2), qr/^\Q$queue\E\t0\t0\t1$/m, 'it is through');

is_deeply([ $book->not_run($where, $full, $alarm, $refuses, $away) ], [], 'every command of these runbooks was tried');
$pipe->finish;
