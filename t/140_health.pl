# outbox.health: each check turns, and turns back, with real servers; what takes minutes is brought by
# a clock that jumps.

use strict;
use warnings;
use FindBin;
use Outbox::Faults;
use Outbox::Pipeline;
use Outbox::Wait;
use Outbox::Worker;
use PostgreSQL::Test::Utils;
use Test::More;

my @checks = qw(relay broker lag outbox_size rotation dead_letters destinations queue workers canary
  watched version);

my $pipe = Outbox::Pipeline->start(node => 0, worker => 0);
my ($redis, $broker) = map { $pipe->$_ } qw(redis broker);
my $node = $pipe->{node} = Outbox::Postgres->create('pg', amqp_url => $broker->url,
	conf => "max_prepared_transactions = 2\n");
my $faults = Outbox::Faults->new(dir => $pipe->dir);
$faults->start_node($node);
$node->create_blog;
$node->safe_psql('blog', q(
	CREATE ROLE reporter LOGIN;
	GRANT USAGE ON SCHEMA outbox TO reporter;
	GRANT EXECUTE ON FUNCTION outbox.report_consumer, outbox.pipeline TO reporter));
my $session = $node->background_psql('blog');
my $worker = worker('first');
my $offset_s = 0;

sub worker
{
	my ($name, @options) = @_;
	return Outbox::Worker->new(dir => $pipe->dir, broker => $broker, redis => $redis, name => "worker-$name",
		options => [ "--report-to=" . $node->connstr('blog') . ' user=reporter', "--name=$name", @options ])->start;
}

# One after the other in the same session, as a monitor does.
sub health
{
	my $json = $session->query_safe('SELECT json_agg(h) FROM outbox.health h');
	return @{ JSON::PP->new->utf8->decode($json) };
}

# Waits until a check has this status and says this.
sub is_health
{
	my ($check, $status, $detail, $label) = @_;
	my $row;
	my $matched = eval {
		poll_until("$check to be $status", sub {
			($row) = grep { $_->{check} eq $check } health();
			return $row->{status} eq $status && $row->{detail} =~ $detail;
		});
	};
	ok($matched, "$check: $label") or diag "$row->{status}: $row->{detail}";
	ok($status eq 'ok' || length $row->{hint}, '... with a hint');
	return;
}

sub jump { my ($s) = @_; $faults->set_clock($offset_s += $s); return }

# ---- all is well ---------------------------------------------------------------------------------

is_health('relay', 'ok', qr/^the relay runs as process \d+; its state is "(?:idle|publishing)"$/, 'it runs');
is_health('broker', 'ok', qr/^connected to .*:\d+/, 'connected');
is_health('workers', 'ok', qr/^1 worker is consuming$/, 'one');
jump(11);
is_health('queue', 'ok', qr/^queue "cache-invalidation" has 1 consumer and 0 messages ready, \d+ s ago$/, 'it has a consumer');
is_health('workers', 'ok', qr/^1 worker is consuming$/, 'by its next report');
is(join(' ', map { $_->{check} } health()), "@checks", 'each check has its row');
ok(eval { poll_until('each to be ok', sub { !grep { $_->{status} ne 'ok' } health() }) }, '... and is ok')
  or diag explain [ health() ];
is(scalar(grep { defined $_->{hint} } health()), 0, '... with nothing to do');
is_deeply(timeless(health()), timeless(@{ JSON::PP->new->utf8->decode($node->safe_psql('blog',
	q(SET ROLE reporter; SELECT outbox.pipeline()->'health'))) }), 'outbox.pipeline() has the same');

# Between two looks a second may end.
sub timeless { return [ map { my %row = %$_; $row{detail} =~ s/\d+ s\b/N s/g; \%row } @_ ] }

# ---- workers -------------------------------------------------------------------------------------

