# The worker's configuration file, its second deletion, and --replay-dead.

use strict;
use warnings;
use Outbox::File;
use Outbox::Pipeline;
use Outbox::Wait;
use Outbox::Worker;
use PostgreSQL::Test::Utils;
use Test::More;

my $pipe = Outbox::Pipeline->start(node => 0, worker => 0);
my ($redis, $broker, $dir) = ($pipe->redis, $pipe->broker, $pipe->dir);
my $queue = 'errands';
my $dead = "$queue.dead";
my $program = $ENV{OUTBOX_WORKER} // 'outbox-worker';

# Runs it to its end: exit code, standard output, standard error.
sub run_worker
{
	my (@options) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ $program, @options ], '<', \undef, '>', \$out, '2>', \$err,
		IPC::Run::timeout(60));
	return ($? >> 8, $out, $err);
}

# ---- --config ----

my $bad = write_file("$dir/bad.conf", "queue = a\n\n# mistaken\nprefetsh = 5\n");
my ($code, $out, $err) = run_worker("--config=$bad");
is($code, 2, 'a mistake in the file: exit status 2');
is($err, "outbox-worker: $bad:4: unknown option \"prefetsh\"\n", '... named with its line');
($code, $out, $err) = run_worker("--config=$dir/none.conf");
is($code, 2, 'a file that is missing: exit status 2');

my $good = write_file("$dir/good.conf", <<"CONF");
# everything in one place
amqp-url      = ${\ $broker->url }
redis-url     = ${\ $redis->url }
queue         = $queue
allow-prefix  = "blog:"
allow-prefix  = all
second-delete = 3s
log-level     = debug
CONF

my $worker = Outbox::Worker->new(dir => $dir, options => [ '--config', $good ])->start;
$worker->wait_log(qr/info consuming queue=$queue/);
pass('a worker runs by its file alone');

# ---- --second-delete: late enough for a test on a busy machine to fill the cache meanwhile ----

$redis->set_keys('blog:1', 'all');
$broker->publish($queue, '{"keys":["blog:1","all"]}');
ok($redis->wait_gone('blog:1', 'all'), 'deleted once');
my $begin = monotonic_s();
$redis->set_keys('blog:1', 'all');
ok($redis->wait_gone('blog:1', 'all'), 'filled again by a slow reader: deleted again');
cmp_ok(monotonic_s() - $begin, '>', 0.3, '... after the delay');
$redis->set_keys('blog:1');
$redis->cli('SET', 'other', 1);
$broker->publish($queue, '{"patterns":["blog:*"]}');
ok($redis->wait_gone('blog:1'), 'what a pattern found');
$redis->set_keys('blog:1');
ok($redis->wait_gone('blog:1'), '... is deleted again too');
is($redis->exists('other'), 1, 'others are not');

$redis->set_keys('blog:2');
$broker->publish($queue, '{"keys":["blog:2"]}');
$redis->wait_gone('blog:2');
$redis->set_keys('blog:2');
is($worker->stop, 0, 'SIGTERM ends it with 0');
is($redis->exists('blog:2'), 0, '... and what waited for its second deletion was done at once');

# ---- --replay-dead ----

my @options = ('--config', $good, '--log-level=info');
($code, $out, $err) = run_worker(@options, '--replay-dead');
is($code, 0, 'nothing to replay is no failure');
like($out, qr/^0 of 0 messages sent from $dead to $queue$/m, '... and said');
$broker->publish($dead, qq({"keys":["foreign:$_"]}), message_id => "m$_",
	headers => { 'x-outbox-error' => 'key 0 has no allowed prefix', 'x-mine' => 'yes' })
  for 1 .. 150;
($code, $out, $err) = run_worker(@options, '--replay-dead');
is($code, 0, '--replay-dead ends with 0');
like($out, qr/^150 of 150 messages sent from $dead to $queue$/m, '... and says how many');
is($broker->queue_length($dead), 0, 'the dead-letter queue is empty');
is($broker->queue_length($queue), 150, 'all of them are in the queue');
my $message = $broker->get_message($queue);
is($message->{body}, '{"keys":["foreign:1"]}', 'in their order, with their body');
is($message->{message_id}, 'm1', '... their properties');
is($message->{headers}{'x-mine'}, 'yes', '... their headers');
like($message->{headers}{'x-outbox-replayed-at'}, qr/^20\d\d-\d\d-\d\dT/, '... and when it was');

# Replayed to a worker that refuses them again: it ends all the same.
$worker->start;
poll_until('dead letters again', sub { $broker->queue_length($dead) == 149 });
($code, $out, $err) = run_worker(@options, '--replay-dead');
is($code, 0, 'messages that are refused again do not go round for ever');
poll_until('dead letters once more', sub { $broker->queue_length($dead) == 149 });
is($worker->stop, 0, 'the worker ends');
my $letter = $broker->get_message($dead);
is($letter->{headers}{'x-outbox-error'}, 'key 0 has no allowed prefix', 'the reason stays');

# After the fix.
$redis->set_keys(map { "foreign:$_" } 1 .. 150);
$worker = Outbox::Worker->new(dir => $dir, name => 'fixed',
	options => [ @options, '--allow-prefix=foreign:' ])->start;
($code) = run_worker(@options, '--replay-dead');
is($code, 0, 'after the fix they are replayed');
ok($redis->wait_gone(map { "foreign:$_" } 3 .. 150), '... and done');
is($worker->stop, 0, 'the worker ends');

# A queue that takes nothing.
$broker->delete_queue($queue);
$broker->declare_queue($queue, arguments => { 'x-max-length' => 2, 'x-overflow' => 'reject-publish' });
$broker->publish($dead, "letter $_") for 1 .. 10;
($code, $out, $err) = run_worker(@options, '--replay-dead');
is($code, 1, 'a full queue: exit status 1');
like($err, qr/queue $queue refuses messages: full\?/, '... and the reason');
my $kept = $broker->queue_length($queue);
poll_until('the rest to be back', sub { $broker->queue_length($dead) + $kept >= 10 });
pass('none is lost');
$broker->delete_queue($queue);
($code, $out, $err) = run_worker(@options, '--replay-dead');
is($code, 1, 'no queue: exit status 1');
like($err, qr/no queue '$queue'/, '... in the broker\'s words');

$pipe->{worker} = $worker;
$pipe->finish;
