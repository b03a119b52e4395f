# Port.pm
#    TCP ports that nobody else has, also not another run of these tests at the same time.
#
# Between choosing a port and the server's listening on it, and while a server is stopped on
# purpose, another run could take it. So each port is reserved by an abstract unix socket: known to
# all users of the machine, gone with this process, without any file.

package Outbox::Port;

use strict;
use warnings;
use Exporter 'import';
use Socket;

our @EXPORT_OK = qw(free_port);

# Below the ports that the kernel gives to outgoing connections: a client that knocks at a stopped
# server there can be given that very port and meet itself.
use constant FIRST_PORT => 10_240;
use constant LAST_PORT  => 32_000;
use constant MAX_TRIES  => 1_000;

my @reservations;
my $seeded_in = 0;

# A port on 127.0.0.1, reserved until this process ends.
sub free_port
{
	# A forked process must not walk through its parent's numbers.
	srand, $seeded_in = $$ if $seeded_in != $$;
	for (1 .. MAX_TRIES)
	{
		my $port = FIRST_PORT + int rand(LAST_PORT - FIRST_PORT);
		next unless can_listen($port);
		my $reservation = reserve($port) or next;
		push @reservations, $reservation;
		return $port;
	}
	die "no free port between " . FIRST_PORT . " and " . LAST_PORT . "\n";
}

sub reserve
{
	my ($port) = @_;
	socket(my $socket, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!\n";
	return bind($socket, pack_sockaddr_un("\0pg_outbox-test-port-$port")) ? $socket : undef;
}

sub can_listen
{
	my ($port) = @_;
	for my $address ('127.0.0.1', '0.0.0.0')
	{
		socket(my $socket, PF_INET, SOCK_STREAM, 0) or die "socket: $!\n";
		setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1);
		return 0 unless bind($socket, sockaddr_in($port, inet_aton($address)));
		return 0 unless listen($socket, 1);
	}
	return 1;
}

1;