$redis->stop;
is_health('workers', 'warning', qr/^1 of 1 worker is not consuming; "first" has been waiting for redis for \d+ s: ./, 'Redis is away');
jump(15);
is_health('workers', 'critical', qr/waiting for redis for \d+ s/, '... for long');
my $second = worker('second', '--redis-url=redis://127.0.0.1:1');
is_health('workers', 'critical', qr/^2 of 2 workers are not consuming/, '... from two');
$second->stop;
$redis->start;
is_health('workers', 'ok', qr/^1 worker is consuming$/, 'Redis is back, the other one was stopped');

$worker->kill9;
jump(12);
is_health('workers', 'warning', qr/^no worker reports any more; the last one, "first", fell silent \d+ s ago$/, 'killed');
is_health('queue', 'warning', qr/has 0 consumers and 0 messages/, '... and nobody consumes');
$pipe->sql(q(INSERT INTO blogs VALUES (1, 1, 'one')));
$node->wait_published;
jump(60);
is_health('workers', 'critical', qr/fell silent \d+ s ago$/, '... for long');
is_health('queue', 'critical', qr/has 0 consumers and 1 message ready/, '... while something waits');
$worker = worker('third');
is_health('workers', 'warning', qr/^1 worker is consuming, but "first" fell silent/, 'another one');
jump(11);
is_health('queue', 'ok', qr/has 1 consumer/, 'it consumes');
is($pipe->sql(q(SELECT outbox.forget_consumer('first'), outbox.forget_consumer('first'))), 't|f', 'it is forgotten by hand');
is_health('workers', 'ok', qr/^1 worker is consuming$/, '... and missed no more');
$worker->stop;
is_health('workers', 'warning', qr/^no worker reports any more; the last one, "third", was stopped \d+ s ago$/, 'stopped in good order');
$worker = worker('third');
is_health('workers', 'ok', qr/^1 worker is consuming$/, 'and started again');

# ---- relay and broker ----------------------------------------------------------------------------

$pipe->sql(q(SELECT outbox.pause('for a while')));
is_health('relay', 'warning', qr/paused: .*for a while/, 'paused');
is_health($_, 'warning', qr/./, '... which is as bad') for qw(broker queue);
$pipe->sql('SELECT outbox.resume()');
is_health($_, 'ok', qr/./, 'resumed') for qw(relay broker queue);

$pipe->sql(q(UPDATE outbox.instance SET database = 1; SELECT outbox.restart_relay()));
is_health('relay', 'critical', qr/is a copy/, 'a copy');
$pipe->sql(q(SELECT outbox.adopt()));
is_health('relay', 'ok', qr/./, 'adopted');

sub settings
{
	my (@lines) = @_;
	$node->safe_psql('postgres', $_) for @lines, 'SELECT pg_reload_conf()';
	return;
}

settings(q(ALTER SYSTEM SET outbox.run_on = 'nowhere'));
reconnect();
is_health('relay', 'warning', qr/outbox\.run_on is "nowhere"/, 'it runs elsewhere');
is_health('broker', 'warning', qr/no connection/, '... and so has no connection');
settings(q(ALTER SYSTEM RESET outbox.run_on), q(ALTER SYSTEM SET outbox.amqp_password_file = '/nowhere'));
reconnect();
is_health('relay', 'critical', qr/no relay runs: could not open outbox\.amqp_password_file/, 'a wrong setting');
append_to_file($pipe->dir . '/wrong', 'wrong');
settings(qq(ALTER SYSTEM SET outbox.amqp_password_file = '${\ $pipe->dir}/wrong'));
is_health('broker', 'warning', qr/^no connection to .* for \d+ s: .*ACCESS_REFUSED/, 'a wrong password');
my ($row) = grep { $_->{check} eq 'broker' } health();
like($row->{hint}, qr/password/, '... with a hint of its own');
settings(q(ALTER SYSTEM RESET outbox.amqp_password_file));
is_health('broker', 'ok', qr/./, 'the right one');

