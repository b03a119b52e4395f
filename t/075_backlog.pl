# A backlog is cut into windows by the ticks that writers leave behind: memory does not grow with
# it, nothing is lost, and what belongs to one row stays in order.

use strict;
use warnings;
use Digest::SHA ();
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

use constant EVENTS    => 40_000;
use constant TICK_IDS  => 8192;
use constant MESSAGES  => 300;    # each of a transaction of its own, spread over the backlog

my $pipe = Outbox::Pipeline->start(worker => 0);
my ($broker, $node) = ($pipe->broker, $pipe->node);

# What CREATE EXTENSION writes down as published must leave out who is still at work; above all
# where nobody with a later transaction id has ended yet.
$pipe->sql('DROP EXTENSION pg_outbox CASCADE');
my $early = $node->background_psql('blog');
my $xid = $early->query_safe('BEGIN; SELECT pg_current_xact_id()');
$pipe->sql('CREATE EXTENSION pg_outbox');
is($pipe->sql(qq(
	SELECT pg_visible_in_snapshot('$xid', snapshot) FROM outbox.event_1 WHERE xid = '0'
	ORDER BY id LIMIT 1)), 'f', 'the first position does not contain a transaction in progress');
$broker->declare_queue('q');
$early->query_safe(q(SELECT outbox.publish('q', '"early"')));
$early->query_safe('COMMIT');
is($broker->wait_message('q')->{json}, 'early', 'which is published when it commits');
$early->quit;

$node->wait_published;
$broker->stop;

# One transaction is open all the time: its ids lie before and within the first windows.
my $open = $node->background_psql('blog');
$open->query_safe(q(BEGIN; SELECT outbox.publish('q', '"open"'); SELECT pg_current_xact_id()));
my $half = EVENTS / 2;
my $every = int EVENTS / MESSAGES;
$pipe->sql(qq(
	DO \$\$
	BEGIN
		FOR i IN 1 .. $half LOOP
			PERFORM outbox.invalidate('k:' || i);
			IF i % $every = 0 THEN PERFORM outbox.publish('q', to_jsonb(i)); END IF;
			COMMIT;
		END LOOP;
	END \$\$));
$open->query_safe('COMMIT');
$open->quit;
$pipe->sql(qq(
	DO \$\$
	BEGIN
		FOR i IN $half + 1 .. ${\ EVENTS } LOOP
			PERFORM outbox.invalidate('k:' || i);
			IF i % $every = 0 THEN PERFORM outbox.publish('q', to_jsonb(i)); END IF;
			COMMIT;
		END LOOP;
	END \$\$));
cmp_ok($pipe->sql(q(
	SELECT count(*) FROM (TABLE outbox.event_1 UNION ALL TABLE outbox.event_2
	                      UNION ALL TABLE outbox.event_3) t WHERE xid = '1')),
	'>=', int(EVENTS / TICK_IDS), 'writers leave ticks behind, also while no relay can work');
is($pipe->sql(q(SELECT count(*) FROM outbox.event WHERE xid < '3')), 0, 'which the view does not show');
cmp_ok(abs($node->pending / (EVENTS + MESSAGES) - 1), '<', 0.1, 'outbox.lag estimates how much is pending');

$broker->start;
$node->wait_published;
is($node->pending, 0, 'all is published');
my @seen = map { $broker->wait_message('q')->{json} } 1 .. MESSAGES + 1;
is(scalar(grep { $_ eq 'open' } @seen), 1, 'the transaction that was open all the time is there, once');
my @numbers = grep { $_ ne 'open' } @seen;
is_deeply(\@numbers, [ map { $_ * $every } 1 .. MESSAGES ], 'and all others, in order');
is($broker->queue_length('q'), 0, 'and nothing else');

# A transaction larger than many ticks is one window, read in pieces.
$pipe->sql(q(SELECT outbox.publish('q', to_jsonb(i)) FROM generate_series(1, 20000) i));
$node->wait_published;
is($broker->queue_length('q'), 20_000, 'a transaction of 20,000 messages');

