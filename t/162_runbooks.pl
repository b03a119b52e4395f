# The runbooks of docs/operations.md, followed, as in 161. Here: a dead letter, a rotation that is
# blocked, a relay that does not start.

use strict;
use warnings;
use FindBin;
use Outbox::Pipeline;
use Outbox::Runbook;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $queue = 'cache-invalidation';
my $pipe = Outbox::Pipeline->start(
	broker_config => "max_message_size = 100000\n",
	relay_conf    => "max_prepared_transactions = 5\n");
my ($node, $broker, $redis, $worker) = map { $pipe->$_ } qw(node broker redis worker);
my $book = Outbox::Runbook->new(root => "$FindBin::RealBin/..", pipe => $pipe);
$worker->wait_log(qr/info consuming/);

sub change { $pipe->sql("INSERT INTO blogs VALUES ($_[0], 1, 'title') ON CONFLICT (id) DO UPDATE SET title = blogs.title || '.'"); return }

# ---- a dead letter of the relay ----

my $dead = 'Runbook: a dead letter';
my $relays = 'In `outbox.dead_letter`, state `dead`: the broker will never take it';
$broker->declare_queue('emails');
$pipe->sql(q(SELECT outbox.publish('emails', to_jsonb((SELECT string_agg(md5(n::text), '') FROM generate_series(1, 5000) n)))));
poll_until('a dead letter', sub { $book->ask($dead, 0) =~ /state +\| dead\nreason +\| .*is larger than configured max size/ });
my ($id) = $book->sql($dead, 0) =~ /event_id +\| (\d+)/;
like($book->sql($relays, 0, 4711 => $id), qr/payload +\| "c4ca4238/, 'what is in it');
$book->sql($relays, 1, 4711 => $id);
poll_until('it to be tried again', sub { $book->ask($dead, 0) =~ /attempts +\| 2$/m });
pass('it is tried again');
$book->sql($relays, 2, 4711 => $id);
is($pipe->sql('SELECT count(*) FROM outbox.dead_letter'), 0, 'it is given up');

# ---- a dead letter of the worker ----

my $workers = 'In the queue `cache-invalidation.dead`: the worker did not understand it';
$broker->publish($queue, 'gibberish', message_id => 'from-elsewhere');
poll_until('it to be set aside', sub { $broker->queue_length("$queue.dead") == 1 });
like($book->sh($dead, 0), qr/^\Q$queue\E\.dead\t1$/m, 'it is found');
like($book->sh($workers, 0), qr/error="not JSON.*message_id=from-elsewhere/, 'what and from whom');
like($book->sh($workers, 1), qr/^1 of 1 messages sent/, 'sent back');
poll_until('it to come back', sub { $broker->queue_length("$queue.dead") == 1 });
$book->sh($workers, 2);
is($broker->queue_length("$queue.dead"), 0, 'forgotten');
$redis->set_keys('blog:9');
like($book->sql('After messages were lost', 0), qr/wait_published \| t/, 'after messages were lost');
ok($redis->wait_gone('blog:9'), '... all keys are deleted');

# ---- a rotation is blocked ----

my $blocked = 'Runbook: a rotation is blocked';

# Writes, and has the relay rotate, until the page's query matches; gives its answer.
sub rotate_until
{
	my ($what, $pattern) = @_;
	my $answer;
	poll_until($what, sub {
		change(1);
		$node->wait_published;
		$pipe->sql('SELECT outbox.rotate()');
		$answer = $book->ask($blocked, 0);
		return $answer =~ $pattern;
	});
	return $answer;
}

sub shrinks
{
	poll_until('it to shrink', sub {
		my $answer = $book->ask($blocked, 4);
		return $answer !~ /waiting/ && (() = $answer =~ /empty/g) == 2;
	});
	pass('it shrinks');
	return;
}

my $session = $node->background_psql('blog');
$session->query_safe(q(SET application_name = 'forgetful'; BEGIN; SELECT count(*) FROM outbox.event));
my ($pid) = rotate_until('a session to be named', qr/blocking_pids +\| \{\d+\}/) =~ /blocking_pids +\| \{(\d+)\}/;
like($book->sql($blocked, 0), qr/^pid +\| $pid\n.*^application_name +\| forgetful\n.*^state +\| idle in transaction\n/ms,
	'who it is');
$book->sql($blocked, 1, 4711 => $pid);
shrinks();
eval { $session->quit };

$broker->declare_queue('late');
for my $number (2, 3)
{
	$pipe->sql(qq(BEGIN; SELECT outbox.publish('late', '$number'); PREPARE TRANSACTION 'forgotten'));
	like(rotate_until('a prepared transaction to be named', qr/gid +\| forgotten/), qr/blocking_gids +\| \{forgotten\}/,
		'a prepared transaction is named');
	$book->sql($blocked, $number);
	shrinks();
}
is($broker->wait_message('late')->{json}, 2, 'COMMIT PREPARED sends its events');
is($broker->queue_length('late'), 0, 'ROLLBACK PREPARED does not');

# ---- the relay does not start ----

my $stands = 'Runbook: the relay does not start';

# What the page says to do once the cause is mended.
sub goes_on
{
	my ($what, $id) = @_;
	$redis->set_keys("blog:$id");
	change($id);
	my $answer = $book->sql($stands, 1);
	like($answer, qr/wait_published \| t\n.*state +\| (?:idle|publishing)\n/s, "$what: it runs again");
	ok($redis->wait_gone("blog:$id"), "$what: what was recorded meanwhile is sent");
	return;
}

# Brings a cause about by a setting, and takes it away.
sub stopped_by
{
	my ($what, $setting, $value, $words) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET $setting = '$value'");
	$node->reload;
	poll_until("$what", sub { $book->ask($stands, 0) =~ /^state +\| not running\nlast_error +\| .*$words/m });
	pass("$what: its reason is told");
	$node->safe_psql('postgres', "ALTER SYSTEM RESET $setting");
	return;
}

stopped_by('a password file that is not there', 'outbox.amqp_password_file', '/nowhere', 'could not open');
goes_on('a password file', 10);
stopped_by('another cluster', 'outbox.run_on', 'another', 'names another cluster_name');
goes_on('another cluster', 11);
stopped_by('a certificate that is not there', 'outbox.amqp_url', 'amqps://guest@127.0.0.1:1/', 'CA file')
  if $node->safe_psql('postgres', q(ALTER SYSTEM SET outbox.amqp_ca_file = '/nowhere')) eq '';
$node->safe_psql('postgres', 'ALTER SYSTEM RESET outbox.amqp_ca_file');
goes_on('a certificate', 12);

# The library is not loaded: the one cause that needs a restart.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
change(13);
like($book->sql($stands, 0), qr/^state +\| not running\n.*^shared_preload_libraries \| \n/ms, 'the library is not loaded');
like($book->sh($stands, 0), qr/outbox relay: not running\n.*DETAIL/, 'the log has what was before');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_outbox'");
$node->restart;
goes_on('the library', 13);

is_deeply([ $book->not_run($dead, $relays, $workers, 'After messages were lost', $blocked, $stands) ], [],
	'every command of these runbooks was tried');
$pipe->finish;
