# Dead letters that cannot be written: a queue that is full, a broker short of memory; and --replay-dead
# that is killed on its way. Nothing is lost, and exact keys go on.

use strict;
use warnings;
use HTTP::Tiny;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::Wait;
use Outbox::Worker;
use PostgreSQL::Test::Utils;
use Test::More;

my $pipe = Outbox::Pipeline->start(node => 0, worker => 0);
my ($redis, $broker, $dir) = map { $pipe->$_ } qw(redis broker dir);
my $port = free_port();
my $count = 0;

sub new_worker
{
	my (@options) = @_;
	my $worker = Outbox::Worker->new(dir => $dir, broker => $broker, redis => $redis, name => 'worker' . ++$count,
		options => [ '--queue=busy', "--metrics-listen=$port", @options ])->start;
	$worker->wait_log(qr/info consuming/);
	return $worker;
}

sub messages { my ($queue) = @_; return $broker->queue_length($queue) }

# ---- a dead-letter queue that is full ----

$broker->declare_queue('busy');
$broker->declare_queue('busy.dead', arguments => { 'x-max-length' => 0, 'x-overflow' => 'reject-publish' });
my $worker = new_worker();
$redis->set_keys(map { "beside:$_" } 1 .. 5);
$broker->publish('busy', 'bad 1');
$broker->publish('busy', qq({"keys":["beside:$_"]})) for 1 .. 5;
$worker->wait_log(qr/warning dead letters wait reason=/);
ok($redis->wait_gone(map { "beside:$_" } 1 .. 5), 'a dead-letter queue that is full: the rest goes on');
is(messages('busy.dead'), 0, '... and the bad one is held');
$broker->publish('busy', "bad $_") for 2 .. 20;
my $http = HTTP::Tiny->new(timeout => 20);
poll_until('it not to be ready', sub { $http->get("http://127.0.0.1:$port/readyz")->{status} == 503 });
pass('sixteen of them are held, then it takes no more and is not ready');
$broker->delete_queue('busy.dead');
$broker->declare_queue('busy.dead');
poll_until('twenty dead letters', sub { $broker->queue_length('busy.dead') == 20 }, 90);
pass('once there is room they are dead letters');
is($worker->stop, 0, 'it ends with 0');
is(messages('busy'), 0, '... with an empty queue');

# ---- an alarm: the broker reads nothing of a connection that publishes ----

$worker = new_worker();
$worker->freeze;
$redis->set_keys(map { "alarm:$_" } 1 .. 50);
for my $n (1 .. 50)
{
	$broker->publish('busy', qq({"keys":["alarm:$n"]}));
	$broker->publish('busy', "bad $n") if $n <= 10;
}
my $letters = messages('busy.dead');
$broker->ctl('set_vm_memory_high_watermark', 'absolute', '1MB');
$worker->thaw;
ok($redis->wait_gone(map { "alarm:$_" } 1 .. 50), 'short of memory: exact keys are deleted');
$worker->wait_log(qr/warning dead letters wait reason=/);
pass('... dead letters wait, and it says so');
$broker->ctl('set_vm_memory_high_watermark', '0.8');
poll_until('ten more dead letters', sub { messages('busy.dead') == $letters + 10 }, 60);
pass('... until there is memory');
is($worker->stop, 0, 'it ends with 0');
is(messages('busy'), 0, '... with an empty queue');

# ---- --replay-dead, killed ----

$broker->delete_queue($_) for 'busy', 'busy.dead';
$broker->declare_queue($_) for 'busy', 'busy.dead';
my $total = 3000;
$broker->publish('busy.dead', "letter $_") for 1 .. $total;
poll_until('all of them', sub { messages('busy.dead') == $total });
my $replay = Outbox::Worker->new(dir => $dir, broker => $broker, redis => $redis, name => 'replay',
	options => [ '--queue=busy', '--replay-dead' ])->start;
poll_until('some of them sent', sub { messages('busy') > 50 });
$replay->kill9;
cmp_ok(messages('busy'), '<=', $total, 'killed on its way');
poll_until('the rest to be back', sub { messages('busy.dead') + messages('busy') >= $total });
my %seen;
for my $queue ('busy', 'busy.dead')
{
	while (my $letter = $broker->get_message($queue)) { $seen{ $letter->{body} } = 1 }
}
is(scalar keys %seen, $total, '... no dead letter is lost');

$pipe->{worker} = $worker;
$pipe->finish;
