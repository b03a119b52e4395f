# outbox.pause(): from the commit of the call nothing is published, across restarts, until resume().

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $pipe = Outbox::Pipeline->start(worker => 0);
my ($broker, $node) = ($pipe->broker, $pipe->node);

$broker->declare_queue('q');
$node->wait_relay('idle');
$pipe->sql(q(BEGIN; SELECT outbox.pause('never'); ROLLBACK));
$pipe->sql(q(SELECT outbox.publish('q', '1')));
is($broker->wait_message('q')->{json}, 1, 'a pause that is rolled back is none');
$node->wait_published; # or it would be sent again after the pause

$pipe->sql(q(SELECT outbox.pause('the broker moves house')));
my $row = $node->wait_relay('paused');
is($row->{last_error}, 'outbox.pause(): the broker moves house', 'paused, and the view says why');
$pipe->sql(q(SELECT outbox.publish('q', '2')));
is($pipe->sql(q(SELECT outbox.wait_published('1 s'))), 'f', 'nothing is published');
is($node->pending, 1, 'the event waits');
is($node->lag->{relay_state}, 'paused', 'outbox.lag says so too');
is($broker->queue_length('q'), 0, 'the queue is empty');

$node->restart;
$node->wait_relay('paused');
pass('a restart changes nothing');
$pipe->sql(q(SELECT outbox.restart_relay()));
$node->wait_relay('paused');
pass('nor does another relay');

$pipe->sql(q(SELECT outbox.resume()));
is($broker->wait_message('q')->{json}, 2, 'resume: what waited is published');
$node->wait_published;
is($node->pending, 0, 'all of it');

$pipe->sql(q(SELECT outbox.pause()));
is($node->wait_relay('paused')->{last_error}, 'outbox.pause()', 'without a reason');
$pipe->sql(q(SELECT outbox.resume()));
$node->wait_relay('idle');

$pipe->finish;
