# What is parked in one database stays out of every other one: a subscriber of a publication FOR ALL TABLES, a
# template copy. Such a publication keeps nobody from parking, either.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $pipe = Outbox::Pipeline->start(worker => 0, node => 0);
my $broker = $pipe->broker;
my $node = Outbox::Postgres->create('pg', standby => 1, amqp_url => $broker->url,
	conf => "wal_level = logical\noutbox.declare_topology = off\n");
$node->start;
$node->create_blog($_) for qw(origin replica);

sub sql { return $node->safe_psql($_[0] // 'origin', $_[1]) }

sub waiting
{
	my ($database) = @_;
	return sql($database, q(SELECT string_agg(concat_ws(' ', event_id, routing_key, state, payload, keys::text), ', ' ORDER BY event_id)
		FROM outbox.dead_letter));
}

# ---- a publication FOR ALL TABLES ----------------------------------------------------------------

sql('origin', q(SELECT pg_create_logical_replication_slot('all_tables', 'pgoutput'); CREATE PUBLICATION everything FOR ALL TABLES));
for my $database (qw(origin replica))
{
	my $row = $database eq 'origin' ? 1 : 100;
	sql($database, qq(
		SELECT outbox.publish('$database.' || n, to_jsonb(n)) FROM generate_series(1, 5) AS n;
		INSERT INTO blogs VALUES ($row, 1, 'parked, too')));
	$node->wait_published($database);
}
my $theirs = waiting('replica');
like($theirs, qr/^\S+ replica\.1 retrying 1, .*cache-invalidation retrying \{/, 'events are parked in both databases') or diag $theirs;
is(sql('origin', 'SELECT array_agg(event_id ORDER BY 1) FROM outbox.dead_letter WHERE payload IS NOT NULL'),
	sql('replica', 'SELECT array_agg(event_id ORDER BY 1) FROM outbox.dead_letter WHERE payload IS NOT NULL'), 'under the same ids');
my $connection = $node->connstr . ' dbname=origin';
sql('replica', qq(
	CREATE SUBSCRIPTION following CONNECTION '$connection' PUBLICATION everything
	  WITH (create_slot = false, slot_name = 'all_tables', copy_data = true)));

sub wait_applied
{
	poll_until('tables to be synchronized', sub {
		return sql('replica', q(SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel)) eq 't';
	});
	$node->wait_for_catchup('following', 'replay', $node->lsn('insert'));
	return;
}

wait_applied();
sub theirs_are_there { is(waiting('replica'), $theirs, "$_[0]: the subscriber's parked events are as they were"); return }
theirs_are_there('copied');

# accepted
$broker->declare_queue('origin.1');
is($broker->wait_message('origin.1')->{json}, 1, 'one is accepted');
poll_until('it to be forgotten', sub { waiting('origin') !~ /origin\.1/ });
# discarded
my %id = map { reverse split / / } split /\n/, sql('origin', q(SELECT event_id || ' ' || coalesce(routing_key, '') FROM outbox.dead_letter));
sql('origin', qq(SELECT outbox.discard_dead_letter($id{'origin.2'})));
# tried again by hand, and refused again
sql('origin', qq(SELECT outbox.retry_dead_letter($id{'origin.3'})));
$node->wait_published('origin');
# parked anew
sql('origin', q(SELECT outbox.publish('origin.6', '6')));
$node->wait_published('origin');
# all of a destination
sql('origin', q(SELECT outbox.retry_dead_letters('', 'origin.4')));
like(waiting('origin'), qr/^\d+ origin\.3 retrying 3, \d+ origin\.4 .*origin\.5 .*origin\.6 retrying 6$/, 'and all of that was done');
wait_applied();
theirs_are_there('accepted, discarded, tried again');

# ---- invalidations follow the setting ------------------------------------------------------------

sub set_queue
{
	my ($queue) = @_;
	my $before = $node->relay('origin')->{pid};
	sql('origin', "ALTER DATABASE origin SET outbox.queue = '$queue'; SELECT pg_reload_conf()");
	poll_until('a new relay', sub { my $row = $node->relay('origin'); $row->{pid} && $row->{pid} != $before && $row->{state} eq 'idle' });
	return;
}

# Also while somebody has one in his hands.
sql('origin', q(INSERT INTO blogs VALUES (2, 2, 'another')));
$node->wait_published('origin');
my $first = sql('origin', q(SELECT min(event_id) FROM outbox.dead_letter WHERE keys IS NOT NULL));
my $holder = $node->background_psql('origin');
$holder->query_safe("BEGIN; SELECT outbox.discard_dead_letter($first)");
set_queue('elsewhere');
ok(poll_until('them to follow', sub {
	sql('origin', q(SELECT string_agg(routing_key, ' ' ORDER BY event_id) FROM outbox.dead_letter WHERE keys IS NOT NULL))
	  eq 'cache-invalidation elsewhere' }), 'parked invalidations follow outbox.queue, and the relay waits for nobody');
$holder->query_safe('ROLLBACK');
$holder->quit;
$broker->declare_queue('elsewhere');
my %keys;
poll_until('the keys', sub {
	my $message = $broker->get_message('elsewhere') or return;
	$keys{$_} = 1 for @{ $message->{json}{keys} };
	return $keys{'blog:1'} && $keys{'blog:2'};
});
pass('they arrive there, and so does the one that was held');
poll_until('them to be forgotten', sub { waiting('origin') !~ /\{/ });
wait_applied();
theirs_are_there('sent elsewhere');

# ---- a message that is dead ----------------------------------------------------------------------

sql('origin', q(SELECT outbox.publish('origin.1', '7', NULL, '{"expiration": "7"}')));
sql('replica', q(
	ALTER SUBSCRIPTION following DISABLE;
	ALTER SUBSCRIPTION following SET (slot_name = NONE);
	DROP SUBSCRIPTION following));
sql('origin', q(SELECT pg_drop_replication_slot('all_tables')));

# ---- a template copy -----------------------------------------------------------------------------

my $ours = waiting('origin');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE origin');
$node->wait_relay('copied', 'copy');
is(waiting('copy'), $ours, 'a copy has the parked events');
$node->wait_relay('idle', 'origin');
$broker->declare_queue('origin.5');
is($broker->wait_message('origin.5')->{headers}{'x-outbox-database'}, 'origin', 'the original publishes its own');
poll_until('it to be forgotten', sub { waiting('origin') !~ /origin\.5/ });
is(waiting('copy'), $ours, 'the copy publishes none');
sql('copy', 'SELECT outbox.adopt()');
$node->wait_relay('idle', 'copy');
is(waiting('copy'), '', 'adopted it forgets them');
is($broker->queue_length('origin.5'), 0, 'nothing came twice');
sql('origin', 'DROP EXTENSION pg_outbox CASCADE');
is(sql('origin', q(SELECT count(*) FROM pg_class WHERE relname LIKE 'parked%')), 0, 'DROP EXTENSION takes them along');

unlike(slurp_file($node->logfile), qr/ERROR:(?!.*(?:subscription|replication))/, 'nothing failed');
$node->stop;
$broker->discard;
done_testing();
