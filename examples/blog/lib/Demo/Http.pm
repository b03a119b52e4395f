# Http.pm
#    Requests to the blog over one connection, so that what is timed is the blog.
#
# (HTTP::Tiny sends head and body in two pieces without TCP_NODELAY; together with the receiver's
# delayed acknowledgement that is 40 ms for each PUT, twenty times what the blog takes.)

package Demo::Http;

use strict;
use warnings;
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP TCP_NODELAY);

use constant LIMIT_S => 10;

sub new
{
	my ($class, $port) = @_;
	return bless { port => $port }, $class;
}

# Bytes in, bytes out. A hash of status, headers (names in lower case) and content. Dies where there
# is no answer within LIMIT_S.
sub request
{
	my ($self, $method, $path, $content) = @_;
	$content //= '';
	my $length = length $content;
	local $SIG{ALRM} = sub { die "$method $path: no answer within ${\ LIMIT_S } s\n" };
	local $SIG{PIPE} = 'IGNORE';
	alarm LIMIT_S;
	my $response = eval {
		my $socket = $self->connection;
		my $head =
		  "$method $path HTTP/1.1\r\nHost: blog\r\nContent-Type: application/json\r\n"
		  . "Content-Length: $length\r\n\r\n";
		print $socket $head, $content or die "$method $path: $!\n";
		$socket->flush or die "$method $path: $!\n";
		read_response($socket);
	};
	my $error = $@;
	alarm 0;
	delete $self->{socket} if $error || ($response->{headers}{connection} // '') eq 'close';
	die $error             if $error;
	return $response;
}

# The last one, unless the blog has closed it for being idle.
sub connection
{
	my ($self) = @_;
	if (my $socket = $self->{socket})
	{
		my $ready = '';
		vec($ready, fileno $socket, 1) = 1;
		return $socket unless select $ready, undef, undef, 0;
	}
	my $socket =
	  IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}, Timeout => LIMIT_S)
	  or die "cannot connect to the blog: $@\n";
	setsockopt($socket, IPPROTO_TCP, TCP_NODELAY, 1);
	$socket->autoflush(0);
	return $self->{socket} = $socket;
}

# The blog sends a Content-Length with everything but 204.
sub read_response
{
	my ($socket) = @_;
	local $/ = "\r\n";
	my $line = <$socket> // die "the blog closed the connection\n";
	my ($status) = $line =~ m{^HTTP/1\.1 (\d{3})} or die "the blog answered: $line\n";
	my %headers;
	while (defined($line = <$socket>) && $line ne "\r\n")
	{
		$headers{ lc $1 } = $2 if $line =~ /^([^:]+):\s*(.*?)\r\n/;
	}
	my $content = '';
	my $length  = $headers{'content-length'} // 0;
	read($socket, $content, $length) == $length
	  or die "the blog's answer broke off\n"
	  if $length > 0;
	return { status => $status, headers => \%headers, content => $content };
}

1;
