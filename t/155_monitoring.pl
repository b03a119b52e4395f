# What monitoring reads: every metric that the rules, the dashboard and the exporters' files name is
# there, in the worker's /metrics or in outbox.metrics of servers that run; each alert is tested.

use strict;
use warnings;
use File::Basename ();
use HTTP::Tiny;
use JSON::PP ();
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::Process;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = File::Basename::dirname($0) . '/../examples/monitoring';
my ($port, $exporter_port) = (free_port(), free_port());
my $pipe = Outbox::Pipeline->start(worker => 0);
my $node = $pipe->node;
my $http = HTTP::Tiny->new(timeout => 20);

$node->safe_psql('blog', <<'SQL');
CREATE ROLE reporter LOGIN;
GRANT USAGE ON SCHEMA outbox TO reporter;
GRANT EXECUTE ON FUNCTION outbox.report_consumer TO reporter;
CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
SQL
$pipe->{worker} = Outbox::Worker->new(
	dir => $pipe->dir, broker => $pipe->broker, redis => $pipe->redis,
	options => [ "--metrics-listen=127.0.0.1:$port", '--name=cache-1',
		'--report-to=' . $node->connstr('blog') . ' user=reporter' ])->start;

# Something of each kind has happened: a key, a message that is parked, a report of a canary.
$pipe->redis->set_keys('blog:1');
$pipe->sql(q(INSERT INTO blogs VALUES (1, 1, 'x')));
$pipe->sql(q(SELECT outbox.publish('nowhere', '1')));
$pipe->redis->wait_gone('blog:1');
$pipe->sql(q(SELECT outbox.report_consumer('cache-2', 'consuming', 1, 1, 0, 1, 1, NULL, 12.5, 100)));
poll_until('a parked destination, reports, the queue', sub {
	my %seen = map { $_ => 1 } split /\n/, $pipe->sql('SELECT DISTINCT name FROM outbox.metrics WHERE value IS NOT NULL');
	return !grep { !$seen{$_} } qw(pg_outbox_destination_parked_events pg_outbox_consumer_delay_seconds
	  pg_outbox_queue_consumers pg_outbox_consumer_canary_delay_seconds);
});

# ---- what is there ----

