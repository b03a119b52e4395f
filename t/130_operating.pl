# Under systemd: ready, state, signs of life, stopping. And what the log says.

use strict;
use warnings;
use IO::Socket::UNIX;
use JSON::PP ();
use Outbox::Pipeline;
use Outbox::Wait;
use Outbox::Worker;
use PostgreSQL::Test::Utils;
use Socket;
use Test::More;

my $pipe = Outbox::Pipeline->start(node => 0, worker => 0);
my ($redis, $broker, $dir) = map { $pipe->$_ } qw(redis broker dir);

# What systemd would hear.
my $path = "$dir/notify";
my $socket = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $path) or die "$path: $!\n";
$socket->blocking(0);
my $heard = '';

sub hear
{
	while (defined $socket->recv(my $message, 4096))
	{
		$heard .= "$message\n";
	}
	return $heard;
}

sub wait_heard { my ($pattern) = @_; return poll_until("$pattern to be heard", sub { hear() =~ $pattern }) }

# Redis is not there: the unit is ready all the same.
$redis->stop;
$pipe->{worker} = Outbox::Worker->new(dir => $dir, broker => $broker, redis => $redis,
	options => ['--log-format=json'],
	env => { NOTIFY_SOCKET => $path, WATCHDOG_USEC => 400_000 })->start;
my $worker = $pipe->worker;
ok(wait_heard(qr/^READY=1$/m), 'ready once the loop turns');
ok(wait_heard(qr/^STATUS=waiting for redis: .*refused/m), 'the state in words');
ok(wait_heard(qr/(?:^WATCHDOG=1\n(?:.*\n)*?){3}/m), 'signs of life');
$redis->start;
ok(wait_heard(qr/^STATUS=consuming$/m), 'consuming');
$worker->freeze;
hear();
$heard = '';
my $end = monotonic_s() + 0.6;
poll_until('a while', sub { monotonic_s() > $end });
unlike(hear(), qr/WATCHDOG/, 'no sign of life of a loop that does not turn');
$worker->thaw;
ok(wait_heard(qr/^WATCHDOG=1$/m), '... and again once it does');
$redis->set_keys('a');
$broker->publish('cache-invalidation', '{"keys":["a"]}');
$redis->wait_gone('a');
is($worker->stop, 0, 'SIGTERM ends it with 0');
ok(wait_heard(qr/^STATUS=stopping.*\nSTOPPING=1$/m), 'stopping');

# Lines of JSON, each one whole.
my @lines = map { JSON::PP->new->utf8->decode($_) } split /\n/, $worker->log_text;
is_deeply([ map { $_->{event} } @lines ],
	[ 'starting', 'waiting for redis', 'consuming', 'stopping', 'stopped' ], 'one line for each change of state');
is($lines[-1]{keys_deleted}, 1, 'with its totals');

# An abstract socket, and one where nobody listens.
$worker = $pipe->{worker} = Outbox::Worker->new(dir => $dir, broker => $broker, redis => $redis,
	name => 'nobody', env => { NOTIFY_SOCKET => "\@outbox-test-$$", WATCHDOG_USEC => 'x' })->start;
$worker->wait_log(qr/info consuming/);
pass('nobody listens: it works all the same');

$pipe->finish;
