# A destination that does not accept yet is parked, in order, and tried again; every other one flows.
# F11 (unroutable) and F12 (queue full) of the fault matrix.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $pipe = Outbox::Pipeline->start;
my ($redis, $broker, $node) = ($pipe->redis, $pipe->broker, $pipe->node);

# The one row of outbox.destination for a queue.
sub destination
{
	my ($queue, $exchange) = @_;
	return $node->row('blog',
		"SELECT * FROM outbox.destination WHERE routing_key = '$queue' AND exchange = '" . ($exchange // '') . "'");
}

sub wait_destination
{
	my ($queue, $state) = @_;
	return poll_until("$queue to be $state", sub { my $row = destination($queue); $row && $row->{state} eq $state && $row });
}

# Invalidations flow, within a second. Others on the machine may spoil one look at that.
sub flows
{
	my ($what, @ids) = @_;
	my ($gone, $took_s) = (0);
	for my $id (@ids)
	{
		my $began = monotonic_s();
		$pipe->sql("INSERT INTO blogs VALUES ($id, 1, 'after')");
		$gone += $redis->wait_gone("blog:$id");
		$took_s = monotonic_s() - $began;
		last if $took_s < 1;
	}
	ok($gone, $what);
	cmp_ok($took_s, '<', 1, 'without delay');
	return;
}

sub dead_letters { return $pipe->sql("SELECT count(*) FROM outbox.dead_letter WHERE routing_key = '$_[0]'") }

$node->wait_relay('idle');
$redis->set_keys(map { "blog:$_" } 1 .. 9);

# ---- unroutable ----------------------------------------------------------------------------------

$pipe->sql(q(SELECT outbox.publish('emails', '{"n": 1}', '{"h": "x"}', '{"priority": 3}')));
my $row = wait_destination('emails', 'parked');
is($row->{parked}, 1, 'a queue that does not exist is parked');
like($row->{last_error}, qr/NO_ROUTE/, 'with the broker\'s words');
ok($row->{parked_since}, 'and since when');
ok(!$broker->queue_exists('emails'), 'the relay declares no queue of outbox.publish');
cmp_ok($node->relay->{returned}, '>=', 1, 'outbox.relay counts it as returned');

$row = $node->row('blog', 'TABLE outbox.dead_letter');
is($row->{state}, 'retrying', 'the event is in outbox.dead_letter, retrying');
is_deeply([ @$row{qw(payload headers properties)} ], [ { n => 1 }, { h => 'x' }, { priority => 3 } ],
	'with its payload, headers and properties');
like($row->{reason}, qr/NO_ROUTE/, 'the reason');
cmp_ok($row->{attempts}, '>=', 1, 'how often it was tried');
ok($row->{next_attempt_at}, 'and when it will be');

# Others flow, within a second; and what is parked counts neither as pending nor for wait_published.
$pipe->sql(q(SELECT outbox.publish('emails', '{"n": 2}')));
flows('invalidations flow', 1, 4, 5);
$node->wait_published;
is($node->pending, 0, 'parked events are not pending');
is(dead_letters('emails'), 2, 'the next message waits behind the first');

my $attempts = destination('emails') && $pipe->sql(q(SELECT attempts FROM outbox.destination_status() WHERE routing_key = 'emails'));
poll_until('another attempt', sub {
	$pipe->sql(q(SELECT attempts FROM outbox.destination_status() WHERE routing_key = 'emails')) > $attempts });
pass('it is tried again');

# ---- restarts ------------------------------------------------------------------------------------

$node->stop('immediate');
$node->start;
wait_destination('emails', 'parked');
ok(poll_until('both', sub { destination('emails')->{parked} == 2 }), 'after a crash of the server they are still parked');
$pipe->sql(q(SELECT outbox.publish('emails', jsonb_build_object('n', n)) FROM generate_series(3, 100) AS n));
$node->wait_published;
is(dead_letters('emails'), 100, 'more follow them');

$broker->declare_queue('emails');
my @order = map { $broker->wait_message('emails')->{json}{n} } 1 .. 100;
is("@order", join(' ', 1 .. 100), 'once the queue is declared they arrive in order, each once');
$row = wait_destination('emails', 'open');
is($row->{parked}, 0, 'nothing is parked any more');
is(dead_letters('emails'), 0, 'and outbox.dead_letter is empty');
$pipe->sql(q(SELECT outbox.publish('emails', '{"n": 101}')));
is($broker->wait_message('emails')->{json}{n}, 101, 'new messages go their way at once');
is($broker->queue_length('emails'), 0, 'and nothing came twice');
ok($pipe->sql('SELECT pg_relation_size(\'outbox.parked\') > 0'), 'the table was used') or diag('it was not');

# ---- full queue: the broker's nack ---------------------------------------------------------------

$broker->declare_queue('small', arguments => { 'x-max-length' => 5, 'x-overflow' => 'reject-publish' });
$pipe->sql(q(SELECT outbox.publish('small', jsonb_build_object('n', n)) FROM generate_series(1, 50) AS n));
$node->wait_published;
wait_destination('small', 'parked');
cmp_ok($node->relay->{nacked}, '>=', 1, 'a full queue: nacks are counted');
flows('invalidations flow beside a full queue', 2, 6, 7);
@order = map { $broker->wait_message('small')->{json}{n} } 1 .. 50;
is("@order[0 .. 4]", '1 2 3 4 5', 'the first ones were accepted');
is(join(' ', sort { $a <=> $b } @order), join(' ', 1 .. 50), 'as it is emptied the rest arrives, each once');
my @late = @order[10 .. 49];
is("@late", join(' ', sort { $a <=> $b } @late), 'in order from the refusal on');
wait_destination('small', 'open');

# ---- by hand -------------------------------------------------------------------------------------

$pipe->sql(q(SELECT outbox.publish('later', jsonb_build_object('n', n)) FROM generate_series(1, 5) AS n));
$node->wait_published;
my ($first, @more) = split /\n/, $pipe->sql(q(SELECT event_id FROM outbox.dead_letter WHERE routing_key = 'later' ORDER BY 1));
is(scalar @more, 4, 'five wait');
$pipe->sql("SELECT outbox.discard_dead_letter($first)");
is(dead_letters('later'), 4, 'one is discarded');
my ($rc, $out, $error) = $node->psql('blog', "SELECT outbox.discard_dead_letter($first)");
like($error, qr/event $first is not a dead letter/, 'twice is an error');
$pipe->sql("BEGIN; SELECT outbox.discard_dead_letter($more[0]); ROLLBACK");
is(dead_letters('later'), 4, 'a rolled back discard discards nothing');
poll_until('the view to follow', sub { destination('later')->{parked} == 4 });
pass('outbox.destination counts what is left');

# Somebody who holds one of them keeps nobody waiting.
my $holder = $node->background_psql('blog');
$holder->query_safe("BEGIN; SELECT outbox.discard_dead_letter($more[0])");
$broker->declare_queue('later');
poll_until('the others', sub { $broker->queue_length('later') >= 3 });
pass('an open transaction that discards one delays no other');
$holder->query_safe('ROLLBACK');
$holder->quit;
poll_until('later to be empty', sub { dead_letters('later') == 0 });
my @seen = map { $broker->wait_message('later')->{json}{n} } 1 .. 4;
is("@seen", '3 4 5 2', 'and once it is rolled back that one follows, once');
is($broker->queue_length('later'), 0, 'nothing came twice');

$broker->delete_queue('later');
$pipe->sql(q(SELECT outbox.publish('later', jsonb_build_object('n', n)) FROM generate_series(11, 14) AS n));
$node->wait_published;
wait_destination('later', 'parked');
# By now the next try is seconds away; by hand it is not.
my $due = poll_until('a long delay', sub {
	$pipe->sql(q(SELECT next_attempt_at FROM outbox.dead_letter
		 WHERE routing_key = 'later' AND next_attempt_at > clock_timestamp() + interval '3 s' LIMIT 1)) });
$broker->declare_queue('later');
is($pipe->sql(q(SELECT outbox.retry_dead_letters('', 'later'))), 4, 'outbox.retry_dead_letters says how many');
@order = map { $broker->wait_message('later')->{json}{n} } 1 .. 4;
is("@order", '11 12 13 14', 'and they go in order');
is($pipe->sql("SELECT clock_timestamp() < '$due'"), 't', 'at once');
is($pipe->sql(q(SELECT outbox.retry_dead_letters('', 'no.such'))), 0, 'none of a destination nobody knows');

# One alone, out of its order: it is published under the same id and message_id.
$broker->delete_queue('later');
$pipe->sql(q(SELECT outbox.publish('later', jsonb_build_object('n', n)) FROM generate_series(21, 23) AS n));
$node->wait_published;
wait_destination('later', 'parked');
my $last = $pipe->sql(q(SELECT max(event_id) FROM outbox.dead_letter WHERE routing_key = 'later'));
$pipe->sql("SELECT outbox.retry_dead_letter($last)");
$node->wait_published;
ok(poll_until('it to be refused again', sub {
	$pipe->sql("SELECT attempts >= 2 FROM outbox.dead_letter WHERE event_id = $last") eq 't' && dead_letters('later') == 3 }),
	'refused again, with one attempt more');
$broker->declare_queue('later');
$pipe->sql("SELECT outbox.retry_dead_letter($last)");
my %seen;
$seen{ $_->{json}{n} } = $_ for map { $broker->wait_message('later') } 1 .. 3;
is(join(' ', sort keys %seen), '21 22 23', 'all three arrive');
like($seen{23}{message_id}, qr{/$last$}, 'under its own id');
ok(poll_until('them to be forgotten', sub { dead_letters('later') == 0 }), 'none is left');

# ---- the queue of the invalidations --------------------------------------------------------------

is($pipe->worker->stop, 0, 'the worker is stopped');
$broker->delete_queue('cache-invalidation');
$pipe->sql(q(INSERT INTO blogs VALUES (3, 1, 'no queue')));
poll_until('the queue to be declared again', sub { $broker->queue_exists('cache-invalidation') });
my $message = $broker->wait_message('cache-invalidation');
ok((grep { $_ eq 'blog:3' } @{ $message->{json}{keys} }), 'a queue of ours that was deleted is declared again, and nothing is lost');
wait_destination('cache-invalidation', 'open');

# ---- the log -------------------------------------------------------------------------------------

my $log = slurp_file($node->logfile);
my $parks = () = $log =~ /outbox relay parks messages to queue "small"/g;
is($parks, 1, 'one line in the log when a queue is parked');
my $opens = () = $log =~ /outbox relay publishes to queue "small" again/g;
is($opens, 1, 'and one when it is open again');

$pipe->finish;
