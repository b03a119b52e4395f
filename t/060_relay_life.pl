# The relay comes and goes by itself, never holds up the server, and holds no snapshot as it waits.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $pipe = Outbox::Pipeline->start;
my ($redis, $broker, $node) = ($pipe->redis, $pipe->broker, $pipe->node);

# A background worker with this pid is there.
sub runs
{
	my ($pid) = @_;
	return $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid");
}

# Workers connected to this database that are no client.
sub relays_in
{
	my ($database) = @_;
	return $node->safe_psql('postgres', qq(
		SELECT count(*) FROM pg_stat_activity
		WHERE datname = '$database' AND backend_type NOT IN
			('client backend', 'autovacuum worker', 'parallel worker')));
}

# backend_xmin and backend_xid of the relay; empty: it holds no snapshot and no transaction.
sub held_by
{
	my ($pid) = @_;
	return $node->safe_psql('postgres', qq(
		SELECT concat(backend_xmin, backend_xid) FROM pg_stat_activity WHERE pid = $pid));
}

my $relay = $node->wait_relay('idle');
ok($relay->{pid}, 'CREATE EXTENSION starts the relay');
is(runs($relay->{pid}), 1, 'with the pid that outbox.relay shows');
isnt($relay->{connected_at}, undef, 'connected_at is set');
like($relay->{broker}, qr/127\.0\.0\.1/, 'outbox.relay names the broker');
unlike($relay->{broker}, qr/guest:guest/, 'without a password');
# It may just be looking for events.
ok(poll_until('it to hold nothing', sub { held_by($relay->{pid}) eq '' }), 'idle: it holds no snapshot');
is(relays_in('postgres'), 0, 'no relay in a database without the extension');

# The server's own restart.
$node->restart;
ok($node->wait_published, 'wait_published waits for a relay that is still to be started');
$relay = $node->wait_relay('idle');
ok($relay->{pid}, 'after a restart of the server it starts by itself');
$redis->set_keys('blog:1');
$pipe->sql(q(INSERT INTO blogs VALUES (1, 1, 'x')));
ok($redis->wait_gone('blog:1'), 'and works');

$pipe->sql("SELECT pg_terminate_backend($relay->{pid})");
poll_until('another relay', sub {
	my $row = $node->relay;
	return $row->{pid} && $row->{pid} != $relay->{pid} && $row->{state} eq 'idle';
});
$redis->set_keys('blog:2');
$pipe->sql(q(INSERT INTO blogs VALUES (2, 1, 'x')));
ok($redis->wait_gone('blog:2'), 'terminated: another one takes over');

$node->wait_published;
my $confirmed = $node->relay->{confirmed};
$pipe->sql("SELECT outbox.restart_relay()");
$redis->set_keys('blog:3');
$pipe->sql(q(INSERT INTO blogs VALUES (3, 1, 'x')));
ok($redis->wait_gone('blog:3'), 'outbox.restart_relay: goes on');
$node->wait_published;
cmp_ok($node->relay->{confirmed}, '>', $confirmed, 'and its counters go on');

# A second database.
$node->create_blog('second');
$node->wait_relay('idle', 'second');
isnt($node->relay('second')->{pid}, $node->relay->{pid}, 'each database has a relay of its own');
$redis->set_keys('blog:77');
$node->safe_psql('second', q(INSERT INTO blogs VALUES (77, 1, 'x')));
ok($redis->wait_gone('blog:77'), 'the second works too');

$node->safe_psql('second', 'BEGIN; CREATE TABLE t (); DROP EXTENSION pg_outbox CASCADE; ROLLBACK');
$redis->set_keys('blog:78');
$node->safe_psql('second', q(INSERT INTO blogs VALUES (78, 1, 'x')));
ok($redis->wait_gone('blog:78'), 'DROP EXTENSION rolled back: goes on');

