# A database that is a copy publishes nothing of its original, until outbox.adopt() makes the outbox
# its own.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $pipe = Outbox::Pipeline->start(worker => 0);
my ($broker, $node) = ($pipe->broker, $pipe->node);

sub instance
{
	my ($database) = @_;
	return $node->safe_psql($database, 'SELECT id FROM outbox.instance');
}

# A used outbox with events that wait: the broker is away while it is copied.
$broker->declare_queue('q');
$node->wait_relay('idle');
$pipe->sql(q(SELECT outbox.publish('q', '"before"')));
is($broker->wait_message('q')->{json}, 'before', 'the original publishes');
$node->wait_published; # or it would be sent again
$broker->stop;
$pipe->sql(q(SELECT outbox.publish('q', '"waiting"')));

$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE blog');
is($node->wait_relay('copied', 'copy')->{state}, 'copied', 'CREATE DATABASE ... TEMPLATE makes a copy');
like($node->relay('copy')->{last_error}, qr/outbox\.adopt\(\)/, 'and says what to do');
$node->safe_psql('copy', q(SELECT outbox.publish('q', '"of the copy"')));

$broker->start;
my $first = $broker->wait_message('q');
is($first->{json}, 'waiting', 'the original publishes what waited');
is($first->{headers}{'x-outbox-database'}, 'blog', 'itself');
$node->wait_published;
is($broker->queue_length('q'), 0, 'once');

$node->restart;
is($node->wait_relay('copied', 'copy')->{state}, 'copied', 'a restart changes nothing');
is(instance('copy'), instance('blog'), 'it still has the name of the original');

$node->safe_psql('copy', 'SELECT outbox.adopt()');
$node->wait_relay('idle', 'copy');
isnt(instance('copy'), instance('blog'), 'outbox.adopt() gives it a name of its own');
is($node->pending('copy'), 0, 'and forgets every event recorded before');
is($node->safe_psql('copy', 'SELECT count(*) FROM outbox.event'), 0, 'its tables are empty');
$node->safe_psql('copy', q(SELECT outbox.publish('q', '"new"')));
my $new = $broker->wait_message('q');
is($new->{json}, 'new', 'what is recorded from then on is published');
is($new->{headers}{'x-outbox-instance'}, instance('copy'), 'under the new name');

# Transaction ids of another cluster: the position lies in the future.
$node->safe_psql('copy', q(
	UPDATE outbox.event_1 SET snapshot = '900000000:900000000:' WHERE xid = '0'));
$node->safe_psql('copy', q(
	UPDATE outbox.event_2 SET snapshot = '900000000:900000000:' WHERE xid = '0'));
$node->safe_psql('copy', q(
	UPDATE outbox.event_3 SET snapshot = '900000000:900000000:' WHERE xid = '0'));
$node->stop('immediate');
$node->start;
like($node->wait_relay('copied', 'copy')->{last_error}, qr/future/,
	'a position in the future is not trusted');

# So does a single event of such a transaction: nothing is skipped, and nothing sent when its id comes.
$node->safe_psql('copy', 'SELECT outbox.adopt()');
$node->wait_relay('idle', 'copy');
$node->safe_psql('copy', q(SELECT outbox.pause(); SELECT outbox.publish('q', '"foreign"')));
$node->safe_psql('copy', qq(UPDATE outbox.event_$_ SET xid = '900000000' WHERE payload = '"foreign"')) for 1 .. 3;
$node->safe_psql('copy', q(SELECT outbox.resume()));
like($node->wait_relay('copied', 'copy')->{last_error}, qr/event from the future/, 'nor is an event from there');
is($broker->queue_length('q'), 0, 'it is not sent');

# Rows that a dump brings along are none of ours.
my $rows = $node->safe_psql('blog', q(SELECT count(*) FROM outbox.event_1));
$node->safe_psql('blog', q(
	CREATE TABLE dumped AS TABLE outbox.event_1;
	INSERT INTO dumped SELECT * FROM outbox.event_2;
	INSERT INTO dumped SELECT * FROM outbox.event_3));
for my $number (1 .. 3)
{
	$node->safe_psql('blog', qq(COPY dumped TO '${\ $pipe->dir }/rows'));
	$node->safe_psql('blog', qq(COPY outbox.event_$number FROM '${\ $pipe->dir }/rows'));
}
cmp_ok($node->safe_psql('blog', 'SELECT count(*) FROM dumped'), '>', 0, 'rows of a dump');
is($node->safe_psql('blog', q(SELECT count(*) FROM outbox.event_1)), $rows, '... are not taken in');

# An outbox that never held an event, as in a template, adopts itself.
$node->safe_psql('postgres', 'CREATE DATABASE pattern');
$node->safe_psql('pattern', 'CREATE EXTENSION pg_outbox');
$node->wait_relay('idle', 'pattern');
$node->safe_psql('postgres', 'CREATE DATABASE fresh TEMPLATE pattern');
$node->wait_relay('idle', 'fresh');
isnt(instance('fresh'), instance('pattern'), 'a copy that never held an event adopts itself');

# In template1 itself: every database that is made has it, and a relay of its own.
$node->safe_psql('template1', 'CREATE EXTENSION pg_outbox');
$node->safe_psql('postgres', 'CREATE DATABASE born');
$node->wait_relay('idle', 'born');
isnt(instance('born'), instance('template1'), 'a database made with the extension in template1 adopts itself');
$node->safe_psql('born', q(SELECT outbox.publish('q', '"born"')));
is($broker->wait_message('q')->{headers}{'x-outbox-database'}, 'born', 'and publishes');
$node->safe_psql('postgres', 'CREATE DATABASE born_too');
is($node->backends_like('pg_outbox relay', 'template1'), 0, 'no relay stands in the way in template1');

$pipe->finish;
