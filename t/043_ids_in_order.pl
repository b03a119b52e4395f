# Whoever changes a row later has the greater id, however many sessions take ids at once and blocks of them
# run out between; no id is given twice, also after a crash.

use strict;
use warnings;
use Outbox::Postgres;
use PostgreSQL::Test::Utils;
use Test::More;

use constant CLIENTS => 8;
use constant TRANSACTIONS => 500; # of each; 62 blocks of 64
use constant CRASHES => 2;

my $node = Outbox::Postgres->create('ids', conf => "outbox.run_on = 'nowhere'\nsynchronous_commit = off\n");
$node->start;
$node->create_blog;
$node->safe_psql('blog', q(
	CREATE TABLE counters (name int PRIMARY KEY, n int NOT NULL);
	INSERT INTO counters SELECT name, 0 FROM generate_series(0, 2) AS name));

# Three rows, so that some wait for each other and some do not.
my $script = "$ENV{TESTDIR}/changes.sql";
append_to_file($script, <<'SQL');
\set row random(0, 2)
\set way random(1, 10)
BEGIN;
UPDATE counters SET n = n + 1 WHERE name = :row
	RETURNING outbox.publish('q', jsonb_build_array(name, n));
\if :way = 1
ROLLBACK;
\else
COMMIT;
\endif
SQL

sub write_events
{
	my ($output, $errors);
	IPC::Run::run(
		[ 'pgbench', '-n', '-f', $script, '-c', CLIENTS, '-j', 2, '-t', TRANSACTIONS, $node->connstr('blog') ],
		'>', \$output, '2>', \$errors) or die "pgbench: $errors";
	return;
}

for my $crash (0 .. CRASHES)
{
	if ($crash > 0)
	{
		$node->safe_psql('blog', q(SELECT outbox.publish('other', '"flushed"')));
		$node->stop('immediate');
		$node->start;
	}
	my $changes = q(SELECT id, payload ->> 0 AS row, (payload ->> 1)::int AS n
		FROM outbox.event WHERE routing_key = 'q');
	my $count = "SELECT count(*) FROM ($changes) AS c";
	my $before = $node->safe_psql('blog', $count);
	write_events();
	cmp_ok($node->safe_psql('blog', $count) - $before, '>', CLIENTS * TRANSACTIONS / 2, "crash $crash: there are events");
	is($node->safe_psql('blog', qq(
		SELECT * FROM (SELECT *, lag(n) OVER (PARTITION BY row ORDER BY id) AS before FROM ($changes) AS c) AS c
		 WHERE before >= n LIMIT 5)), '', 'ids follow the changes of each row');
	is($node->safe_psql('blog', 'SELECT id FROM outbox.event GROUP BY id HAVING count(*) > 1 LIMIT 5'),
		'', 'no id is given twice');
}
$node->stop;
done_testing();
