# An asynchronous commit is visible before it is on disk. A message is not sent before: whatever the
# broker has been given is still committed after a crash. (Rule 2 of docs/concepts.md.)

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

use constant CRASHES => 5;

# Nobody else writes WAL to disk in time: it is the relay, or nothing.
my $pipe = Outbox::Pipeline->start(
	worker => 0,
	relay_conf => "wal_writer_delay = '10s'\nwal_writer_flush_after = 0\nfsync = on\n");
my ($broker, $node) = ($pipe->broker, $pipe->node);

$broker->declare_queue('q');
$pipe->sql('CREATE TABLE sent (id uuid PRIMARY KEY); CHECKPOINT');
for my $crash (1 .. CRASHES)
{
	$node->wait_relay('idle');
	my $id = $pipe->sql(q(
		SET synchronous_commit = off;
		WITH new AS (INSERT INTO sent SELECT gen_random_uuid() RETURNING id)
		SELECT left(id || outbox.publish('q', to_jsonb(id))::text, 36) FROM new));
	# An older one may come once more: the position is saved lazily.
	poll_until('its message', sub { $broker->wait_message('q')->{json} eq $id });
	$node->stop('immediate');
	$node->start;
	is($pipe->sql("SELECT count(*) FROM sent WHERE id = '$id'"), 1,
		"crash $crash: the message that was sent is committed");
}
$pipe->finish;
