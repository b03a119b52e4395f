# The examples of docs/recording.md record what the page says.
#
# Its ```sql blocks run in order, in one session. Behind "-->" stands what the statements since the
# last such line recorded: keys and patterns of each row of the outbox, the routing key of a message.

use strict;
use warnings;
use FindBin;
use Outbox::Postgres;
use PostgreSQL::Test::Utils;
use Test::More;

use constant PAGE => 'docs/recording.md';

# The checkout, or what t/run has copied of it.
my $page = slurp_file("$FindBin::RealBin/../${\ PAGE }");
my (@said, $script);
for my $block ($page =~ /^```sql\n(.*?)^```$/gms)
{
	$script .= q(SELECT coalesce(max(id), 0) AS before FROM outbox.event \gset) . "\n";
	for my $line (split /\n/, $block)
	{
		if ($line =~ /^--> (.*)/)
		{
			push @said, $1;
			$script .= recorded();
			next;
		}
		$script .= "$line\n";
	}
}

# One line of output, marked, then a new start.
sub recorded
{
	return <<'SQL';
SELECT '--> ' || coalesce(string_agg(concat_ws(' ',
		coalesce(keys::text, CASE WHEN patterns IS NOT NULL THEN '{}' END), patterns, routing_key),
	' + ' ORDER BY id), 'nothing')
  FROM outbox.event WHERE id > :before;
SELECT coalesce(max(id), 0) AS before FROM outbox.event \gset
SQL
}

my $node = Outbox::Postgres->create('pg',
	conf => "outbox.run_on = 'nowhere'\nmax_prepared_transactions = 5\nfsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE examples');
$node->safe_psql('examples', 'CREATE EXTENSION pg_outbox');

my ($status, $output, $errors) = $node->psql('examples', $script, on_error_stop => 1);
is($status, 0, 'every example runs') or diag($errors);
my @recorded = $output =~ /^--> (.*)$/mg;
cmp_ok(scalar @said, '>', 20, 'there are examples');
is($recorded[$_], $said[$_], "example ${\ ($_ + 1) }: $said[$_]") for 0 .. $#said;
$node->stop('immediate');
done_testing();
