# Who can hinder a rotation: whatever has a lock on a table of the outbox, and then that table only.
# It blocks no writer, no window and no other table, and outbox.rotation names it. (F26, F27, F28)
#
# Writers are the judges: they give up as soon as they wait for any lock for long.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

use constant WRITER_LIMIT => '2s';    # for a lock that a writer needs; it takes milliseconds

my $pipe = Outbox::Pipeline->start(worker => 0, relay_conf => "max_prepared_transactions = 5\n");
my ($broker, $node) = ($pipe->broker, $pipe->node);
my $written = 0;

$broker->declare_queue('q');
$broker->declare_queue('big');
$node->wait_relay('idle');

# ---- what others do ------------------------------------------------------------------------------

# outbox.rotation as a hash by table; arrays as text.
sub rotation
{
	my %rows;
	for my $line (split /\n/, $pipe->sql(q(
		SELECT relation, state, blocked_since IS NOT NULL, coalesce(blocking_pids::text, ''),
		       coalesce(blocking_gids::text, ''), blocking_since IS NOT NULL
		FROM outbox.rotation)))
	{
		my ($table, $state, $blocked, $pids, $gids, $since) = split /\|/, $line, -1;
		$rows{$table} = { state => $state, blocked => $blocked eq 't', pids => $pids,
			gids => $gids, since => $since eq 't' };
	}
	return \%rows;
}

sub tables_in
{
	my ($state) = @_;
	my $rows = rotation();
	return grep { $rows->{$_}{state} eq $state } sort keys %$rows;
}

sub current { return (tables_in('current'))[0] }

# Asks for rotations until the condition holds.
sub rotate_until
{
	my ($what, $condition) = @_;
	poll_until($what, sub { $pipe->sql('SELECT outbox.rotate()'); $condition->() });
	return;
}

# Commits messages, waiting for nobody, and sees them arrive.
sub write_and_see
{
	my ($label) = @_;
	my $number = ++$written;
	my $status = $node->psql('blog', qq(
		SET synchronous_commit = local;
		SET lock_timeout = '${\ WRITER_LIMIT }';
		SELECT outbox.publish('q', '$number');
		SELECT outbox.publish('big', to_jsonb((SELECT string_agg(md5(n::text), '')
		                                       FROM generate_series(1, 1000) n)))));
	is($status, 0, "$label: no writer waits");
	is($broker->wait_message('q')->{json}, $number, "$label: no window waits");
	$node->wait_published;
	return;
}

# Its events are gone. (It may be current again by then.)
sub was_emptied { return $pipe->sql("SELECT count(*) FROM $_[0] WHERE xid >= '3'") == 0 }

sub all_but_current_are_empty { return tables_in('empty') == 2 }

# While $hinder's session, or whatever it made, holds something of the current table. Options: named
# (what outbox.rotation says of it), hinder, release.
sub hinders_one_table
{
	my ($label, %arg) = @_;

	rotate_until('the outbox to be empty', \&all_but_current_are_empty);
	# The last rotation that was asked for may come behind the first write; then the second one stays.
	write_and_see("$label, before");
	write_and_see("$label, once more before") if was_emptied(current());
	my $held = current();
	my $holder = $arg{hinder}->($held);
	rotate_until("$label: another table to be current", sub { current() ne $held });
	my $row;
	rotate_until("$label: the relay to meet it",
		sub { $row = rotation()->{$held}; $row->{state} eq 'waiting' });
	ok($row->{blocked} && $row->{since}, "$label: since when is known");
	is_deeply([ @$row{qw(pids gids)} ], $arg{named}->($holder), "$label: outbox.rotation names it");

	# Twice: the two other tables take turns.
	for my $turn (1, 2)
	{
		write_and_see("$label, turn $turn");
		my $before = current();
		rotate_until("$label: a rotation of the others",
			sub { was_emptied($before) });
	}
	is(rotation()->{$held}{state}, 'waiting', "$label: the others rotate, this one is left alone");
	is($pipe->sql('SELECT count(*) FROM pg_locks WHERE NOT granted'), 0, "$label: nobody waits for a lock");

	$arg{release}->($holder);
	rotate_until("$label: its table to be emptied", sub { rotation()->{$held}{state} eq 'empty' });
	ok(!rotation()->{$held}{blocked}, "$label: once it is gone its table is emptied");
	return;
}

# One that does not hinder at all.
sub hinders_nothing
{
	my ($label, $begin, $end) = @_;
	my $holder = $begin->();
	write_and_see($label);
	my $before = current();
	rotate_until("$label: a rotation",
		sub { was_emptied($before) });
	ok(1, "$label: rotation goes on");
	$end->($holder);
	return;
}

# A session in a transaction.
sub session
{
	my ($sql) = @_;
	my $psql = $node->background_psql('blog');
	my $pid = $psql->query_safe("BEGIN; $sql; SELECT pg_backend_pid()");
	$pid =~ s/.*\n//s;
	return { psql => $psql, pid => $pid };
}