sub reconnect { $session->quit; return $session = $node->background_psql('blog') }

$broker->ctl('set_vm_memory_high_watermark', 'absolute', '1MB');
$pipe->sql(q(INSERT INTO blogs VALUES (2, 1, 'two')));
is_health('broker', 'warning', qr/blocked publishing for \d+ s: .*memory/, 'blocked');
jump(12);
is_health('broker', 'critical', qr/blocked publishing for \d+ s/, '... for long');
is_health('lag', 'warning', qr/^1 event is pending, the oldest for \d+ s$/, 'something waits');
jump(300);
is_health('lag', 'critical', qr/the oldest for \d+ min$/, '... for long');
$broker->ctl('set_vm_memory_high_watermark', '0.6');
is_health('broker', 'ok', qr/./, 'unblocked');
is_health('lag', 'ok', qr/^nothing is pending$/, 'nothing waits');

# ---- what the broker does not take ---------------------------------------------------------------

$pipe->sql(q(SELECT outbox.publish('not there', '1')));
is_health('destinations', 'warning', qr/^1 destination is parked with 1 event, queue "not there" for \d+ s: .*NO_ROUTE/, 'parked');
jump(300);
is_health('destinations', 'critical', qr/for \d+ min/, '... for long');
is($pipe->sql('SELECT destinations, events, dead FROM outbox.parked_status()'), '1|1|0', 'counted');
$broker->declare_queue('not there');
$pipe->sql(q(SELECT outbox.retry_dead_letters('', 'not there')));
is_health('destinations', 'ok', qr/^no destination is parked$/, 'it is there');

$pipe->sql(q(ALTER TABLE outbox.parked DISABLE TRIGGER discard;
	INSERT INTO outbox.parked (id, xid, created_at, payload, to_exchange, to_routing_key, dead, reason, first_failed_at, failed_at)
	SELECT -n, '3', now(), '1', '', 'large', true, 'too large', now(), now() FROM generate_series(1, 1200) n;
	ALTER TABLE outbox.parked ENABLE ALWAYS TRIGGER discard));
is_health('dead_letters', 'critical', qr/^1000 events or more were given up, one of them to queue "large": too large$/, 'many, counted to a bound');
$pipe->sql(q(SELECT count(outbox.discard_dead_letter(event_id)) FROM outbox.dead_letter WHERE event_id < -1));
is_health('dead_letters', 'warning', qr/^1 event was given up/, 'one');
$pipe->sql(q(SELECT outbox.discard_dead_letter(-1)));
is_health('dead_letters', 'ok', qr/^no event was given up$/, 'none');

$broker->delete_queue('cache-invalidation');
jump(11);
is_health('queue', 'critical', qr/would not tell of queue "cache-invalidation", \d+ s ago: NOT_FOUND/, 'deleted');
$pipe->sql(q(INSERT INTO blogs VALUES (3, 1, 'three')));
poll_until('the queue to be there', sub { $broker->queue_exists('cache-invalidation') });
jump(31);
is_health('queue', 'ok', qr/has 1 consumer/, 'the relay declared it again, with the next event');

# ---- tables --------------------------------------------------------------------------------------

my $holder = $node->background_psql('blog');
my $current = $pipe->sql(q(SELECT relation FROM outbox.rotation WHERE state = 'current'));
my ($pid) = $holder->query_safe("BEGIN; LOCK TABLE $current IN ACCESS SHARE MODE; SELECT pg_backend_pid()") =~ /(\d+)/;
$pipe->sql(q(INSERT INTO blogs VALUES (4, 1, 'four')));
poll_until('a rotation to be blocked', sub {
	$pipe->sql('SELECT outbox.rotate()');
	return $pipe->sql(q(SELECT count(*) FROM outbox.rotation WHERE state = 'waiting'));
});
is_health('rotation', 'ok', qr/^\Q$current\E has waited for \d+ s to be emptied: locks are held by process $pid$/, 'a moment is nothing');
jump(300);
is_health('rotation', 'warning', qr/has waited for \d+ min/, 'blocked');
jump(3600);
is_health('rotation', 'critical', qr/has waited for \d+ min/, '... for long');
$holder->query_safe("PREPARE TRANSACTION 'it''s me'");
is_health('rotation', 'critical', qr/by prepared transaction 'it''s me'$/, '... by a prepared transaction');
$pipe->sql(q(ROLLBACK PREPARED 'it''s me'; SELECT outbox.rotate()));
is_health('rotation', 'ok', qr/^no table of the outbox waits/, 'ended');
$holder->quit;

