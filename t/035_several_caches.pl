# --redis-url given again: several caches that are one. A message is acknowledged once all have answered; while one
# is away the others go on within the prefetch, and the state names the one that is missing.

use strict;
use warnings;
use HTTP::Tiny;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::RabbitMQ;
use Outbox::Redis;
use Outbox::Wait;
use Outbox::Worker;
use Test::More;

my $dir = Outbox::Pipeline::work_folder();
my $port = free_port();
my $broker = Outbox::RabbitMQ->new(dir => "$dir/rabbitmq")->launch;
my ($a, $b, $c) = map { Outbox::Redis->new(dir => "$dir/redis-$_")->start } qw(a b c);
my $queue = 'cache-invalidation';
$broker->wait_ready;

sub page { return HTTP::Tiny->new(timeout => 20)->get("http://127.0.0.1:$port/$_[0]")->{content} }
sub metric { my ($name) = @_; return (page('metrics') =~ /^outbox_worker_\Q$name\E (\S+)/m)[0] }

sub start_worker
{
	my (@options) = @_;
	my $worker = Outbox::Worker->new(dir => $dir, broker => $broker, env => { OUTBOX_REDIS_URL => join ' ', map { $_->url } $a, $b },
		options => [ "--metrics-listen=$port", '--prefetch=5', @options ])->start;
	poll_until('the worker to be ready', sub { page('readyz') eq "ready\n" });
	return $worker;
}

sub publish { my (@keys) = @_; return $broker->publish($queue, '{"keys":[' . join(',', map { qq("$_") } @keys) . ']}') }

my $worker = start_worker();
like($worker->log_text, qr/info consuming .*redis="\S+:\Q${\ $a->port }\E\/0, \S+:\Q${\ $b->port }\E\/0"/, 'the log names both');
$_->set_keys('gone', 'p:1', 'p:2', 'stays') for $a, $b;
publish('gone');
$broker->publish($queue, '{"patterns":["p:*"]}');
ok($_->wait_gone('gone', 'p:1', 'p:2'), 'keys and patterns are deleted in both') for $a, $b;
is($_->exists('stays'), 1, '... and nothing else') for $a, $b;
poll_until('all to be acknowledged', sub { metric('in_flight_messages') == 0 });
is(metric('messages_total'), 2, 'a message counts once');
is(metric('keys_deleted_total'), 6, '... and its keys in each');

# One is away.
$b->freeze;
$_->set_keys(map { "key:$_" } 1 .. 20) for $a;
publish("key:$_") for 1 .. 20;
ok($a->wait_gone(map { "key:$_" } 1 .. 5), 'one frozen: the other goes on');
ok(poll_until('/readyz', sub { page('readyz') =~ /waiting for redis: \S+:\Q${\ $b->port }\E\/0: no answer for 5 s/ }),
	'/readyz says which one is missing');
ok($worker->wait_log(qr/warning waiting for redis .*reason="\S+:\Q${\ $b->port }\E\/0: no answer/), 'and so does the log');
is($a->exists(map { "key:$_" } 6 .. 20), 15, '... within the prefetch');
is(metric('in_flight_messages'), 5, 'nothing is acknowledged meanwhile');
is(metric('up{to="redis"}'), 0, 'and it does not count as up');
$b->thaw;
ok($a->wait_gone(map { "key:$_" } 1 .. 20), 'it is back: all go on');
poll_until('all to be acknowledged', sub { metric('in_flight_messages') == 0 && metric('messages_total') == 22 });

# One is away when the worker stops, and when it starts: what it missed is done then.
$_->set_keys('late', 'lost') for $a, $b;
$b->kill9;
publish('late');
ok($a->wait_gone('late'), 'one killed: the other goes on');
is($worker->stop, 0, 'the worker can be stopped');
ok(poll_until('it to be back', sub { $broker->queue_length($queue) == 1 }), '... and the message is in the queue still');
$worker = Outbox::Worker->new(dir => $dir, broker => $broker, options => [ "--metrics-listen=$port",
	map { '--redis-url=' . $_->url } $a, $b ])->start;
ok(poll_until('/readyz', sub { page('readyz') =~ /\Q${\ $b->port }\E\/0: .*Connection refused/ }), 'a worker that starts without it waits');
$b->start;
ok($b->wait_gone('late'), 'once it is there it is done');
poll_until('an empty queue', sub { metric('in_flight_messages') == 0 && $broker->queue_length($queue) == 0 });
pass('... and acknowledged');

# A broker that forgets us while one is away: what is delivered again is done once more.
$b->freeze;
$_->set_keys('again') for $a;
publish('again');
ok($a->wait_gone('again'), 'one frozen, a message in one cache');
$broker->ctl('close_all_connections', 'test');
$worker->wait_log(qr/waiting for broker/);
$b->thaw;
poll_until('all to be acknowledged', sub { metric('in_flight_messages') == 0 && $broker->queue_length($queue) == 0 });
is($worker->stop, 0, 'the broker cut the connection meanwhile: all is done in the end');

# Second deletions: in those that work; SIGTERM runs them at once.
$worker = start_worker('--second-delete=30s');
$_->set_keys('twice') for $a, $b;
publish('twice');
ok($_->wait_gone('twice'), 'deleted once') for $a, $b;
poll_until('all to be acknowledged', sub { metric('in_flight_messages') == 0 });
$_->set_keys('twice') for $a, $b;
is($worker->stop, 0, 'SIGTERM');
is($_->exists('twice'), 0, '... deletes again what was filled meanwhile, in both') for $a, $b;

# --check looks at each.
$worker = Outbox::Worker->new(name => 'check', dir => $dir, broker => $broker,
	options => [ '--check', map { '--redis-url=' . $_->url } $a, $b, $c ])->start;
is($worker->wait_end, 0, '--check: all are there');
my $ok = () = $worker->log_text =~ /^redis .*: ok$/mg;
is($ok, 3, '... a line for each');
$c->kill9;
is($worker->start->wait_end, 1, '--check fails if one is not');

$_->kill9 for $a, $b;
$broker->discard;
done_testing();
