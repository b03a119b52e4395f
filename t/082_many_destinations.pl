# Destinations are without number: a thousand are shown by name, further parked ones as one row, and all of
# them are tried again.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

use constant QUEUES => 1040;

my $pipe = Outbox::Pipeline->start(worker => 0);
my ($broker, $node) = ($pipe->broker, $pipe->node);

$node->wait_relay('idle');
$pipe->sql('SELECT outbox.publish(\'q\' || n, jsonb_build_object(\'n\', n)) FROM generate_series(1, ' . QUEUES . ') AS n');
$pipe->sql('SELECT outbox.publish(\'q\' || n, jsonb_build_object(\'n\', -n)) FROM generate_series(1, ' . QUEUES . ') AS n');
$node->wait_published;
is($pipe->sql(q(SELECT count(*) FROM outbox.dead_letter)), 2 * QUEUES, 'all wait');
is($pipe->sql(q(SELECT count(*) FROM outbox.destination WHERE routing_key IS NOT NULL AND state = 'parked')), 1000, 'a thousand are parked by name');
is($pipe->sql(q(SELECT parked FROM outbox.destination WHERE routing_key IS NULL AND exchange IS NULL)), 2 * (QUEUES - 1000), 'the others share a row');
is($pipe->sql(q(SELECT sum(parked) FROM outbox.destination)), 2 * QUEUES, 'none is counted twice');
like($pipe->sql(q(SELECT last_error FROM outbox.destination WHERE routing_key IS NULL)), qr/NO_ROUTE/, 'with the last refusal');
is($pipe->sql(q(SELECT count(*) FROM outbox.dead_letter WHERE reason LIKE '%NO_ROUTE%' AND next_attempt_at IS NOT NULL)), 2 * QUEUES,
	'each event has its reason and a next attempt');
my $row = $node->row('blog', q(SELECT * FROM outbox.destination WHERE routing_key = 'q1' LIMIT 1));
ok($row, 'one by name') or diag explain $row;

# A new destination is not taken for one of the crowd.
$broker->declare_queue('open');
$pipe->sql(q(SELECT outbox.publish('open', '{"n": 0}')));
is($broker->wait_message('open')->{json}{n}, 0, 'a destination that nobody has parked flows');

# Those of the crowd that can be delivered are, whatever the others do.
my @crowd = split /\n/, $pipe->sql(q(
	SELECT DISTINCT l.routing_key FROM outbox.dead_letter AS l
	 WHERE NOT EXISTS (SELECT FROM outbox.destination AS d WHERE d.routing_key = l.routing_key)
	 ORDER BY 1));
is(scalar @crowd, QUEUES - 1000, 'the crowd') or diag "@crowd";
my ($lucky) = $crowd[-1];
$broker->declare_queue($lucky);
my $n = $broker->wait_message($lucky)->{json}{n};
is($broker->wait_message($lucky)->{json}{n}, -$n, "$lucky of the crowd gets its messages, in order");
$pipe->sql(qq(SELECT outbox.publish('$lucky', '{"n": 5}')));
is($broker->wait_message($lucky)->{json}{n}, 5, 'and a new one');

# After a restart the same.
$node->restart;
poll_until('the crowd to be there again', sub {
	$pipe->sql(q(SELECT sum(parked) FROM outbox.destination)) eq 2 * (QUEUES - 1) });
pass('after a restart all are known again');
$broker->declare_queue("q$_") for 1 .. QUEUES;
$pipe->sql(q(SELECT outbox.retry_dead_letters('', 'q1')));
poll_until('all to be delivered', sub { $pipe->sql('SELECT count(*) FROM outbox.dead_letter') == 0 }, 120);
my $wrong = 0;
for my $queue (grep { $_ ne $lucky } map { "q$_" } 1 .. QUEUES)
{
	my ($number) = $queue =~ /(\d+)/;
	my @got;
	while (my $message = $broker->get_message($queue)) { push @got, $message->{json}{n} }
	$wrong++ unless "@got" eq "$number -$number";
}
is($wrong, 0, 'each queue has its two messages, in order, each once');
poll_until('nothing to be parked', sub { $pipe->sql(q(SELECT count(*) FROM outbox.destination WHERE state = 'parked')) == 0 });
pass('no destination is parked any more');
is($pipe->sql('SELECT count(*) FROM outbox.destination'), 1000, 'a thousand are remembered');

$pipe->finish;
