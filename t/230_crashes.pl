# Rows F22 to F27 and F33: relay killed or terminated, the server stopped in its tracks, asynchronous
# commits, transactions that stay open or prepared, DROP EXTENSION. What was committed is delivered,
# what was not is not. OUTBOX_TEST_ROUNDS (make test-long) repeats the crashes, at other moments.

use strict;
use warnings;
use Outbox::Audit;
use Outbox::FakeBroker;
use Outbox::Pipeline;
use Outbox::Postgres;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

use constant WOKEN_LIMIT_S => 30;    # by itself the relay looks once a minute

my $rounds = $ENV{OUTBOX_TEST_ROUNDS} // 1;
my $dir = Outbox::Pipeline::work_folder();
my $fake = Outbox::FakeBroker->start(dir => $dir);
# WAL is written by who commits, or by the relay's fence, and by nobody else in time.
my $node = Outbox::Postgres->create('pg', amqp_url => $fake->url, conf =>
	"fsync = on\nmax_prepared_transactions = 5\nwal_writer_delay = '10s'\nwal_writer_flush_after = 0\n");
$node->start;
$node->create_blog;
my $audit = Outbox::Audit->new(node => $node, dir => $dir);
my $seen = 0;

# Compares what was delivered since the last time with what is committed.
sub check
{
	my ($row) = @_;
	$audit->wait_delivered;
	my @confirmed = $fake->confirmed;
	$audit->add_messages(@confirmed[ $seen .. $#confirmed ]);
	$seen = @confirmed;
	$audit->check($row);
	$audit->forget;
	return;
}

# Starts writers and waits until so many of their transactions are committed.
sub begin_writing
{
	my ($at_least, %arg) = @_;
	$audit->write(transactions => 400, %arg);
	poll_until("$at_least transactions", sub { $audit->written >= $at_least });
	return;
}

sub relay_pid { return $node->relay->{pid} }

sub some { my ($limit) = @_; return $rounds > 1 ? int rand $limit : $limit / 4 }

subtest 'F22: the relay is killed' => sub {
	for my $round (1 .. $rounds)
	{
		my $pid = $node->wait_relay([ 'idle', 'publishing' ])->{pid};
		begin_writing(some(300));
		kill 'KILL', $pid;
		$audit->finish(crash => 1);
		poll_until('the server to be back', sub { relay_pid() && relay_pid() != $pid });
		check("F22, round $round");
	}
	like(slurp_file($node->logfile), qr/pg_outbox relay.* was terminated by signal 9/, 'the server restarts, as it must');
};

subtest 'F23: the relay is terminated, again and again' => sub {
	for my $round (1 .. $rounds)
	{
		# Before the tick, after it, with messages under way, before the position is saved: at random.
		$fake->play(confirm => 'multiple', group => 50);
		begin_writing(10);
		my %pids;
		while ($audit->busy || keys %pids < 5)
		{
			my $pid = $node->wait_relay([ 'idle', 'publishing', 'connecting' ])->{pid} or next;
			$pids{$pid} = 1;
			$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
			poll_until('it to leave', sub { !kill 0, $pid });
		}
		$fake->play(confirm => undef, group => undef);
		$audit->finish;
		check("F23, round $round");
		note scalar(keys %pids), ' relays';
	}
};

subtest 'F24: the server stops at once' => sub {
	for my $round (1 .. 2 * $rounds)
	{
		begin_writing(some(300), writers => 3);
		$node->stop('immediate');
		$audit->finish(crash => 1);
		$node->start;
		check("F24, round $round");
	}
};

subtest 'F25: ... with asynchronous commits' => sub {
	for my $round (1 .. 2 * $rounds)
	{
		$node->wait_relay('idle');
		$audit->{may_forget} = 1;
		# A checkpoint may be long ago: what is lost is what nobody wrote to disk.
		begin_writing(some(300), writers => 3, settings => 'SET synchronous_commit = off;');
		$node->stop('immediate');
		$audit->finish(crash => 1);
		$node->start;
		my $left = $audit->written;
		my $ok = grep { $_ eq 'ok' } values %{ $audit->{answers} };
		note "$ok were told ok, $left are left";
		# A cached key may be deleted needlessly; a message of nobody is a lie.
		check_messages("F25, round $round");
		delete $audit->{may_forget};
	}
};

# Keys of a lost asynchronous commit may have gone out.
sub check_messages
{
	my ($row) = @_;
	$audit->wait_delivered;
	my @confirmed = $fake->confirmed;
	$audit->add_messages(@confirmed[ $seen .. $#confirmed ]);
	$seen = @confirmed;
	my %committed = map { $_ => 1 } split /\n/, $node->safe_psql('blog', 'SELECT id FROM audit');
	delete @{ $audit->{keys} }{ grep { !$committed{$_} && !/!$/ } keys %{ $audit->{keys} } };
	$audit->check($row);
	$audit->forget;
	return;
}

subtest 'F26: a transaction stays open' => sub {
	my $old = $node->background_psql('blog');
	$old->query_safe(q(BEGIN; INSERT INTO audit VALUES ('0.1.1'); SELECT outbox.publish('audit', '"0.1.1"'), outbox.invalidate('0.1.1');));
	begin_writing(1);
	$audit->finish;
	$node->wait_published;
	is($node->pending, 0, 'others are not held up');
	my $before = $fake->count('confirmed');
	cmp_ok($before - $seen, '>', 600, '... all of them are delivered');
	$old->query_safe('COMMIT');
	$old->quit;
	$fake->wait_count(confirmed => $before + 1, WOKEN_LIMIT_S);
	check('F26');
};

subtest 'F27: a transaction stays prepared' => sub {
	$node->safe_psql('blog', q(
		BEGIN; INSERT INTO audit VALUES ('0.2.1'); SELECT outbox.publish('audit', '"0.2.1"'), outbox.invalidate('0.2.1');
		PREPARE TRANSACTION 'kept'));
	$node->safe_psql('blog', q(
		BEGIN; INSERT INTO audit VALUES ('0.2.2'); SELECT outbox.publish('audit', '"0.2.2"'), outbox.invalidate('0.2.2');
		PREPARE TRANSACTION 'undone'));
	begin_writing(1);
	$audit->finish;
	$node->wait_published;
	is($node->pending, 0, 'others are not held up, and it is not pending');
	$node->restart;
	$node->wait_relay('idle');
	my $before = $fake->count('confirmed');
	$node->safe_psql('blog', q(ROLLBACK PREPARED 'undone'));
	$node->safe_psql('blog', q(COMMIT PREPARED 'kept'));
	$fake->wait_count(confirmed => $before + 1, WOKEN_LIMIT_S);
	pass('its events come with COMMIT PREPARED, without waiting for the look once a minute');
	check('F27');
};

subtest 'F33: DROP EXTENSION under load' => sub {
	my $pid = relay_pid();
	$audit->write(transactions => 300);
	poll_until('writers to be at work', sub { $audit->written > 20 });
	$fake->play(confirm => 'none');
	$node->wait_relay('publishing');
	my $log = -s $node->logfile;
	my $began = monotonic_s();
	$node->safe_psql('blog', q(SET statement_timeout = '20s'; DROP EXTENSION pg_outbox CASCADE));
	cmp_ok(monotonic_s() - $began, '<', 3, 'it does not wait for the relay');
	$audit->finish(crash => 1);
	poll_until('the relay to leave', sub { !kill 0, $pid });
	is($node->backends_like('pg_outbox relay'), 0, 'which leaves, and no other comes');
	unlike(slurp_file($node->logfile, $log), qr/FATAL|exit code/, '... without a word of failure');
	$fake->play(confirm => undef);
};

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|signal (?!9)\d/, 'no crash but those made');
$node->stop;
done_testing();
