# --report-to: a worker's figures in outbox.consumer of a database, which may be away, frozen or
# without rights: no deletion waits for it.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use Outbox::Worker;
use PostgreSQL::Test::Utils;
use Test::More;

my $pipe = Outbox::Pipeline->start(worker => 0);
my ($redis, $broker, $node) = map { $pipe->$_ } qw(redis broker node);

$node->safe_psql('blog', 'CREATE ROLE reporter LOGIN');
my $conninfo = $node->connstr('blog') . ' user=reporter password=secret';
$pipe->{worker} = Outbox::Worker->new(dir => $pipe->dir, broker => $broker, redis => $redis,
	options => [ "--report-to=$conninfo", '--name=first' ])->start;
my $worker = $pipe->worker;

sub consumer { my ($name) = @_; return $node->row('blog', "SELECT * FROM outbox.consumer WHERE name = '$name'") }

sub deleted
{
	my ($what) = @_;
	$redis->set_keys('key');
	my $begin = monotonic_s();
	$broker->publish('cache-invalidation', '{"keys":["key"]}');
	$redis->wait_gone('key');
	cmp_ok(monotonic_s() - $begin, '<', 2, $what);
	return;
}

$worker->wait_log(qr/info consuming/);

# Without rights.
$worker->wait_log(qr/warning report waits reason="ERROR:  permission denied/);
deleted('a database that refuses reports holds up no deletion');
is($node->safe_psql('blog', 'SELECT count(*) FROM outbox.consumer'), 0, 'nothing is reported');
open(my $file, '<', "/proc/${\ $worker->pid }/cmdline") or die "cmdline: $!\n";
unlike(<$file>, qr/secret/, 'the password is not in the process title');

$node->safe_psql('blog', <<'SQL');
GRANT USAGE ON SCHEMA outbox TO reporter;
GRANT EXECUTE ON FUNCTION outbox.report_consumer TO reporter;
SQL
$worker->wait_log(qr/info report goes on/);
poll_until('a report', sub { consumer('first')->{state} eq 'consuming' });
pass('with the right to call the function it reports');

$redis->set_keys(map { "blog:$_" } 1 .. 20);
$pipe->sql("INSERT INTO blogs VALUES ($_, 1, 'x')") for 1 .. 20;
$redis->wait_gone(map { "blog:$_" } 1 .. 20);
$broker->publish('cache-invalidation', 'not understood');
poll_until('the dead letter in the report', sub { consumer('first')->{dead_lettered} == 1 });
my $row = consumer('first');
cmp_ok($row->{messages}, '>=', 3, 'messages');
cmp_ok($row->{keys_deleted}, '>=', 21, 'keys_deleted');
cmp_ok($row->{delay_p50_ms}, '>', 0, 'delay_p50_ms');
cmp_ok($row->{delay_p99_ms}, '>=', $row->{delay_p50_ms}, 'delay_p99_ms');
is($row->{last_error}, undef, 'no error yet');

$redis->stop;
poll_until('the state of the report', sub { consumer('first')->{state} eq 'waiting for redis' });
like(consumer('first')->{last_error}, qr/closed by the peer|refused/, 'last_error');
$redis->start;
poll_until('the state of the report', sub { consumer('first')->{state} eq 'consuming' });
my $age = $node->safe_psql('blog', 'SELECT extract(epoch FROM now() - reported_at) FROM outbox.consumer');
cmp_ok($age, '<', 5, 'reported_at is of now');

# Who may look.
is($node->safe_psql('blog', 'SET ROLE pg_monitor; SELECT count(*) FROM outbox.consumer'), 1,
	'pg_monitor can read it');
my ($code, $out, $err) = $node->psql('blog', 'SET ROLE reporter; TABLE outbox.consumer');
like($err, qr/permission denied/, 'the reporter cannot');
is($node->safe_psql('postgres', 'CREATE EXTENSION pg_outbox; SELECT count(*) FROM outbox.consumer'),
	0, 'another database has workers of its own');
($code, $out, $err) = $node->psql('blog',
	q(SELECT outbox.report_consumer(NULL, 'x', 1, 1, 1, 1, 1, NULL)));
like($err, qr/name and state of a consumer must not be null/, 'a report without a name is refused');
$node->safe_psql('blog', q(SELECT outbox.report_consumer(repeat('ä', 300), 'x', NULL, 1, 1, NULL, NULL, repeat('ö', 600))));
is($node->safe_psql('blog', q(SELECT length(name), messages, delay_p50_ms IS NULL, length(last_error) FROM outbox.consumer WHERE state = 'x')),
	'127|0|t|255', 'long texts are cut between characters');
$node->safe_psql('blog', q(SELECT outbox.report_consumer('many ' || n, 'x', n, 1, 1, 1, 1, NULL) FROM generate_series(1, 400) n));
poll_until('the worker among them', sub { consumer('first')->{state} });
is($node->safe_psql('blog', 'SELECT count(*) FROM outbox.consumer'), 256, 'there is room for 256');

# The database freezes (one backend, here), then is away.
my $pid = $node->safe_psql('blog', q(SELECT pid FROM pg_stat_activity WHERE usename = 'reporter'));
kill 'STOP', $pid;
deleted('a frozen database holds up no deletion');
kill 'CONT', $pid;
$node->stop('immediate');
deleted('a database that is away holds up no deletion');
$worker->wait_log(qr/warning report waits reason=.*(?:connection|server)/);
$node->start;
poll_until('reports again', sub { consumer('first')->{state} eq 'consuming' });
pass('once it is back, reports are too');

is($worker->stop, 0, 'the worker ends');
is(consumer('first')->{state}, 'stopping', 'its last report says so');

# A database that does not answer at the end.
$worker->start;
poll_until('a report', sub { consumer('first')->{state} eq 'consuming' });
$pid = $node->safe_psql('blog', q(SELECT pid FROM pg_stat_activity WHERE usename = 'reporter'));
kill 'STOP', $pid;
my $begin = monotonic_s();
is($worker->stop, 0, 'SIGTERM with a frozen database: ends with 0');
cmp_ok(monotonic_s() - $begin, '<', 4, '... soon');
kill 'CONT', $pid;

my $bad = Outbox::Worker->new(dir => $pipe->dir, broker => $broker, redis => $redis, name => 'bad',
	options => ['--report-to=host=x secret'])->start;
is($bad->wait_end, 2, 'a connection string that is none: exit status 2');
unlike($bad->log_text, qr/secret/, '... and it is not repeated');
$pipe->finish;
