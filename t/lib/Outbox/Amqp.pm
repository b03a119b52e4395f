# Amqp.pm
#    A small AMQP 0-9-1 client for tests: one connection, one channel, one question at a time.
#
# rabbitmqctl takes a second for each question and cannot publish; this answers in a millisecond.
# It knows just what tests ask, waits at most TIME_LIMIT_S for each answer, and dies otherwise.

package Outbox::Amqp;

use strict;
use warnings;
use Encode ();
use IO::Socket::INET;
use Socket ();
use Outbox::Wait;

use constant {
	TIME_LIMIT_S => 20,
	FRAME_MAX    => 131_072,
	FRAME_END    => 0xCE,
	METHOD       => 1,
	HEADER       => 2,
	BODY         => 3,
	HEARTBEAT    => 8,
};

# Class and method numbers of what we wait for.
use constant {
	CONNECTION_START   => '10.10',
	CONNECTION_TUNE    => '10.30',
	CONNECTION_OPEN_OK => '10.41',
	CHANNEL_OPEN_OK    => '20.11',
	EXCHANGE_OK        => '40.11',
	EXCHANGE_DELETE_OK => '40.21',
	QUEUE_DECLARE_OK   => '50.11',
	QUEUE_BIND_OK      => '50.21',
	QUEUE_PURGE_OK     => '50.31',
	QUEUE_DELETE_OK    => '50.41',
	QUEUE_UNBIND_OK    => '50.51',
	BASIC_RETURN       => '60.50',
	GET_OK             => '60.71',
	GET_EMPTY          => '60.72',
	BASIC_ACK          => '60.80',
	CONFIRM_OK         => '85.11',
};

# Basic properties, in the order of their flags from bit 15 down, with their types.
my @properties = (
	[ content_type => 's' ], [ content_encoding => 's' ], [ headers        => 'F' ],
	[ delivery_mode => 'B' ], [ priority        => 'B' ], [ correlation_id => 's' ],
	[ reply_to     => 's' ], [ expiration       => 's' ], [ message_id     => 's' ],
	[ timestamp    => 'L' ], [ type             => 's' ], [ user_id        => 's' ],
	[ app_id       => 's' ], [ cluster_id       => 's' ]);