sub end_session
{
	my ($session, $sql) = @_;
	$session->{psql}->query_safe($sql // 'ROLLBACK');
	$session->{psql}->quit;
	return;
}

sub names_its_pid { return [ "{$_[0]{pid}}", '' ] }

# ---- who hinders one table -----------------------------------------------------------------------

hinders_one_table(
	'a reader of the table (pg_dump)',
	hinder  => sub { session("LOCK TABLE $_[0] IN ACCESS SHARE MODE") },
	named   => \&names_its_pid,
	release => \&end_session);

hinders_one_table(
	'a reader of the toast table',
	hinder => sub {
		my $toast = $pipe->sql("SELECT reltoastrelid::regclass FROM pg_class WHERE oid = '$_[0]'::regclass");
		return session("DO 'BEGIN PERFORM count(*) FROM $toast; END'");
	},
	named   => \&names_its_pid,
	release => \&end_session);

hinders_one_table(
	'an idle transaction that has written an event',
	hinder => sub {
		return session(q(
			SET LOCAL outbox.max_pending_keys = 16;
			DO 'BEGIN PERFORM outbox.invalidate(i::text) FROM generate_series(1, 16) i; END'));
	},
	named   => \&names_its_pid,
	release => sub { end_session($_[0], 'COMMIT') });

hinders_one_table(
	'a prepared transaction with an event',
	hinder => sub {
		$pipe->sql(q(BEGIN; SELECT outbox.publish('late', '"prepared"'); PREPARE TRANSACTION 'forgotten'));
	},
	named   => sub { [ '', '{forgotten}' ] },
	release => sub {
		$broker->declare_queue('late');
		$pipe->sql(q(COMMIT PREPARED 'forgotten'));
		is($broker->wait_message('late')->{json}, 'prepared', 'whose event comes with COMMIT PREPARED');
		$node->wait_published;
	});

# As autovacuum would, were it not switched off there: slowly, with a lock on the toast table alone.
hinders_one_table(
	'a vacuum of the toast table',
	hinder => sub {
		my $toast = $pipe->sql("SELECT reltoastrelid::regclass FROM pg_class WHERE oid = '$_[0]'::regclass");
		# A tenth of a second for each page, of which there are a thousand.
		$pipe->sql(q(SELECT outbox.publish_bytes('', 'big', decode((
			SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 50000)), 'hex'), 'x')
			FROM generate_series(1, 10)));
		my $vacuum = IPC::Run::start(
			[ 'psql', '-XAtq', '-d', $node->connstr('blog'), '-c', 'SET vacuum_cost_delay = 100',
				'-c', 'SET vacuum_cost_limit = 1', '-c', "VACUUM $toast" ],
			'>', \my $out, '2>', \my $err);
		my $pid = poll_until('the vacuum',
			sub { $pipe->sql(q(SELECT pid FROM pg_stat_progress_vacuum)) });
		return { pid => $pid, run => $vacuum };
	},
	named   => \&names_its_pid,
	release => sub {
		$pipe->sql("SELECT pg_cancel_backend($_[0]{pid})");
		$_[0]{run}->finish;
	});

# ---- who does not --------------------------------------------------------------------------------

hinders_nothing('a held snapshot',
	sub { session('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM blogs') },
	\&end_session);
hinders_nothing('an idle transaction with a transaction id',
	sub { session('SELECT pg_current_xact_id()') }, \&end_session);
hinders_nothing('a prepared transaction without events',
	sub { $pipe->sql(q(BEGIN; CREATE TABLE other (); PREPARE TRANSACTION 'other')) },
	sub { $pipe->sql(q(ROLLBACK PREPARED 'other')) });
hinders_nothing('a synchronous standby that is away',
	sub {
		$node->safe_psql('postgres', q(ALTER SYSTEM SET synchronous_standby_names = 'nobody'));
		$node->reload;
		poll_until('the setting', sub { $pipe->sql('SHOW synchronous_standby_names') eq 'nobody' });
	},
	sub {
		is($pipe->sql(q(SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep')), 0,
			'nobody waits for it');
		$node->safe_psql('postgres', q(SET synchronous_commit = local;
			ALTER SYSTEM RESET synchronous_standby_names));
		$node->reload;
	});

# ---- all tables at once --------------------------------------------------------------------------

# Then there is none to change to: the current one grows, and everything flows.
my $dump = session('LOCK TABLE outbox.event_1, outbox.event_2, outbox.event_3 IN ACCESS SHARE MODE');
write_and_see("a reader of all tables, turn $_"), $pipe->sql('SELECT outbox.rotate()') for 1 .. 4;
rotate_until('two tables to wait for it', sub {
	return 2 == grep { $_->{state} eq 'waiting' && $_->{pids} eq "{$dump->{pid}}" } values %{ rotation() };
});
pass('a reader of all tables: both that are not current wait for it');
end_session($dump);
rotate_until('all to be empty', \&all_but_current_are_empty);

# An exclusive lock is an operator's, who means it. Looking at it does not wait.
my ($empty) = tables_in('empty');
my $operator = session("LOCK TABLE $empty");
is($node->psql('blog', q(SET lock_timeout = '1s'; SELECT count(*) FROM outbox.rotation)), 0,
	'outbox.rotation does not wait for an exclusive lock');
is($pipe->sql("SELECT bytes IS NULL FROM outbox.rotation WHERE relation = '$empty'::regclass"), 't',
	'but does not know the size of that table');
end_session($operator);

# A transaction that rolls back leaves rows behind, which a rotation clears away.
$pipe->sql(q(
	BEGIN;
	SET LOCAL outbox.max_pending_keys = 16;
	SELECT count(outbox.invalidate('rolled back ' || i)) FROM generate_series(1, 10000) i;
	ROLLBACK));
cmp_ok($pipe->sql('SELECT max(bytes) FROM outbox.rotation'), '>', 131_072, 'rows of a transaction that rolled back');
rotate_until('them to be gone', sub { $pipe->sql('SELECT max(bytes) FROM outbox.rotation') < 65_536 });

unlike(slurp_file($node->logfile), qr/ERROR(?!:  canceling statement due to user request)|PANIC|TRAP/,
	'no error in the log');
$pipe->finish;
