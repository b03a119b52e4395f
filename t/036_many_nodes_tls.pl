# rediss+sentinel:// and rediss+cluster://: TLS with Sentinels, with the master that they name and with each node of
# a cluster, certificates verified on both sides; what is wrong is said, and a fail-over followed.

use strict;
use warnings;
use HTTP::Tiny;
use Outbox::Certificates;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::RabbitMQ;
use Outbox::Redis;
use Outbox::RedisCluster;
use Outbox::SentinelGroup;
use Outbox::Wait;
use Outbox::Worker;
use Test::More;

my $dir = Outbox::Pipeline::work_folder();
my $port = free_port();
my $queue = 'cache-invalidation';
my $broker = Outbox::RabbitMQ->new(dir => "$dir/rabbitmq")->launch;
my $certificates = Outbox::Certificates->new("$dir/certificates");
my $stranger = Outbox::Certificates->new("$dir/stranger")->ca;
my ($cert, $key) = $certificates->make('server');
my ($my_cert, $my_key) = $certificates->make('worker');
my $group = Outbox::SentinelGroup->new(dir => "$dir/group", replicas => 1, sentinels => 1,
	tls => { ca => $certificates->ca, cert => $cert, key => $key })->start;
$broker->wait_ready;

sub page { return HTTP::Tiny->new(timeout => 20)->get("http://127.0.0.1:$port/$_[0]")->{content} }

sub start_worker
{
	my ($url, %file) = @_;
	my @files = map { "--redis-$_-file=$file{$_}" } sort keys %file;
	return Outbox::Worker->new(dir => $dir, broker => $broker, redis => $url,
		options => [ "--metrics-listen=$port", @files ])->start;
}

# Says why it waits, and takes nothing.
sub waits
{
	my ($what, $pattern, $url, %file) = @_;
	$group->master->set_keys('key');
	$broker->publish($queue, '{"keys":["key"]}');
	my $worker = start_worker($url, %file);
	ok(poll_until('/readyz', sub { page('readyz') =~ /^waiting for redis: .*$pattern/ }), "$what: /readyz says so");
	is($broker->queue_length($queue), 1, '... nothing is taken');
	is($worker->stop, 0, '... and it can be stopped');
	$broker->purge_queue($queue);
	return;
}

my %mine = (ca => $certificates->ca, cert => $my_cert, key => $my_key);
$broker->declare_queue($_) for $queue, "$queue.dead";
waits('Sentinel of an unknown authority', qr/no Sentinel names a master .*(?:unable to get local issuer|self.signed)/,
	$group->url, %mine, ca => $stranger);
waits('no certificate of our own', qr/no Sentinel names a master .*(?:certificate required|handshake failure|closed|reset)/,
	$group->url, ca => $mine{ca});
waits('a plain URL', qr/no Sentinel names a master/, $group->url =~ s/rediss/redis/r);

# It waits for the rest of what it takes for a command.
waits('a port that does not speak it', qr/no Sentinel names a master .*: no answer to TLS: does it speak it there/,
	$group->url(hosts => '127.0.0.1:' . ($group->sentinels)[0]->port), %mine);

my $worker = start_worker($group->url, %mine);
poll_until('it to be ready', sub { page('readyz') eq "ready\n" });
my $old = $group->master;
$old->set_keys(map { "key:$_" } 1 .. 1000);
$broker->publish($queue, '{"keys":[' . join(',', map { qq("key:$_") } 1 .. 1000) . ']}');
ok($old->wait_gone(map { "key:$_" } 1 .. 1000), 'keys are deleted over TLS');
$old->kill9;
$broker->publish($queue, '{"keys":["after"]}');
my $new = $group->wait_other_master($old);
$new->set_keys('after');
$broker->publish($queue, '{"keys":["after"]}');
ok($new->wait_gone('after'), 'a fail-over is followed');
poll_until('all to be acknowledged', sub { page('metrics') =~ /^outbox_worker_in_flight_messages 0$/m && $broker->queue_length($queue) == 0 });
is($worker->stop, 0, 'the worker ends in good order');

# The master's certificate is looked at as well.
my ($other, $other_key) = $certificates->make('other', host => 'redis.example');
$new->cli('CONFIG', 'SET', 'tls-cert-file', $other, 'tls-key-file', $other_key);
waits('a master whose certificate is for another host', qr/master \S+, named by Sentinel \S+: .*mismatch/, $group->url, %mine);

$group->discard;

# ---- a cluster -----------------------------------------------------------------------------------

my @nodes = map { start_node("node$_") } 0 .. 1;
for my $i (0, 1)
{
	$nodes[$i]->cli('CLUSTER', 'SET-CONFIG-EPOCH', $i + 1);
	$nodes[$i]->cli('CLUSTER', 'ADDSLOTSRANGE', 8192 * $i, 8192 * $i + 8191);
}
$nodes[0]->cli('CLUSTER', 'MEET', '127.0.0.1', $nodes[1]{tls_port}, $nodes[1]{bus});
poll_until('a whole cluster', sub { !grep { $_->cli('CLUSTER', 'INFO') !~ /state:ok.*known_nodes:2/s } @nodes });

sub start_node
{
	my ($name) = @_;
	my ($tls_port, $bus) = (free_port(), free_port());
	my $node = Outbox::Redis->new(dir => "$dir/$name", options => [
		'--cluster-enabled', 'yes', '--cluster-port', $bus, '--tls-port', $tls_port, '--tls-cluster', 'yes',
		'--tls-ca-cert-file', $certificates->ca, '--tls-cert-file', $cert, '--tls-key-file', $key ])->start;
	@$node{qw(tls_port bus)} = ($tls_port, $bus);
	return $node;
}

my %of_node;
push @{ $of_node{ Outbox::RedisCluster::slot($_) < 8192 ? 0 : 1 } }, $_ for map { ("key:$_", "wide:$_") } 1 .. 200;
for my $i (0, 1)
{
	$nodes[$i]->cli('SET', $_, 1) for @{ $of_node{$i} };
}
my $url = "rediss+cluster://127.0.0.1:$nodes[0]{tls_port}";
$worker = start_worker($url, %mine);
poll_until('it to be ready', sub { page('readyz') eq "ready\n" });
$broker->publish($queue, '{"keys":[' . join(',', map { qq("key:$_") } 1 .. 200) . '],"patterns":["wide:*"]}');
ok(poll_until('the keys to be gone', sub { $_->size == 0 }), 'a cluster: keys and patterns are deleted over TLS') for @nodes;
is($worker->stop, 0, '... and the worker ends in good order');
$worker = start_worker($url, %mine, ca => $stranger);
ok(poll_until('/readyz', sub { page('readyz') =~ /^waiting for redis: node 127\.0\.0\.1:\d+: .*(?:local issuer|self.signed)/ }),
	'nodes of an unknown authority: /readyz says so');
is($worker->stop, 0, '... and it can be stopped');

$_->kill9 for @nodes;
$broker->discard;
done_testing();
