# Rotations as fast as they go, under writers that commit, roll back and prepare: nothing is lost, nothing
# sent that is not committed, and afterwards there is no dead row and no page left. (F29)
#
# An audit, not a proof: what happens between two steps of a rotation happens here once in hundreds of them.
# The proof that their order is right is in model/.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

use constant CLIENTS      => 8;
use constant TRANSACTIONS => 400 * ($ENV{OUTBOX_TEST_ROUNDS} // 1);    # of each client

my $pipe = Outbox::Pipeline->start(
	worker => 0,
	relay_conf => "max_connections = 60\nmax_prepared_transactions = ${\ CLIENTS }\nautovacuum = off\nfsync = off\n");
my ($broker, $node) = ($pipe->broker, $pipe->node);

$broker->declare_queue('q');
$pipe->sql(q(
	CREATE TABLE sent (n bigint);
	CREATE SEQUENCE numbers;
	CREATE EXTENSION pgstattuple;));
$node->wait_relay('idle');

# A message for each row of "sent" that is committed. Half of them are written early, so that their
# table has long ceased to be the current one when they commit.
my $writers = $pipe->write_script('writers', <<'SQL');
\set way random(1, 10)
\set early random(0, 1)
\set wait random(0, 500)
BEGIN;
WITH new AS (INSERT INTO sent SELECT nextval('numbers') RETURNING n)
SELECT outbox.publish('q', to_jsonb(n)) FROM new;
\if :early
SET LOCAL outbox.max_pending_keys = 16;
SELECT outbox.invalidate(VARIADIC array_agg(i::text)) FROM generate_series(1, 16) i;
\sleep :wait us
\endif
\if :way <= 2
ROLLBACK;
\elif :way <= 4
PREPARE TRANSACTION 'client:client_id';
COMMIT PREPARED 'client:client_id';
\elif :way = 5
PREPARE TRANSACTION 'client:client_id';
ROLLBACK PREPARED 'client:client_id';
\elif :way <= 7
SET LOCAL synchronous_commit = off;
COMMIT;
\else
COMMIT;
\endif
SQL
my $rotators = $pipe->write_script('rotators', "SELECT outbox.rotate();\n");

# Emptying a table gives it, its toast table and their indexes new files, whose numbers are counted up.
sub newest_file
{
	return $pipe->sql(q(
		SELECT max(pg_relation_filenode(oid)) FROM pg_class WHERE relnamespace = 'outbox'::regnamespace));
}

sub pgbench
{
	my ($script, @options) = @_;
	return IPC::Run::start(
		[ 'pgbench', '-n', '-f', $script, @options, $node->connstr('blog') ],
		'>', \my $out, '2>', \my $err);
}

my $writing = pgbench($writers, '-c', CLIENTS, '-j', 2, '-t', TRANSACTIONS);
my $rotating = pgbench($rotators, '-T', 600);
my $before = newest_file();
ok($writing->finish, 'every transaction ends as it should');
$rotating->signal('INT');
eval { $rotating->finish };
my $rotations = int((newest_file() - $before) / 4);
note "$rotations rotations";
cmp_ok($rotations, '>=', 20, 'tables were emptied again and again meanwhile');

$node->wait_published(undef, 180);
my %missing = map { $_ => 1 } split /\n/, $pipe->sql('SELECT n FROM sent');
my $committed = keys %missing;
my ($received, $untrue) = (0, 0);
my %seen;
while (my $message = $broker->get_message('q'))
{
	my $n = $message->{json};
	$received++;
	$untrue++ unless delete $missing{$n} || $seen{$n};
	$seen{$n} = 1;
}
note "$committed committed, $received received";
is(scalar(keys %missing), 0, 'no message is lost');
is($untrue, 0, 'none is sent that was not committed');
is($received, $committed, 'none is sent twice while nothing fails');

# With all of it gone, nothing is left for vacuum: rows and toasted values of events, positions, ticks.
$pipe->sql(q(SELECT outbox.publish('q', to_jsonb(repeat(md5(i::text), 500) || i)) FROM generate_series(1, 20) i));
$node->wait_published;
poll_until('the last rotation', sub {
	$pipe->sql('SELECT outbox.rotate()');
	$pipe->sql(q(SELECT count(*) FROM outbox.rotation WHERE state = 'empty')) == 2;
});
my $relations = q(
	SELECT c.oid FROM pg_class c JOIN pg_class t ON c.oid IN (t.oid, t.reltoastrelid)
	WHERE t.relnamespace = 'outbox'::regnamespace AND t.relkind = 'r' AND t.relname <> 'parked');
is($pipe->sql(qq(SELECT coalesce(sum((pgstattuple(oid)).dead_tuple_count), 0) FROM ($relations) r)), 0,
	'no dead row, toasted values included');
is($pipe->sql(qq(
	SELECT coalesce(sum(n_tup_upd + n_tup_del), 0) FROM pg_stat_all_tables WHERE relid IN ($relations))), 0,
	'no row was ever updated or deleted');
cmp_ok($pipe->sql('SELECT sum(bytes) FROM outbox.rotation'), '<', 150_000, 'the outbox is empty');
unlike(slurp_file($node->logfile), qr/ERROR|PANIC|TRAP/, 'no error in the log');
$pipe->finish;
