# Redis Cluster: every key is deleted by the node that owns it, patterns by all masters; a node that is
# away holds up its own keys only; what is not a cluster, or not to be used as one, is said and waited for.

use strict;
use warnings;
use HTTP::Tiny;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::Redis;
use Outbox::Wait;
use Outbox::Worker;
use PostgreSQL::Test::Utils;
use Test::More;

my $port = free_port();
my $pipe = Outbox::Pipeline->start(
	node           => 0,
	cluster        => { replicas => 0, node_timeout_ms => 60_000 },
	worker_options => ["--metrics-listen=$port"]);
my ($cluster, $broker, $worker) = map { $pipe->$_ } qw(redis broker worker);
my $queue = 'cache-invalidation';

sub publish
{
	my (@keys) = @_;
	$broker->publish($queue, '{"keys":[' . join(',', map { qq("$_") } @keys) . ']}');
	return;
}

sub ready { return HTTP::Tiny->new(timeout => 20)->get("http://127.0.0.1:$port/readyz")->{content} }

sub messages
{
	my ($line) = grep { /^\Q$queue\E\t/ } split /\n/, $broker->ctl('list_queues', 'name', 'messages', '--no-table-headers');
	return (split /\t/, $line)[1];
}

$worker->wait_log(qr/info consuming/);
is(ready(), "ready\n", 'it is ready once it is connected to every master');

my @keys = map { ("key:$_", "{tag$_}:a", "tail:{}$_") } 1 .. 1000;
$cluster->set_keys(@keys, 'kept');
publish(@keys[ 500 * $_ .. 500 * $_ + 499 ]) for 0 .. 5;
ok(poll_until('the keys to be gone', sub { $cluster->size == 1 }), 'keys of all slots are deleted');
is($cluster->exists('kept'), 1, 'others are not');

@keys = map { "blog:$_" } 1 .. 3000;
$cluster->set_keys(@keys);
$broker->publish($queue, '{"keys":["kept"],"patterns":["blog:*"]}');
ok($cluster->wait_empty, 'a pattern is deleted on all masters');

# ---- one of three is away ----

my ($one, @others) = $cluster->first_masters;
my %at;
push @{ $at{ $cluster->owner_of("away:$_")->port } }, "away:$_" for 1 .. 300;
$cluster->set_keys(map { @$_ } values %at);
$one->freeze;
publish($_) for @{ $at{ $one->port } }[ 0 .. 9 ];
for my $other (@others)
{
	publish($_) for @{ $at{ $other->port } };
	ok($other->wait_gone($_), 'one master frozen: keys of others are deleted') for $at{ $other->port }[-1];
}
ok(poll_until('the others to be acknowledged', sub { messages() == 10 }), '... and acknowledged');
ok(poll_until('the reason', sub { ready() =~ /waiting for redis: node 127.0.0.1:${\ $one->port }: / }),
	'... /readyz names the node');
$one->thaw;
publish(@{ $at{ $one->port } });
ok($cluster->wait_empty, 'thawed: its keys are deleted');
poll_until('it to be ready', sub { ready() eq "ready\n" });

# A slot half moved: its keys are on either side.
my ($from, $to) = @others;
my ($slot) = map { Outbox::RedisCluster::slot($_) } $at{ $from->port }[0];
my $tag = $at{ $from->port }[0];
$cluster->set_keys("{$tag}:stays", "{$tag}:goes");
$to->cli('CLUSTER', 'SETSLOT', $slot, 'IMPORTING', $cluster->id($from));
$from->cli('CLUSTER', 'SETSLOT', $slot, 'MIGRATING', $cluster->id($to));
$from->cli('MIGRATE', '127.0.0.1', $to->port, "{$tag}:goes", 0, 5000);
publish("{$tag}:stays", "{$tag}:goes", "{$tag}:never");
ok($cluster->wait_empty, 'a slot half moved: keys on both sides are deleted');
$cluster->set("{$tag}:left");
$broker->publish($queue, qq({"patterns":["*:left"]}));
ok($cluster->wait_empty, '... by a pattern, too');
$_->cli('CLUSTER', 'SETSLOT', $slot, 'NODE', $cluster->id($to)) for $to, $from;
$cluster->read_owners;
$cluster->set("{$tag}:moved");
publish("{$tag}:moved");
ok($cluster->wait_empty, 'moved: they are found at the new owner');