# One window in which transactions with smaller ids have later events: of one that is nearly in order and one
# that is not. Small rows are read once, from the index in the order of transactions.
$broker->purge_queue('q');
$pipe->sql('SELECT outbox.pause()');
$node->wait_relay('paused');
my ($few, $many) = map { $node->background_psql('blog') } 1 .. 2;
my $next = 1;
for my $case ([ $few, 1 ], [ $many, 300 ])
{
	my ($session, $count) = @$case;
	$session->query_safe('BEGIN; SELECT pg_current_xact_id()');
	my ($from, $to) = ($next, $next + 299);
	$pipe->sql(qq(DO \$\$ BEGIN FOR i IN $from .. $to LOOP PERFORM outbox.publish('q', to_jsonb(i)); COMMIT; END LOOP; END \$\$));
	($from, $to) = ($to + 1, $to + $count);
	$session->query_safe("SELECT outbox.publish('q', to_jsonb(i)) FROM generate_series($from, $to) i");
	$session->query_safe('COMMIT');
	$session->quit;
	$next = $to + 1;
}
is($pipe->sql(q(
	SELECT count(*) FROM (TABLE outbox.event_1 UNION ALL TABLE outbox.event_2
	                      UNION ALL TABLE outbox.event_3) t
	WHERE xid = '1' AND id > (SELECT max(id) FROM outbox.event WHERE payload = '1'))), 0, 'no tick cuts it');
$pipe->sql('SELECT outbox.resume()');
$node->wait_published;
is(join(' ', map { $broker->wait_message('q')->{json} } 1 .. $next - 1), join(' ', 1 .. $next - 1),
	'events come in the order of their ids, whatever the order of their transactions');

# One of more events than the relay remembers: rows of 16 keys each, of one transaction.
$broker->purge_queue('cache-invalidation');
$pipe->sql(q(SET outbox.max_pending_keys = 16;
	SELECT outbox.invalidate('n:' || i) FROM generate_series(1, 16 * 70000) i));
$node->wait_published;
my @keys = map { @{ $broker->wait_message('cache-invalidation')->{json}{keys} } }
  1 .. $broker->queue_length('cache-invalidation');
is(scalar(@keys), 16 * 70_000, 'a transaction of 70,000 rows');
is((grep { $keys[$_] ne 'n:' . ($_ + 1) } 0 .. $#keys)[0], undef, 'whose keys come in order');

# Events whose window is open stay where they were seen, unless somebody rewrites the table: one of a smaller
# transaction id comes to lie before them all.
$broker->purge_queue('q');
my $smaller = $node->background_psql('blog');
$smaller->query_safe('BEGIN; SELECT pg_current_xact_id()');
$broker->freeze;
$pipe->sql(q(SELECT outbox.publish_bytes('', 'q', sha256(i::text::bytea) ||
	convert_to(repeat('x', 500000), 'UTF8'), 'text/plain') FROM generate_series(1, 30) i));
$node->wait_relay('publishing');
$smaller->query_safe(q(SELECT outbox.publish('q', '"smaller"')));
$smaller->query_safe('COMMIT');
$smaller->quit;
$pipe->sql(q(DO $$ BEGIN FOR i IN 1 .. 2000 LOOP PERFORM outbox.invalidate('later:' || i); COMMIT; END LOOP; END $$));
my $places = q(SELECT md5(string_agg(id || ctid::text, ',' ORDER BY id)) FROM outbox.event_%s WHERE xid > '2');
my ($table) = grep { $pipe->sql("SELECT count(*) FROM outbox.event_$_ WHERE body IS NOT NULL") > 0 } 1 .. 3;
my $before = $pipe->sql(sprintf $places, $table);
$pipe->sql("CLUSTER outbox.event_$table USING event_${table}_xid_id_idx");
isnt($pipe->sql(sprintf($places, $table)), $before, 'a table is rewritten while its events are being read');
$broker->thaw;
$node->wait_published;
my $expected = join ' ', map { Digest::SHA::sha256_hex($_) } 1 .. 30;
# A broker that was frozen for long on a busy machine gets some of them twice.
my (@bodies, %got);
poll_until('them all', sub {
	my $message = $broker->get_message('q') or return 0;
	push @bodies, $message->{body} unless $got{ $message->{body} }++;
	return @bodies == 31;
});
is(join(' ', map { unpack 'H64', $_ } @bodies[ 0 .. 29 ]), $expected, 'each is found in its new place');
is($bodies[30], '"smaller"', 'and the one that came later');

$pipe->finish;
