# Ids of events are not given twice, also where a crash follows CREATE EXTENSION and wal_level is minimal.

use strict;
use warnings;
use Outbox::Postgres;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Outbox::Postgres->create('ids', conf => "wal_level = minimal\nmax_wal_senders = 0\n");
$node->start;

for my $case ([ own => '' ], [ same => q(SELECT outbox.invalidate('in the same transaction');) ])
{
	my ($database, $more) = @$case;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, "BEGIN; CREATE EXTENSION pg_outbox; $more COMMIT");
	my $last = $node->safe_psql($database, q(
		SELECT outbox.invalidate('before');
		SELECT max(id) FROM outbox.event));
	$node->stop('immediate');
	$node->start;
	my $next = $node->safe_psql($database, q(
		SELECT outbox.invalidate('after');
		SELECT id FROM outbox.event WHERE keys = '{after}'));
	($last, $next) = map { (split /\n/, $_)[-1] } $last, $next;
	cmp_ok($next, '>', $last, "$database: the id after the crash is a new one");
}
$node->stop;
done_testing();
