# Whatever transactions do, what commits is recorded and what rolls back leaves nothing.
#
# Random transactions (t/random_transactions/Generator.pm) run in one session, batch by batch; then
# the rows of the outbox are compared with what a model of each transaction expects. No relay runs:
# nothing but the session's own work is in the outbox.
#
# A batch depends on its seed alone. One that failed says its seed; alone, by hand:
#
#     OUTBOX_TEST_SEED=12345 make test T=t/045_random_transactions.pl

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/random_transactions";
use Generator;
use JSON::PP ();
use Outbox::File;
use Outbox::Postgres;
use PostgreSQL::Test::Utils;
use Test::More;

use constant {
	BATCHES    => 10,
	BATCH_SIZE => 400,
	MAX_SHOWN  => 3,      # transactions of a batch that failed
};

my $json = JSON::PP->new->utf8;
my $node = Outbox::Postgres->create('pg',
	conf => join "\n", q(outbox.run_on = 'nowhere'), 'max_prepared_transactions = 10', 'fsync = off',
	# Statements that fail are part of it.
	'log_min_messages = fatal',
	# Nobody is there to be waited for.
	'lock_timeout = 20s', '');
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE random');
$node->safe_psql('random', 'CREATE EXTENSION pg_outbox');
$node->safe_psql('random', Generator::schema());

my $given = $ENV{OUTBOX_TEST_SEED};
my $first = $given // time;
my $count = defined $given ? 1 : BATCHES * ($ENV{OUTBOX_TEST_ROUNDS} // 1);
run_batch($_) for $first .. $first + $count - 1;

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'no crash');
$node->stop('immediate');
done_testing();

sub run_batch
{
	my ($seed) = @_;
	my $generator = Generator->new($seed);
	my $last_id = begin_batch();
	$generator->generate(BATCH_SIZE);

	my $script = write_file("$ENV{TESTDIR}/batch.sql", $generator->sql);
	# Statements that fail are among them, so psql's words say nothing.
	system_log('sh', '-c', 'exec psql -XAtq -d "$1" -f "$2" >/dev/null 2>"$2.err"',
		'sh', $node->connstr('random'), $script);

	my @problems = problems($generator, $last_id);
	ok(!@problems, "seed $seed: ${\ scalar $generator->models } transactions");
	return unless @problems;
	diag(sprintf '%d transactions of seed %d went wrong; again: OUTBOX_TEST_SEED=%d make test T=t/%s',
		scalar @problems, $seed, $seed, '045_random_transactions.pl');
	diag($_) for grep { defined } @problems[ 0 .. MAX_SHOWN - 1 ];
	return;
}

# Empty tables, and the id after which the batch's events come.
sub begin_batch
{
	$node->safe_psql('random', q(
		SET outbox.enabled = off;
		TRUNCATE t, log, later));
	return $node->safe_psql('random', 'SELECT coalesce(max(id), 0) FROM outbox.event');
}

# For each transaction that went wrong its SQL and what is wrong with it.
sub problems
{
	my ($generator, $last_id) = @_;
	my %events = events($last_id);
	my %logged = map { $_ => 1 } split /\n/, $node->safe_psql('random', 'SELECT number FROM log');
	my @problems;
	for my $model ($generator->models)
	{
		my $number = $model->{number};
		my @rows = @{ delete $events{$number} // [] };
		my @wrong = $model->{committed} ? $model->problems(@rows) : ();
		push @wrong, 'the model is wrong: committed ' . ($logged{$number} // 0)
		  if ($logged{$number} // 0) != ($model->{committed} ? 1 : 0);
		push @problems, join "\n", "transaction $number", @wrong, $model->{sql} if @wrong;
	}
	push @problems, "events of a transaction that was rolled back: ${\ $json->encode(\%events) }"
	  if %events;
	my $wrong = wrong_rows($generator->rows);
	push @problems, "the model is wrong: $wrong" if $wrong;
	return @problems;
}

# number of the transaction -> its events, in the order of their ids; rolled back: "none".
sub events
{
	my ($last_id) = @_;
	my $lines = $node->safe_psql('random', qq(
		SELECT row_to_json(r) FROM (
			SELECT coalesce(l.number::text, 'none') AS number, e.keys, e.patterns,
				   coalesce(e.payload #>> '{}', convert_from(e.body, 'UTF8')) AS message
			  FROM outbox.event e LEFT JOIN log l USING (xid)
			 WHERE e.id > $last_id ORDER BY e.id) r));
	my %events;
	for my $row (map { $json->decode($_) } split /\n/, $lines)
	{
		push @{ $events{ $row->{number} } }, $row;
	}
	return %events;
}

# The watched table, where it is not what the model says: then nothing above means much.
sub wrong_rows
{
	my ($rows) = @_;
	my $expected = join "\n", map { join '|', $_, $rows->{$_}[0] // '', $rows->{$_}[1] }
	  sort { $a <=> $b } keys %$rows;
	my $found = $node->safe_psql('random', 'SELECT * FROM t ORDER BY id');
	return $found eq $expected ? undef : "expected rows\n$expected\nfound\n$found";
}