my $page = $http->get("http://127.0.0.1:$port/metrics")->{content};
check_with_promtool('the worker\'s /metrics', [ 'check', 'metrics' ], $page);
my %worker = map { $_ => 1 } $page =~ /^(\w+)(?=[ {])/mg;
my %database = map { $_ => 1 } split /\n/, $pipe->sql('SELECT DISTINCT name FROM outbox.metrics');
my %there = (%worker, %database, up => 1);    # up: Prometheus' own

# ---- rules ----

chdir $folder or die "$folder: $!\n";
run_promtool('the alert rules', 'check', 'rules', 'alerts.yml');
run_promtool('the configuration', 'check', 'config', 'prometheus.yml');
run_promtool('the rules\' unit tests', 'test', 'rules', 'alerts.test.yml');
my $rules = slurp_file('alerts.yml');
my $tests = slurp_file('alerts.test.yml');
my @alerts = $rules =~ /- alert: (\w+)/g;
cmp_ok(scalar @alerts, '>=', 20, 'there are alerts');
is_deeply([ grep { $tests !~ /eval_time: \S+\n\s+alertname: $_\n\s+exp_alerts:\n\s+- exp_labels/ } @alerts ],
	[], 'each is seen to fire');
is_deeply([ grep { $tests !~ /alertname: $_, exp_alerts: \[\]/ } @alerts ], [], '... and not to');
check_names('alerts.yml', $rules =~ /expr: (>?.*?)\n\s+(?:for|labels):/sg);

# ---- the dashboard ----

my $dashboard = JSON::PP->new->decode(slurp_file('dashboard.json'));
my @queries = map { $_->{expr} } map { @{ $_->{targets} // [] } } @{ $dashboard->{panels} };
cmp_ok(scalar @queries, '>=', 40, 'the dashboard asks');
check_names('dashboard.json', @queries);
check_names('the dashboard\'s variables',
	map { $_->{query}{query} } grep { ref $_->{query} } @{ $dashboard->{templating}{list} });
s/\$(?:database|instance)/.*/g for @queries;
check_with_promtool('each query of the dashboard is PromQL', [ 'check', 'rules', '/dev/stdin' ],
	"groups:\n  - name: g\n    rules:\n" . join '',
	map { "      - record: a:b$_\n        expr: '$queries[$_]'\n" } 0 .. $#queries);
is_deeply([ grep { ($_->{datasource}{uid} // '') ne '${datasource}' }
		  map { $_, @{ $_->{targets} // [] } } grep { $_->{type} ne 'row' } @{ $dashboard->{panels} } ],
	[], 'every panel asks the data source that was chosen');

# ---- the exporters ----

my $conninfo = $node->connstr('blog') . ' user=monitor sslmode=disable';
my $exporter = Outbox::Process->start(
	name    => 'postgres_exporter',
	command => [ 'prometheus-postgres-exporter', '--extend.query-path=postgres_exporter.yml',
		"--web.listen-address=127.0.0.1:$exporter_port", '--disable-default-metrics',
		'--disable-settings-metrics' ],
	env => { DATA_SOURCE_NAME => $conninfo },
	log => $pipe->dir . '/exporter.log');
my $exported = poll_until('the exporter to answer with our figures', sub {
	my $answer = $http->get("http://127.0.0.1:$exporter_port/metrics");
	return $answer->{success} && $answer->{content} =~ /^pg_outbox_relay_up/m ? $answer->{content} : undef;
});
$exporter->stop;
unlike($exported, qr/^pg_exporter_user_queries_load_error\S* 1/m, 'it could load the file');
like($exported, qr/^pg_exporter_last_scrape_error(?:\{.*\})? 0/m, '... and run each query, as a member of pg_monitor');
my %exported = map { $_ => 1 } $exported =~ /^(pg_outbox_\w+)\{/mg;
# Of no use to an alert, and a label beside one of those names is not possible there.
my @left_out = qw(pg_outbox_info pg_outbox_relay_connected_timestamp_seconds pg_outbox_relay_last_error_timestamp_seconds
  pg_outbox_queue_looked_at_timestamp_seconds);
is_deeply([ sort keys %exported ], [ sort grep { my $name = $_; !grep { $_ eq $name } @left_out } keys %database ],
	'postgres_exporter has every figure of outbox.metrics');
like($exported, qr/^pg_outbox_parked_events\{database="blog",server="[^"]+"\} 1$/m, 'a value');
like($exported, qr/^pg_outbox_consumer_delay_seconds\{database="blog",name="cache-1",quantile="0\.5",server=/m, 'labels');
unlike($exported, qr/^pg_outbox\S* NaN/m, 'nothing that is not known');

# Nothing of the kind is among Debian's packages: each query is tried, and gives what its metrics name.
my $collector = slurp_file('sql_exporter.collector.yml');
my ($metrics, $sql) = $collector =~ /^metrics:\n(.*)^queries:\n(.*)/ms or die "no metrics and queries\n";
my %sql = $sql =~ /- query_name: (\w+)\n    query: \|\n((?:      .*\n)+)/g;
my (%offered, @wrong);
while ($metrics =~ /- metric_name: (\w+)\n.*?key_labels: \[(.*?)\]\n\s+values: \[(\w+)\]\n\s+query_ref: (\w+)/sg)
{
	my ($name, $labels, $value, $query) = ($1, $2, $3, $4);
	my $columns = join ', ', map { qq("$_") } split(/, /, $labels), $value;
	my ($code, $out, $err) = $node->psql('blog', "SET ROLE monitor; SELECT count(*) FROM (SELECT $columns FROM ($sql{$query}) q) r WHERE \"$value\" IS NOT NULL");
	push @wrong, "$name: $out $err" unless $code == 0 && $out > 0;
	$offered{$name} = 1;
}
is_deeply(\@wrong, [], 'each metric of sql_exporter\'s file has its columns, and values');
is_deeply([ sort keys %offered ], [ sort keys %exported ], '... and it offers what the other one does');

$pipe->finish;

# ---- helpers ----

# Every metric in these expressions is one that exists.
sub check_names
{
	my ($what, @expressions) = @_;
	my %named;
	for my $expression (@expressions)
	{
		# Labels and their values, and what stands in by (...), are no metrics.
		(my $rest = $expression) =~ s/\{[^}]*\}|"[^"]*"|\b(?:by|without|on) \([^)]*\)//g;
		$named{$_} = 1 for $rest =~ /\b((?:pg_outbox|outbox_worker|process)_\w+|up)\b/g;
	}
	cmp_ok(scalar keys %named, '>', 0, "$what names metrics");
	is_deeply([ grep { !$there{$_} } sort keys %named ], [], '... each of which exists');
	return;
}

sub run_promtool
{
	my ($what, @arguments) = @_;
	return check_with_promtool($what, \@arguments, '');
}

sub check_with_promtool
{
	my ($what, $arguments, $input) = @_;
	my $said = '';
	IPC::Run::run([ 'promtool', @$arguments ], '<', \$input, '>', \$said, '2>', \$said);
	is($?, 0, "promtool is content with $what") or diag($said);
	return;
}