# ---- what cannot work ----

is($worker->stop, 0, 'the worker ends in good order');

# --check says it too.
sub waits
{
	my ($what, $url, $pattern) = @_;
	my $other = Outbox::Worker->new(
		dir    => $pipe->dir,
		name   => $what =~ tr/a-z/-/cdr,
		broker => $broker,
		redis  => $url,
		options => ["--metrics-listen=$port"]);
	$other->start;
	publish('kept');
	ok($other->wait_log(qr/warning waiting for redis .*$pattern/), "$what: the reason is told");
	ok(poll_until('/readyz', sub { ready() =~ /^waiting for redis: .*$pattern/ }), "$what: /readyz has it");
	is($other->stop, 0, "$what: it waits");
	ok(poll_until('the message to be back', sub { $broker->queue_length($queue) == 1 }), "$what: nothing is acknowledged");
	$broker->purge_queue($queue);
	my ($out, $err) = run_command(
		[ $ENV{OUTBOX_WORKER} // 'outbox-worker', '--check', '--amqp-url', $broker->url, '--redis-url', $url ]);
	like($out, $pattern, "$what: --check says it");
	return;
}

my $plain = Outbox::Redis->new(dir => "${\ $pipe->dir }/plain")->start;
waits('a plain server', "redis+cluster://127.0.0.1:${\ $plain->port }", qr/cluster support disabled/);
$plain->kill9;
waits('no node', 'redis+cluster://127.0.0.1:' . free_port() . ',127.0.0.1:' . free_port(), qr/refused/);
waits('a cluster by a plain URL', "redis://127.0.0.1:${\ $one->port }", qr/node of a Redis Cluster.*redis\+cluster:/);

# A user without CLUSTER; with what docs/worker.md names, the same password lets us in everywhere.
$_->cli('ACL', 'SETUSER', 'worker', 'on', '>secret', '~*', qw(+unlink +scan +ping +asking +role)) for $cluster->nodes;
my $login = $cluster->url =~ s{//}{//worker:secret@}r;
waits('a user without CLUSTER', $login, qr/NOPERM.*cluster/i);
$_->cli('ACL', 'SETUSER', 'worker', '+cluster|slots', '+cluster|nodes') for $cluster->nodes;
waits('a wrong password', $cluster->url =~ s{//}{//worker:wrong@}r, qr/WRONGPASS/);

# One node announces a port where nobody listens.
my $nobody = free_port();
sub heard { return scalar grep { $_->cli('CLUSTER', 'NODES') =~ /127\.0\.0\.1:$nobody\b/ } @others }
$one->cli('CONFIG', 'SET', 'cluster-announce-port', $nobody);
poll_until('the others to hear of it', sub { heard() == @others });
waits('an address where nobody is', $cluster->url, qr/127.0.0.1:$nobody, as the cluster announces it: .*refused/);
$one->cli('CONFIG', 'SET', 'cluster-announce-port', 0);
poll_until('the others to hear of it', sub { heard() == 0 });

$worker->{env}{OUTBOX_REDIS_URL} = $login;
$worker->start;
$cluster->set_keys('a', 'b', 'c', 'd', map { "p:$_" } 1 .. 100);
$broker->publish($queue, '{"keys":["a","b","c","d"],"patterns":["p:*"]}');
ok($cluster->wait_empty, 'the right one: keys and patterns are deleted');

$pipe->finish;
