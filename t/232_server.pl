# Rows F31, F34, F35 and F46: no worker slot is free, databases come and go by force, memory runs out
# at commit, the clock jumps. And a server in binary upgrade runs no relay.

use strict;
use warnings;
use Outbox::FakeBroker;
use Outbox::Faults;
use Outbox::Pipeline;
use Outbox::Postgres;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = Outbox::Pipeline::work_folder();
my $fake = Outbox::FakeBroker->start(dir => $dir);
my $faults = Outbox::Faults->new(dir => $dir);
# Slots for the server's own launcher of logical replication, for ours, and for one relay.
my $node = Outbox::Postgres->create('pg', amqp_url => $fake->url(query => 'heartbeat=2'),
	conf => 'max_worker_processes = 3');
$faults->start_node($node);
$node->create_blog;
$node->wait_relay('idle');

sub log_lines { my ($pattern) = @_; return scalar(() = slurp_file($node->logfile) =~ /$pattern/g) }

subtest 'F31: no worker slot is free' => sub {
	$node->create_blog('second');
	$node->wait_relay_error(qr/max_worker_processes/, 'second');
	$node->wait_relay('not running', 'second');
	pass('the view says that no relay runs, and why');
	$node->safe_psql('second', q(SELECT outbox.invalidate('waits')));
	is($node->pending('second'), 1, 'events are recorded');
	is($node->lag('second')->{relay_state}, 'not running', 'outbox.lag says so too');
	$node->reload;
	$node->safe_psql('second', q(SELECT outbox.restart_relay()));
	is(log_lines(qr/could not start an outbox relay/), 1, 'the log says it once, however often it is tried');

	my $began = monotonic_s();
	$node->safe_psql('blog', 'DROP EXTENSION pg_outbox CASCADE');
	$node->wait_relay('idle', 'second');
	cmp_ok(monotonic_s() - $began, '<', 15, 'once another relay has gone it starts');
	$node->wait_published('second');
	is(($fake->confirmed)[-1]{body}, '{"keys":["waits"]}', 'and what waited is published');

	$node->safe_psql('blog', 'CREATE EXTENSION pg_outbox');
	$node->wait_relay_error(qr/max_worker_processes/);
	is(log_lines(qr/could not start an outbox relay/), 1, 'for the log that is no news: it has lasted all the time');
	$node->safe_psql('postgres', 'ALTER SYSTEM SET max_worker_processes = 10');
	$node->stop;
	$faults->start_node($node);
	$node->wait_relay('idle', $_) for qw(blog second);
	pass('with more slots both run');
};

subtest 'F34: by force' => sub {
	my $client = $node->background_psql('second');
	$client->query_safe(q(BEGIN; SELECT outbox.invalidate('never')));
	my $pid = $node->relay('second')->{pid};
	my $before = -s $node->logfile;
	$node->safe_psql('postgres', q(SET statement_timeout = '20s'; DROP DATABASE second WITH (FORCE)));
	poll_until('its relay to leave', sub { !kill 0, $pid });
	eval { $client->quit };
	# A relay started in vain would show within a second.
	$node->create_blog('third');
	$node->wait_relay('idle', 'third');
	$node->reload;
	my $vain = qr/does not exist|not currently accepting|FATAL:  (?!terminating)/;
	unlike(slurp_file($node->logfile, $before), $vain, 'no relay is started in vain');

	# Nor when it is not there any more by the time it is to be started.
	$node->safe_psql('postgres', q(ALTER DATABASE third WITH ALLOW_CONNECTIONS false));
	$node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'third'));
	poll_until('no relay there', sub { $node->backends_like('pg_outbox relay', 'third') == 0 });
	$node->safe_psql('postgres', q(DROP DATABASE third));
	is($node->backends_like('pg_outbox relay'), 1, 'a database that takes no connections is left alone');
	unlike(slurp_file($node->logfile, $before), $vain, 'without complaints');
};