$pipe->sql(q(CREATE TABLE other (id int); SELECT outbox.watch('other', 'o:{id}'); ALTER TABLE other DISABLE TRIGGER ALL));
is_health('watched', 'warning', qr/^1 of 2 watched tables has a problem: public\.other: trigger .* is disabled$/, 'disabled');
$pipe->sql(q(ALTER TABLE blogs RENAME author_id TO writer_id));
is_health('watched', 'critical', qr/^2 of 2 watched tables have a problem: public\.blogs: .*author_id/, 'writes fail');
$pipe->sql(q(ALTER TABLE blogs RENAME writer_id TO author_id; DROP TABLE other));
is_health('watched', 'ok', qr/^1 table is watched$/, 'renamed back');

# Its size is that of its files: here of a free space map that nobody reads.
my $map = $node->data_dir . '/' . $pipe->sql(q(SELECT pg_relation_filepath('outbox.event_1'))) . '_fsm';
for ([ 'warning', 1, qr/^the outbox takes 10\d\d MB$/ ], [ 'critical', 10, qr/^the outbox takes 10 GB$/ ])
{
	my ($status, $gigabytes, $detail) = @$_;
	# A file for each gigabyte.
	for my $segment (0 .. $gigabytes - 1)
	{
		my $path = $segment == 0 ? $map : "$map.$segment";
		open(my $file, '>>', $path) or die "$path: $!\n";
		truncate($file, 1 << 30) or die "$path: $!\n";
	}
	is_health('outbox_size', $status, $detail, "$gigabytes GB");
}
unlink $map, map { "$map.$_" } 1 .. 9;
is_health('outbox_size', 'ok', qr/kB$/, 'small again');

$pipe->sql(q(UPDATE pg_extension SET extversion = '0.1' WHERE extname = 'pg_outbox'));
is_health('version', 'critical', qr/version "0\.1", which its library does not know: that is version \S+$/, 'unknown');
$pipe->sql(q(UPDATE pg_extension SET extversion = '1.0' WHERE extname = 'pg_outbox'));
is_health('version', 'ok', qr/^library and extension are version \S+$/, 'in step');

# ---- metrics: docs/monitoring.md lists them all ------------------------------------------------------

my %listed = map { $_ => 1 } slurp_file("$FindBin::RealBin/../docs/monitoring.md") =~ /^\| `(pg_outbox_\w+)` \|/mg;
my @shown = split /\n/, $pipe->sql(q(SELECT DISTINCT m[1] FROM regexp_matches(pg_get_viewdef('outbox.metrics'), '''(pg_outbox_[a-z_]+)''', 'g') AS m));
is(join(' ', sort @shown), join(' ', sort keys %listed), 'docs/monitoring.md lists each metric');
is_health('workers', 'ok', qr/^1 worker is consuming$/, 'it has reported since the clock jumped');
my %value;
eval {
	poll_until('all of it to be well', sub {
		%value = map { split /\|/ } split /\n/, $pipe->sql(q(SELECT labels->>'check', value FROM outbox.metrics WHERE name = 'pg_outbox_health_status'));
		return !grep { $_ } values %value;
	});
};
is_deeply(\%value, { map { $_ => 0 } @checks }, 'all of it is well, for Prometheus too');

$session->quit;
$pipe->finish;
