# F41: Redis Cluster: every key is deleted by the node that owns it, patterns by all masters; what is not
# a cluster, or not to be used as one, is said and waited for.

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
	cluster        => {},
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

$pipe->finish;
