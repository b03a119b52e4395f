# Node programs with amqplib on both ends: as consumer of what the relay sends, as publisher to the
# worker; and the local caches of examples/. Their TAP is passed on.

use strict;
use warnings;
use File::Basename ();
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $here = File::Basename::dirname($0);
my $pipe = Outbox::Pipeline->start(worker => 0);

$ENV{INTEROP_PG} = $pipe->node->connstr('blog');
$ENV{INTEROP_AMQP_URL} = $pipe->broker->url;
$ENV{INTEROP_REDIS_PORT} = $pipe->redis->port;

# Each program is a plan; t/run adds them up.
run_node('consumer.test.js');
$pipe->worker->start;
run_node('publisher.test.js');
run_node('local-cache.test.js');
$pipe->finish;

sub run_node
{
	my ($file) = @_;
	my $output = Test::More->builder->output;
	open(my $node, '-|', 'node', '--test-reporter=tap', "$here/$file") or die "node: $!\n";
	my $failed = 0;
	while (<$node>)
	{
		$failed ||= /^not ok/;
		print $output $_;
	}
	close $node;
	# Failed tests are counted by themselves; a crash without one must show, too.
	ok($? == 0 || $failed, "$file ran to its end");
	return;
}
