# A transaction of any size costs bounded memory, and savepoints cost time in proportion to their number.
#
# What is measured is the backend's own: its memory but for shared buffers, and its CPU time. With
# OUTBOX_TEST_ROUNDS=10 (`make test-long`) it is ten million keys and a hundred thousand savepoints.

use strict;
use warnings;
use IPC::Run;
use Outbox::File;
use Outbox::Postgres;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{OUTBOX_TEST_ROUNDS} // 1;
my $keys = 1_000_000 * $rounds;
my $savepoints = 10_000 * $rounds;
my $parts = 10;             # of the keys: after each one memory is looked at
use constant {
	MAX_GROWTH_KB => 64 * 1024,
	MORE          => 4,     # times as many savepoints
	MAX_RATIO     => 8,     # may take so many times as long; in a square it would be 16
	TRIES         => 3,
	TICKS         => POSIX::sysconf(POSIX::_SC_CLK_TCK()),
};

# Each savepoint that writes early has a transaction id of its own, and PostgreSQL a lock for it.
my $node = Outbox::Postgres->create('pg', conf => join "\n", q(outbox.run_on = 'nowhere'),
	'max_locks_per_transaction = 2000', 'fsync = off', '');
$node->start;
$node->create_blog;

# Runs a script in one session, which tells its figures by `-- memory` and `-- time`.
sub figures
{
	my ($script) = @_;
	$script =~ s{^-- memory$}{\\! awk '/^RssAnon/ { print \$2 }' /proc/\$BACKEND/status}mg;
	$script =~ s{^-- time$}{\\! sed 's/.*) //' /proc/\$BACKEND/stat | cut -d ' ' -f 12,13}mg;
	my $file = write_file("$ENV{TESTDIR}/script.sql", "SELECT pg_backend_pid() AS pid \\gset\n\\setenv BACKEND :pid\n$script");
	my ($output, $errors);
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('blog'), '-f', $file ],
		'>', \$output, '2>', \$errors);
	is($errors, '', 'no errors') or BAIL_OUT($errors);
	return grep { /^[\d ]+$/ } split /\n/, $output;
}

subtest 'memory' => sub {
	my $part = int($keys / $parts);
	my $statements = join '', map {
		my ($from, $to) = ($_ * $part + 1, ($_ + 1) * $part);
		"SELECT count(outbox.invalidate('key:' || n)) \\g /dev/null\n" =~
		  s{ \\g}{ FROM generate_series($from, $to) AS n \\g}r . "-- memory\n"
	} 0 .. $parts - 1;
	my ($before, @after) = figures("SELECT outbox.invalidate('first');\n-- memory\nBEGIN;\n${statements}COMMIT;\n-- memory\n");
	is(scalar @after, $parts + 1, 'measured after each part');
	my ($most) = sort { $b <=> $a } map { $_ - $before } @after;
	cmp_ok($most, '<', MAX_GROWTH_KB, "$keys keys in one transaction: the backend grows by $most kB");
	is($node->safe_psql('blog', q(SELECT count(DISTINCT key) FROM outbox.event, unnest(keys) AS key WHERE key LIKE 'key:%')),
		$keys, 'and every key is recorded');
};

# Keys and nothing else: what tables cost is PostgreSQL's.
my %shape = (
	'savepoints in each other' => sub {
		my ($count) = @_;
		return join '', map { "SAVEPOINT s; SELECT outbox.invalidate('k$_') \\g /dev/null\n" } 1 .. $count;
	},
	'savepoints one after the other' => sub {
		my ($count) = @_;
		return join '', map { "SAVEPOINT s; SELECT outbox.invalidate('k$_') \\g /dev/null\nRELEASE s;\n" } 1 .. $count;
	},
	'EXCEPTION blocks in a loop in another' => sub {
		my ($count) = @_;
		my $inner = $count / 100;
		return qq{DO \$\$
			BEGIN
				FOR i IN 1 .. 100 LOOP
					BEGIN
						FOR j IN 1 .. $inner LOOP
							BEGIN
								PERFORM outbox.invalidate('k' || i || '.' || j);
								IF j % 3 = 0 THEN RAISE division_by_zero; END IF;
							EXCEPTION WHEN division_by_zero THEN
							END;
						END LOOP;
						IF i % 5 = 0 THEN RAISE division_by_zero; END IF;
					EXCEPTION WHEN division_by_zero THEN
					END;
				END LOOP;
			END
			\$\$;\n};
	});

# Seconds of CPU that a transaction takes. With a low limit, so that few write early as well as many.
sub transaction_cpu
{
	my ($statements) = @_;
	my @times = map { my ($user, $system) = split ' '; ($user + $system) / TICKS }
	  figures("SET outbox.max_pending_keys = 1000;\nSELECT outbox.invalidate('first') \\g /dev/null\n-- time\nBEGIN;\n${statements}COMMIT;\n-- time\n");
	return $times[1] - $times[0];
}

for my $name (sort keys %shape)
{
	subtest $name => sub {
		my ($few, $many);
		# Others on the machine may spoil one measurement; what is quadratic is so each time.
		for (1 .. TRIES)
		{
			($few, $many) = map { transaction_cpu($shape{$name}->($_)) } $savepoints / MORE, $savepoints;
			note(sprintf '%d: %.2f s, %d: %.2f s', $savepoints / MORE, $few, $savepoints, $many);
			# A clock of 10 ms says little of less.
			$few = 0.05 if $few < 0.05;
			last if $many < MAX_RATIO * $few;
		}
		cmp_ok($many, '<', MAX_RATIO * $few, MORE . ' times as many take about as many times as long');
	};
}

$node->stop('immediate');
done_testing();