# Connects and logs in. Named arguments: port, user, password, vhost.
sub connect
{
	my ($class, %arg) = @_;
	my $socket = IO::Socket::INET->new(
		PeerAddr => '127.0.0.1',
		PeerPort => $arg{port},
		Timeout  => TIME_LIMIT_S) or die "connect to port $arg{port}: $@\n";
	setsockopt($socket, Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1) or die "TCP_NODELAY: $!\n";
	my $self = bless { socket => $socket, buffer => '' }, $class;
	my ($user, $password) = ($arg{user} // 'guest', $arg{password} // 'guest');

	$self->write_all("AMQP\0\0\x09\x01");
	$self->wait_method(CONNECTION_START);
	$self->send_method(0, 10, 11,
		pack_table({}) . short('PLAIN') . long("\0$user\0$password") . short('en_US'));
	# What the broker allows, if that is less.
	my (undef, $frame_max) = unpack 'nN', scalar $self->wait_method(CONNECTION_TUNE);
	$self->{frame_max} = $frame_max == 0 || $frame_max > FRAME_MAX ? FRAME_MAX : $frame_max;
	$self->send_method(0, 10, 31, pack('nNn', 1, $self->{frame_max}, 0));
	$self->send_method(0, 10, 40, short($arg{vhost} // '/') . short('') . "\0");
	$self->wait_method(CONNECTION_OPEN_OK);
	$self->send_method(1, 20, 10, short(''));
	$self->wait_method(CHANNEL_OPEN_OK);
	$self->send_method(1, 85, 10, "\0");
	$self->wait_method(CONFIRM_OK);
	return $self;
}

# Declares a durable queue; with passive => 1 only looks. Returns the number of ready messages.
sub declare_queue
{
	my ($self, $queue, %arg) = @_;
	my $flags = ($arg{passive} ? 1 : 0) | 2;
	$self->send_method(1, 50, 10,
		pack('n', 0) . short($queue) . chr($flags) . pack_table($arg{arguments} || {}));
	my $answer = $self->wait_method(QUEUE_DECLARE_OK);
	my $name_bytes = ord $answer;
	return unpack 'N', substr($answer, 1 + $name_bytes, 4);
}

sub delete_queue
{
	my ($self, $queue) = @_;
	$self->send_method(1, 50, 40, pack('n', 0) . short($queue) . "\0");
	$self->wait_method(QUEUE_DELETE_OK);
	return;
}

sub purge_queue
{
	my ($self, $queue) = @_;
	$self->send_method(1, 50, 30, pack('n', 0) . short($queue) . "\0");
	$self->wait_method(QUEUE_PURGE_OK);
	return;
}

# Declares a durable exchange.
sub declare_exchange
{
	my ($self, $exchange, $type) = @_;
	$self->send_method(1, 40, 10,
		pack('n', 0) . short($exchange) . short($type) . chr(2) . pack_table({}));
	$self->wait_method(EXCHANGE_OK);
	return;
}

sub delete_exchange
{
	my ($self, $exchange) = @_;
	$self->send_method(1, 40, 20, pack('n', 0) . short($exchange) . "\0");
	$self->wait_method(EXCHANGE_DELETE_OK);
	return;
}

sub bind_queue
{
	my ($self, $queue, $exchange, $routing_key) = @_;
	$self->send_method(1, 50, 20,
		pack('n', 0) . short($queue) . short($exchange) . short($routing_key) . "\0"
		  . pack_table({}));
	$self->wait_method(QUEUE_BIND_OK);
	return;
}

sub unbind_queue
{
	my ($self, $queue, $exchange, $routing_key) = @_;
	$self->send_method(1, 50, 50,
		pack('n', 0) . short($queue) . short($exchange) . short($routing_key) . pack_table({}));
	$self->wait_method(QUEUE_UNBIND_OK);
	return;
}

# Publishes bytes and waits for the broker's confirm; dies if no queue took it. Named arguments:
# exchange, routing_key, body, and any properties (content_type, type, message_id, headers ...).
sub publish
{
	my ($self, %arg) = @_;
	my ($flags, $values) = (0, '');
	for my $i (0 .. $#properties)
	{
		my ($name, $type) = @{ $properties[$i] };
		next unless defined $arg{$name};
		$flags |= 1 << (15 - $i);
		$values .= pack_property($type, $arg{$name});
	}
	my $body = $arg{body};
	$self->send_method(1, 60, 40,
		pack('n', 0) . short($arg{exchange} // '') . short($arg{routing_key}) . chr(1));
	$self->send_frame(HEADER, 1, pack('nnQ>n', 60, 0, length $body, $flags) . $values);
	my $piece_bytes = $self->{frame_max} - 8;
	for (my $at = 0; $at < length $body; $at += $piece_bytes)
	{
		$self->send_frame(BODY, 1, substr($body, $at, $piece_bytes));
	}
	my $returned = 0;
	my ($method) = $self->wait_method(BASIC_ACK, sub { $returned = 1 if $_[0] eq BASIC_RETURN });
	die "message to \"$arg{routing_key}\" was returned: no such queue\n" if $returned;
	return;
}

# Takes one message and acknowledges it. A hash of exchange, routing_key, redelivered, body (bytes)
# and its properties; undef where the queue is empty.
sub get
{
	my ($self, $queue) = @_;
	$self->send_method(1, 60, 70, pack('n', 0) . short($queue) . "\0");
	my ($answer, $method) = $self->wait_method([ GET_OK, GET_EMPTY ]);
	return undef if $method eq GET_EMPTY;

	my ($tag, $redelivered) = unpack 'Q>C', $answer;
	my $at = 9;
	my $message = {
		redelivered => $redelivered,
		exchange    => take_short(\$answer, \$at),
		routing_key => take_short(\$answer, \$at),
		$self->read_content,
	};
	$self->send_method(1, 60, 80, pack('Q>C', $tag, 0));
	return $message;
}

sub read_content
{
	my ($self) = @_;
	my ($type, $header) = $self->read_frame;
	die "expected a content header\n" unless $type == HEADER;
	my ($size, $flags) = unpack 'x4Q>n', $header;
	my $at = 14;
	my %content;
	for my $i (0 .. $#properties)
	{
		next unless $flags & 1 << (15 - $i);
		my ($name, $kind) = @{ $properties[$i] };
		$content{$name} = unpack_property($kind, \$header, \$at);
	}
	my $body = '';
	while (length $body < $size)
	{
		my ($frame_type, $piece) = $self->read_frame;
		die "expected a body frame\n" unless $frame_type == BODY;
		$body .= $piece;
	}
	return (%content, body => $body);
}

# ---- methods and frames --------------------------------------------------------------------------

sub send_method
{
	my ($self, $channel, $class, $method, $arguments) = @_;
	$self->send_frame(METHOD, $channel, pack('nn', $class, $method) . $arguments);
	return;
}

sub send_frame
{
	my ($self, $type, $channel, $payload) = @_;
	$self->write_all(pack('CnN', $type, $channel, length $payload) . $payload . chr(FRAME_END));
	return;
}

# Waits for one of these methods: its arguments, and which one it was. Others are shown to $other;
# connection.close and channel.close become errors in the broker's words.
sub wait_method
{
	my ($self, $wanted, $other) = @_;
	my %wanted = map { $_ => 1 } ref $wanted ? @$wanted : $wanted;
	while (1)
	{
		my ($type, $payload) = $self->read_frame;
		next unless $type == METHOD;
		my $method = join '.', unpack 'nn', $payload;
		my $arguments = substr $payload, 4;
		return wantarray ? ($arguments, $method) : $arguments if $wanted{$method};
		if ($method eq '10.50' || $method eq '20.40')
		{
			my ($code, $bytes) = unpack 'nC', $arguments;
			delete $self->{socket};
			die "broker closed: $code " . substr($arguments, 3, $bytes) . "\n";
		}
		$other->($method) if $other;
	}
}

# Type and payload of the next frame that is no heartbeat.
sub read_frame
{
	my ($self) = @_;
	while (1)
	{
		my ($type, undef, $size) = unpack 'CnN', $self->read_bytes(7);
		my $payload = $self->read_bytes($size);
		die "bad frame end\n" unless ord $self->read_bytes(1) == FRAME_END;
		return ($type, $payload) unless $type == HEARTBEAT;
	}
}

sub read_bytes
{
	my ($self, $count) = @_;
	my $end = monotonic_s() + TIME_LIMIT_S;
	while (length $self->{buffer} < $count)
	{
		my $socket = $self->{socket} or die "connection is closed\n";
		my $ready = '';
		vec($ready, fileno $socket, 1) = 1;
		my $left = $end - monotonic_s();
		die "broker did not answer within ${\ TIME_LIMIT_S } s\n"
		  if $left <= 0 || !select($ready, undef, undef, $left);
		sysread($socket, $self->{buffer}, 65_536, length $self->{buffer})
		  or die "broker closed the connection\n";
	}
	return substr $self->{buffer}, 0, $count, '';
}

sub write_all
{
	my ($self, $bytes) = @_;
	my $socket = $self->{socket} or die "connection is closed\n";
	local $SIG{PIPE} = 'IGNORE';
	while (length $bytes)
	{
		my $written = syswrite($socket, $bytes) // die "write to broker: $!\n";
		substr $bytes, 0, $written, '';
	}
	return;
}

# ---- values --------------------------------------------------------------------------------------

sub short { return pack 'C/a*', $_[0] }
sub long  { return pack 'N/a*', $_[0] }

# Strings, and numbers as int64, are all that tests put into tables.
sub pack_table
{
	my ($table) = @_;
	my $fields = '';
	for my $name (sort keys %$table)
	{
		my $value = $table->{$name};
		$fields .= short($name)
		  . (ref $value ? pack('aC', 't', $$value)    # \1, \0: a boolean
			: $value =~ /^-?\d+$/ ? pack('aq>', 'l', $value) : 'S' . long($value));
	}
	return long($fields);
}

sub pack_property
{
	my ($type, $value) = @_;
	return short($value)      if $type eq 's';
	return pack_table($value) if $type eq 'F';
	return chr $value         if $type eq 'B';
	return pack 'Q>', $value;
}

sub unpack_property
{
	my ($type, $bytes, $at) = @_;
	return take_short($bytes, $at)       if $type eq 's';
	return take_table($bytes, $at)       if $type eq 'F';
	return take($bytes, $at, 'C', 1)     if $type eq 'B';
	return take($bytes, $at, 'Q>', 8);
}

sub take
{
	my ($bytes, $at, $format, $size) = @_;
	my $value = unpack $format, substr($$bytes, $$at, $size);
	$$at += $size;
	return $value;
}

sub take_short
{
	my ($bytes, $at) = @_;
	my $size = take($bytes, $at, 'C', 1);
	return take($bytes, $at, 'a*', $size);
}

sub take_table
{
	my ($bytes, $at) = @_;
	my $size = take($bytes, $at, 'N', 4);
	my $end = $$at + $size;
	my %table;
	while ($$at < $end)
	{
		my $name = take_short($bytes, $at);
		$table{$name} = take_field($bytes, $at);
	}
	return \%table;
}

sub take_array
{
	my ($bytes, $at) = @_;
	my $size = take($bytes, $at, 'N', 4);
	my $end = $$at + $size;
	my @array;
	push @array, take_field($bytes, $at) while $$at < $end;
	return \@array;
}

my %fixed = (
	t => [ 'C', 1 ], b => [ 'c', 1 ], B => [ 'C', 1 ], s => [ 's>', 2 ], u => [ 'S>', 2 ],
	I => [ 'l>', 4 ], i => [ 'L>', 4 ], l => [ 'q>', 8 ], f => [ 'f>', 4 ], d => [ 'd>', 8 ],
	T => [ 'Q>', 8 ]);

sub take_field
{
	my ($bytes, $at) = @_;
	my $type = take($bytes, $at, 'a', 1);
	return take($bytes, $at, @{ $fixed{$type} }) if $fixed{$type};
	return take_table($bytes, $at) if $type eq 'F';
	return take_array($bytes, $at) if $type eq 'A';
	return undef if $type eq 'V';
	die "unknown field type \"$type\"\n" unless $type eq 'S' || $type eq 'x';
	my $size = take($bytes, $at, 'N', 4);
	return take($bytes, $at, 'a*', $size);
}

1;