subtest 'F46: the clock jumps' => sub {
	my $pid = $node->wait_relay('idle')->{pid};
	for my $offset_s (3600, -3600, 0)
	{
		$faults->set_clock($offset_s);
		$node->safe_psql('blog', "SELECT outbox.invalidate('at $offset_s')");
		is($node->safe_psql('blog', q(SELECT outbox.wait_published('30 s'))), 't', "by $offset_s s: it goes on");
	}
	is($node->relay->{pid}, $pid, 'the same process');
	# Longer than two heartbeats.
	my $reconnects = $node->relay->{reconnects};
	my $end = monotonic_s() + 5;
	$faults->set_clock(-3600);
	poll_until('two heartbeats', sub { monotonic_s() > $end });
	is($node->relay->{reconnects}, $reconnects, 'and the same connection');
	# What is to be started in a second is, by a clock that nobody sets.
	$faults->set_clock(0);
	my $began = monotonic_s();
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
	poll_until('it to end by an error', sub { !kill 0, $pid });
	$faults->set_clock(-3600);
	poll_until('another relay', sub { my $now = $node->relay->{pid}; $now && $now != $pid });
	cmp_ok(monotonic_s() - $began, '>', 0.5, 'an error is not repeated at once');
	is($node->safe_psql('blog', q(SELECT outbox.wait_published('10 s'))), 't', 'and it works');
	# The time limit of a call, too.
	$node->safe_psql('blog', 'SELECT outbox.pause()');
	$began = monotonic_s();
	my $waiting = $node->background_psql('blog');
	$waiting->query_until(qr/waiting/, "\\echo waiting\nSELECT outbox.wait_published('2 s');\n\\echo over\n");
	$faults->set_clock(-7200);
	$waiting->query_until(qr/over/, '');
	cmp_ok(monotonic_s() - $began, '<', 20, 'wait_published keeps to its time');
	$waiting->quit;
	$faults->set_clock(0);
	$node->safe_psql('blog', 'SELECT outbox.resume()');
};

subtest 'F35: memory runs out at commit' => sub {
	$node->safe_psql('blog', 'CREATE TABLE kept (id int)');
	$node->safe_psql('blog', 'SELECT outbox.pause()');
	$node->wait_relay('paused');
	my ($errors, $from) = (0, -s $node->logfile);
	# Every allocation from COMMIT on fails in its turn, in a new backend (whose caches are cold) and in an old one.
	for my $old (0, 1)
	{
		my $session = $node->background_psql('blog', on_error_stop => 0);
		for (my $n = 1; ; $n++)
		{
			my $id = 1000 * $old + $n;
			my $pid = $session->query('SELECT pg_backend_pid()');
			$session->query(qq(
				BEGIN; INSERT INTO kept VALUES ($id);
				SELECT count(outbox.invalidate('$id:' || k)) FROM generate_series(1, 2000) k;
				SELECT outbox.publish('audit', to_jsonb($id)), outbox.publish('audit', to_jsonb(repeat('x', 200000)));));
			$faults->fail_allocation($pid, $n);
			$session->query('COMMIT');
			my $left = $faults->left;
			$faults->fail_allocation(0, 0);
			last if $left > 0 || $n == 200;
			$errors++;
			next if $old;
			eval { $session->quit };
			$session = $node->background_psql('blog', on_error_stop => 0);
		}
		eval { $session->quit };
	}
	cmp_ok($errors, '>', 2, "$errors allocations failed");
	my $log = slurp_file($node->logfile, $from);
	like($log, qr/ERROR:  out of memory/, 'which is an ERROR of that transaction');
	unlike($log, qr/PANIC|terminated by signal|TRAP/, '... and of nobody else');
	# All of a transaction or nothing of it.
	is($node->safe_psql('blog', q(SELECT string_agg(payload::text, ',' ORDER BY payload::text) FROM outbox.event WHERE jsonb_typeof(payload) = 'number')),
		$node->safe_psql('blog', q(SELECT string_agg(id::text, ',' ORDER BY id::text) FROM kept)),
		'what was recorded is what was committed');
	is($node->safe_psql('blog', q(SELECT count(*) FROM (SELECT unnest(keys) AS key FROM outbox.event) k WHERE key ~ '^\d+:\d+$')),
		2000 * $node->safe_psql('blog', 'SELECT count(*) FROM kept'), 'its keys too');
	$node->safe_psql('blog', 'SELECT outbox.resume()');
	$node->wait_published;
};

subtest 'binary upgrade' => sub {
	$node->stop;
	my $before = $fake->count('connections');
	$node->command_ok([ 'pg_ctl', 'start', '-w', '-D', $node->data_dir, '-l', $node->logfile, '-o', '-b -p ' . $node->port ],
		'the server starts as pg_upgrade starts it');
	is($node->backends_like('pg_outbox%'), 0, 'it runs neither launcher nor relay');
	is($node->safe_psql('blog', 'SELECT relay_state FROM outbox.lag'), 'not running', 'the views work');
	command_ok([ 'pg_ctl', 'stop', '-w', '-D', $node->data_dir, '-m', 'fast' ], 'it stops');
	is($fake->count('connections'), $before, 'nobody talked to the broker');
};

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'no crash in the log');
done_testing();