$node->safe_psql('second', 'DROP EXTENSION pg_outbox CASCADE');
poll_until('the relay to leave', sub { relays_in('second') == 0 });
pass('DROP EXTENSION: the relay leaves');
$node->safe_psql('second', 'CREATE EXTENSION pg_outbox');
$node->wait_relay('idle', 'second');
pass('CREATE EXTENSION again: it is back');
# Commands that fail while anybody is connected: the relay gets out of their way, and comes back.
my $folder = $pipe->dir . '/tablespace';
mkdir $folder or die "$folder: $!\n";
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$folder'");
$node->safe_psql('postgres', 'ALTER DATABASE second SET TABLESPACE elsewhere');
$node->wait_relay('idle', 'second');
pass('ALTER DATABASE ... SET TABLESPACE works while its relay runs, which is back afterwards');
$node->safe_psql('postgres', 'ALTER DATABASE second RENAME TO renamed');
$node->wait_relay('idle', 'renamed');
pass('so does ALTER DATABASE ... RENAME');
$node->safe_psql('postgres', 'CREATE DATABASE copied TEMPLATE renamed');
$node->wait_relay('idle', 'renamed');
pass('so does CREATE DATABASE ... TEMPLATE');
$node->safe_psql('postgres', 'DROP DATABASE copied');
my ($status, undef, $error) = $node->psql('postgres', 'ALTER DATABASE renamed RENAME TO blog');
isnt($status, 0, "a command that fails: $error");
$node->wait_relay('idle', 'renamed');
pass('brings the relay back as well');
$node->safe_psql('postgres', 'ALTER DATABASE renamed RENAME TO second');
$node->wait_relay('idle', 'second');

# The command waits for a client, and is terminated: nobody says that the relay may come back.
my $client = $node->background_psql('second');
my $rename = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'ALTER DATABASE second RENAME TO never' ],
	'<', '/dev/null', '>', '/dev/null', '2>', '/dev/null');
poll_until('the command to have sent the relay away', sub { relays_in('second') == 0 });
$node->safe_psql('postgres', q(
	SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE query LIKE 'ALTER DATABASE second RENAME%' AND pid <> pg_backend_pid()));
$rename->finish;
$node->wait_relay('idle', 'second');
pass('one that is terminated: the relay comes back as well');
$client->quit;

$node->safe_psql('postgres', 'CREATE ROLE stranger LOGIN CREATEDB');
my $before = $node->relay('second')->{pid};
($status) = $node->psql('postgres', 'DROP DATABASE second', extra_params => [ '-U', 'stranger' ]);
isnt($status, 0, 'whoever may not drop it');
is($node->relay('second')->{pid}, $before, 'does not disturb its relay either');

$node->safe_psql('postgres', 'DROP DATABASE second');
is($node->safe_psql('postgres', q(SELECT count(*) FROM pg_database WHERE datname = 'second')),
	0, 'DROP DATABASE works while its relay runs');

# A broker that is frozen: connections stay, nothing answers.
$node->wait_relay('idle');
$node->create_blog('third');
$node->wait_relay('idle', 'third');
$broker->freeze;
$pipe->sql(q(INSERT INTO blogs VALUES (4, 1, 'x')));
$node->safe_psql('third', q(INSERT INTO blogs VALUES (4, 1, 'x')));
$relay = $node->wait_relay([ 'publishing', 'waiting to reconnect', 'connecting' ]);
poll_until('the relay to hold nothing', sub { held_by($relay->{pid}) eq '' });
pass('waiting for a confirm: it holds no snapshot');
is($node->safe_psql('postgres', qq(SET statement_timeout = '10s'; DROP DATABASE third)),
	'', 'broker frozen: DROP DATABASE works');

my $began = monotonic_s();
command_ok([ 'pg_ctl', 'stop', '-D', $node->data_dir, '-m', 'fast', '-t', 5 ],
	'broker frozen: the server stops within 5 s');
note sprintf 'it took %.2f s', monotonic_s() - $began;
$broker->thaw;
$node->_update_pid(0);
$redis->set_keys('blog:4');
$node->start;
ok($redis->wait_gone('blog:4'), 'the event that was under way is published after the restart');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|was terminated by signal/, 'no crash in the log');
$pipe->finish;
