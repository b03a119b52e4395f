# Life in the server, whatever the relay waits for (rows F5, F8, F9): no snapshot, lock or
# transaction is held; DROP DATABASE of another database does not wait; SIGTERM is obeyed within a
# second, and a fast stop of the server takes less than five. The log has a line for each change of
# state, none for each retry.

use strict;
use warnings;
use Outbox::FakeBroker;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::Postgres;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = Outbox::Pipeline::work_folder();
my $fake = Outbox::FakeBroker->start(dir => $dir);
my $elsewhere = free_port();
# Nothing here may be ended by a time limit of the relay's own.
my $node = Outbox::Postgres->create('pg', amqp_url => $fake->url(query => 'heartbeat=60'));
$node->start;
$node->create_blog;

sub use_url
{
	my ($url) = @_;
	$node->adjust_conf('postgresql.conf', 'outbox.amqp_url', "'$url'");
	$node->reload;
	return;
}

# How the relay gets into the state, and which state outbox.relay shows.
my $big = q(SELECT outbox.publish_bytes('', 'q', convert_to(repeat('x', 1000000), 'UTF8'), 'text/plain'));
my @states = (
	[ 'idle', 'idle', sub { } ],
	[ 'a peer that says nothing', 'connecting', sub { $fake->play(at => 'accept', do => 'freeze'); $fake->drop } ],
	[ 'a login that is not answered', 'connecting', sub { $fake->play(at => 'start_ok', do => 'silence'); $fake->drop } ],
	[ 'a queue that is not found out', 'connecting', sub { $fake->play(at => 'declare', do => 'silence'); $fake->drop } ],
	[ 'a confirm', 'publishing', sub { $fake->play(confirm => 'none'); $node->safe_psql('blog', q(SELECT outbox.invalidate('k'))) } ],
	[ 'F5: a broker frozen in the middle of a body', 'publishing', sub { $fake->play(freeze_after => 100_000); $node->safe_psql('blog', $big) } ],
	[ 'F8, F9: a broker that blocks', 'blocked', sub { $fake->play(blocked => 'low on memory'); $fake->drop } ],
	[ 'blocked, with a message half sent', 'blocked', sub {
		$fake->play(deaf => 1);
		$node->safe_psql('blog', $big);
		$node->wait_relay('publishing');
		$fake->say('blocked', 'low on memory') } ],
	[ 'nobody listens', 'waiting to reconnect', sub { use_url("amqp://127.0.0.1:$elsewhere") } ],
	[ 'outbox.resume()', 'paused', sub { $node->safe_psql('blog', 'SELECT outbox.pause()') } ]);

sub is_well
{
	my ($waits_for, $state, $enter) = @_;
	$node->safe_psql('postgres', 'CREATE DATABASE other');
	$enter->();
	my $pid = $node->wait_relay($state)->{pid};
	# It may just be looking for events.
	ok(poll_until('it to hold nothing', sub {
		return $node->safe_psql('postgres', qq(
			SELECT concat(backend_xmin, backend_xid) = '' AND
				(SELECT count(*) FROM pg_locks WHERE pid = $pid) = 0
			FROM pg_stat_activity WHERE pid = $pid)) eq 't' }), 'no snapshot, no transaction, no lock');

	my $began = monotonic_s();
	$node->safe_psql('postgres', q(SET statement_timeout = '20s'; DROP DATABASE other));
	cmp_ok(monotonic_s() - $began, '<', 2, 'DROP DATABASE of another database');

	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	$began = monotonic_s();
	poll_until('the relay to leave', sub { !kill 0, $pid });
	cmp_ok(monotonic_s() - $began, '<', 1, 'SIGTERM');

	isnt($node->wait_relay($state)->{pid}, $pid, 'the next one gets into the same state')
	  unless $state =~ /publishing|blocked/;
	$began = monotonic_s();
	$node->stop('fast');
	cmp_ok(monotonic_s() - $began, '<', 5, 'the server stops');
	return;
}

for my $case (@states)
{
	my ($waits_for, $state, $enter) = @$case;
	subtest "waiting for: $waits_for" => sub {
		$node->wait_relay('idle');
		is_well(@$case);
		$fake->play(map { $_ => undef } qw(at do confirm freeze_after blocked deaf));
		$fake->drop;
		$node->adjust_conf('postgresql.conf', 'outbox.amqp_url', "'${\ $fake->url(query => 'heartbeat=60') }'");
		$node->start;
		$node->safe_psql('blog', 'SELECT outbox.resume()') if $state eq 'paused';
		$node->wait_published;
		pass('then it goes on');
	};
}

# Retries are no news.
my $from = -s $node->logfile;
$node->wait_relay('idle');
use_url("amqp://127.0.0.1:$elsewhere");
my $reconnects = $node->wait_relay('waiting to reconnect')->{reconnects};
$node->safe_psql('blog', q(SELECT outbox.invalidate('waits')));
poll_until('five more tries', sub { $node->relay->{reconnects} >= $reconnects + 5 });
use_url($fake->url);
$node->wait_published;
my @lines = map { /LOG:  (outbox .*)/ ? $1 : () } split /\n/, slurp_file($node->logfile, $from);
s/[\d.]+:\d+/PEER/ for @lines;
is_deeply(\@lines, [
	'outbox relay takes over changed settings', 'outbox relay has no connection to PEER/',
	'outbox relay takes over changed settings', 'outbox relay publishes to PEER/' ],
	'the log has one line for each change, none for each try');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|FATAL:  (?!terminating)|ERROR:|terminated by signal/, 'nothing worse in the log');
$node->stop;
done_testing();
