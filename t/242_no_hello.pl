# What does not know HELLO (an old Redis, a proxy) is used all the same: it may refuse, or hang up.

use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::Redis;
use Outbox::Wait;
use Outbox::Worker;
use PostgreSQL::Test::Utils;
use Test::More;

my $pipe = Outbox::Pipeline->start(node => 0, worker => 0);
my ($broker, $redis) = map { $pipe->$_ } qw(broker redis);

# Stands before Redis, and answers HELLO itself: with these words, or not at all.
sub serve
{
	my ($listener, $words) = @_;
	my $select = IO::Select->new($listener);
	my (%peer, %seen);
	while (my @ready = $select->can_read)
	{
		for my $socket (@ready)
		{
			if ($socket == $listener)
			{
				my $client = $listener->accept;
				my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $redis->port);
				@peer{ $client, $server } = ($server, $client);
				$seen{$client} = 1;
				$select->add($client, $server);
				next;
			}
			my $other = $peer{$socket};
			my $size = sysread $socket, my $bytes, 65_536;
			if (!$size || ($seen{$socket} && $bytes =~ s/\*2\r\n\$5\r\nHELLO\r\n\$1\r\n2\r\n// && !$words))
			{
				$select->remove($socket, $other);
				close $_ for $socket, $other;
				next;
			}
			# Its answer comes before Redis' to what followed.
			syswrite $socket, $words if $size > length($bytes);
			syswrite $other, $bytes if length $bytes;
		}
	}
	return;
}

for my $case ([ 'an error', "-unsupported command\r\n" ], [ 'a hang-up', '' ])
{
	my ($what, $words) = @$case;
	my $port = free_port();
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 5, ReuseAddr => 1)
	  or die "listen: $!\n";
	my $pid = fork // die "fork: $!\n";
	if ($pid == 0)
	{
		$SIG{PIPE} = 'IGNORE';
		serve($listener, $words);
		require POSIX;
		POSIX::_exit(0);
	}
	close $listener;
	my $worker = Outbox::Worker->new(dir => $pipe->dir, name => $what =~ tr/ /-/r, broker => $broker,
		redis => "redis://127.0.0.1:$port/0");
	$worker->start;
	$redis->set_keys('a');
	$worker->wait_log(qr/info consuming/);
	$broker->publish('cache-invalidation', '{"keys":["a"]}');
	ok($redis->wait_gone('a'), "HELLO answered with $what: keys are deleted");
	is($worker->stop, 0, '... it ends with 0');
	kill 'KILL', $pid;
	waitpid $pid, 0;
}

$broker->discard;
$redis->kill9;
done_testing();
