# FakeBrokerServer.pm
#    The process behind Outbox::FakeBroker, which lists what it can play.
#
# One loop over select: connections, and whoever tells it what to play. It waits for nothing else.

package Outbox::FakeBrokerServer;

use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP ();
use Outbox::Amqp;
use Outbox::Wait;
use Socket ();

use constant {
	TURN_S       => 0.01,
	QUIET_S      => 0.03,      # after this a group is confirmed that is not full
	READ_BYTES   => 262_144,
	FRAME_MAX    => 131_072,
	HEADER_BYTES => 8,         # what a client begins with
	KEPT_BYTES   => 65_536,    # of a body
};

sub serve
{
	my ($class, $port, $path) = @_;
	my $self = bless {
		play        => {},
		connections => {},
		confirmed   => [],
		counts      => { connections => 0, received => 0, largest_frame => 0 },
	}, $class;
	$SIG{PIPE} = 'IGNORE';
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 20,
		ReuseAddr => 1) or die "port $port: $@\n";
	my $control = IO::Socket::UNIX->new(Local => $path, Listen => 5) or die "$path: $!\n";
	$self->{$_->[0]} = $_->[1] for [ listener => $listener ], [ control => $control ];
	$self->turn while 1;
}

sub turn
{
	my ($self) = @_;
	my @connections = values %{ $self->{connections} };
	my $reading = IO::Select->new($self->{listener}, $self->{control}, $self->{teller} || ());
	$reading->add($_->{socket}) for grep { $self->may_read($_) } @connections;
	for my $socket ($reading->can_read(TURN_S))
	{
		if    ($socket == $self->{listener}) { $self->welcome($socket->accept) }
		elsif ($socket == $self->{control})  { $self->{teller} = $socket->accept }
		elsif ($self->{teller} && $socket == $self->{teller}) { $self->listen_to_teller }
		else
		{
			# It may have been dropped in this very turn.
			my $connection = defined fileno $socket ? $self->{connections}{ fileno $socket } : undef;
			$self->read_from($connection) if $connection;
		}
	}
	for my $connection (grep { !$_->{gone} } values %{ $self->{connections} })
	{
		$self->confirm_group($connection)
		  if @{ $connection->{group} } && monotonic_s() > $connection->{group_since} + QUIET_S;
		$self->beat($connection);
		$self->write_to($connection);
	}
	return;
}

# ---- what it is told -----------------------------------------------------------------------------

sub listen_to_teller
{
	my ($self) = @_;
	my $line = readline $self->{teller};
	return delete $self->{teller} unless defined $line;
	my ($what, @words) = @{ JSON::PP->new->utf8->decode($line) };
	my $method = "told_$what";
	my $answer = $self->$method(@words);
	print { $self->{teller} } JSON::PP->new->utf8->allow_nonref->encode($answer) . "\n";
	$self->{teller}->flush;
	return;
}

sub told_play
{
	my ($self, $roles) = @_;
	for my $role (keys %$roles)
	{
		defined $roles->{$role} ? ($self->{play}{$role} = $roles->{$role}) : delete $self->{play}{$role};
	}
	$_->{counted} = 0 for values %{ $self->{connections} };
	return 1;
}

sub ready { my ($self) = @_; return grep { $_->{ready} } values %{ $self->{connections} } }

sub told_bytes
{
	my ($self, $hex) = @_;
	$self->put($_, pack 'H*', $hex) for $self->ready;
	return 1;
}

sub told_say
{
	my ($self, $what, $text) = @_;
	if ($what eq 'close_channel')
	{
		$self->close_channel($_) for $self->ready;
		return 1;
	}
	my %method = (
		blocked       => [ 0, 10, 60, Outbox::Amqp::short($text // '') ],
		unblocked     => [ 0, 10, 61, '' ],
		close         => [ 0, 10, 50, closing(320, $text // 'CONNECTION_FORCED - faked') ]);
	$self->say($_, @{ $method{$what} }) for $self->ready;
	return 1;
}

# Nothing more is said or heard on it until it is opened anew.
sub close_channel
{
	my ($self, $connection) = @_;
	$self->say($connection, 1, 20, 40, closing(404, 'NOT_FOUND - faked'));
	$connection->{ready} = 0;
	$connection->{group} = [];
	return;
}

sub told_drop
{
	my ($self, $how) = @_;
	$self->leave($_, $how) for values %{ $self->{connections} };
	return 1;
}

sub told_counts
{
	my ($self) = @_;
	return {
		%{ $self->{counts} },
		open      => scalar(values %{ $self->{connections} }),
		ready     => scalar($self->ready),
		confirmed => scalar(@{ $self->{confirmed} }) };
}

sub told_confirmed { return $_[0]{confirmed} }

# ---- connections ---------------------------------------------------------------------------------

sub welcome
{
	my ($self, $socket) = @_;
	setsockopt($socket, Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1);
	$socket->blocking(0);
	$self->{counts}{connections}++;
	my $connection = $self->{connections}{ fileno $socket } = {
		socket => $socket, in => '', out => '', said => 0, counted => 0, tag => 0, group => [],
		beat_at => monotonic_s(), heartbeat => 0, cut_after => delete $self->{play}{cut_after} };
	# A small window, so that a frozen peer is felt.
	setsockopt($socket, Socket::SOL_SOCKET, Socket::SO_RCVBUF, 16_384);
	$self->acts($connection, 'accept');
	return;
}

sub may_read
{
	my ($self, $connection) = @_;
	return !$connection->{frozen} && !$self->{play}{deaf};
}

# Ends a connection: close, or reset (nothing that waits is sent, the peer gets RST).
sub leave
{
	my ($self, $connection, $how) = @_;
	return if $connection->{gone};
	$connection->{gone} = 1;
	delete $self->{connections}{ fileno $connection->{socket} };
	setsockopt($connection->{socket}, Socket::SOL_SOCKET, Socket::SO_LINGER, pack('ii', 1, 0))
	  if $how eq 'reset';
	close $connection->{socket};
	return;
}

# Something happens at this step instead of an answer: true.
sub acts
{
	my ($self, $connection, $step) = @_;
	my $play = $self->{play};
	return 0 unless ($play->{at} // '') eq $step;
	return 0 if defined $play->{times} && $play->{times}-- <= 0;
	my $do = $play->{do};
	if    ($do eq 'freeze') { $connection->{frozen} = 1 }
	elsif ($do eq 'bytes')  { $self->put($connection, pack 'H*', $play->{bytes}) }
	elsif ($do eq 'refuse') { $self->say($connection, 0, 10, 50, closing(403, 'ACCESS_REFUSED - faked')) }
	elsif ($do eq 'close_channel') { $self->close_channel($connection) }
	elsif ($do ne 'silence') { $self->leave($connection, $do) }
	return 1;
}

sub read_from
{
	my ($self, $connection) = @_;
	my $play = $self->{play};
	my $limit = READ_BYTES;
	my ($end) = $connection->{ready} ? grep { defined } @$play{qw(reset_after freeze_after)} : ();
	$limit = $end - $connection->{counted} if defined $end && $end - $connection->{counted} < $limit;
	if ($limit > 0)
	{
		my $got = sysread($connection->{socket}, $connection->{in}, $limit, length $connection->{in});
		return $self->leave($connection, 'close') unless $got;
		$connection->{counted} += $got if $connection->{ready};
	}
	$self->hear($connection);
	return if $connection->{gone} || !defined $end || $connection->{counted} < $end;
	return $connection->{frozen} = 1 if defined $play->{freeze_after};
	return $self->leave($connection, 'reset');
}

sub put
{
	my ($self, $connection, $bytes) = @_;
	$connection->{out} .= $bytes;
	$self->write_to($connection);
	return;
}

sub write_to
{
	my ($self, $connection) = @_;
	return if $connection->{frozen} || $connection->{gone} || $self->{play}{mute};
	my $end = $connection->{cut_after};
	my $left = defined $end ? $end - $connection->{said} : length $connection->{out};
	$left = length $connection->{out} if $left > length $connection->{out};
	my $written = $left > 0 ? syswrite($connection->{socket}, $connection->{out}, $left) // 0 : 0;
	substr $connection->{out}, 0, $written, '';
	$connection->{said} += $written;
	$self->leave($connection, 'reset') if defined $end && $connection->{said} >= $end;
	return;
}

sub beat
{
	my ($self, $connection) = @_;
	return unless $connection->{heartbeat} && monotonic_s() > $connection->{beat_at};
	$connection->{beat_at} = monotonic_s() + 0.4 * $connection->{heartbeat};
	$self->frame($connection, Outbox::Amqp::HEARTBEAT, 0, '');
	return;
}

# ---- frames and methods --------------------------------------------------------------------------

sub frame
{
	my ($self, $connection, $type, $channel, $payload) = @_;
	$self->put($connection, pack('CnN', $type, $channel, length $payload) . $payload . "\xCE");
	return;
}

sub say
{
	my ($self, $connection, $channel, $class, $method, $arguments) = @_;
	$self->frame($connection, Outbox::Amqp::METHOD, $channel, pack('nn', $class, $method) . $arguments);
	return;
}

sub closing { my ($code, $text) = @_; return pack('n', $code) . Outbox::Amqp::short($text) . pack('nn', 0, 0) }

sub hear
{
	my ($self, $connection) = @_;
	if (!$connection->{greeted} && length $connection->{in} >= HEADER_BYTES)
	{
		substr $connection->{in}, 0, HEADER_BYTES, '';
		$connection->{greeted} = 1;
		$self->say($connection, 0, 10, 10, pack('CC', 0, 9) . Outbox::Amqp::pack_table({})
			  . Outbox::Amqp::long('PLAIN AMQPLAIN') . Outbox::Amqp::long('en_US'))
		  unless $self->acts($connection, 'header');
	}
	while (!$connection->{gone} && !$connection->{frozen} && $connection->{greeted}
		&& length $connection->{in} >= 8)
	{
		my ($type, $channel, $size) = unpack 'CnN', $connection->{in};
		last if length $connection->{in} < $size + 8;
		my $frame = substr $connection->{in}, 0, $size + 8, '';
		$self->{counts}{largest_frame} = length $frame if length $frame > $self->{counts}{largest_frame};
		$self->hear_frame($connection, $type, $channel, substr($frame, 7, $size), $frame);
	}
	return;
}

sub hear_frame
{
	my ($self, $connection, $type, $channel, $payload, $frame) = @_;
	return $self->hear_method($connection, $payload) if $type == Outbox::Amqp::METHOD;
	return if $type == Outbox::Amqp::HEARTBEAT;
	my $publish = $connection->{publish} or die "a frame of type $type without a method\n";
	$publish->{left} = unpack 'x4Q>', $payload if $type == Outbox::Amqp::HEADER;
	$publish->{left} -= length $payload if $type == Outbox::Amqp::BODY;
	$publish->{frames} .= $frame;
	$self->hear_message($connection, delete $connection->{publish}) if $publish->{left} == 0;
	return;
}

# Step, and what answers it: channel, class, method, arguments.
my %answers = (
	'10.11' => [ 'start_ok', sub { 0, 10, 30, pack('nNn', @{ $_[0]{play}{tune} || [ 2047, FRAME_MAX, 0 ] }) } ],
	'10.40' => [ 'open', sub { 0, 10, 41, Outbox::Amqp::short('') } ],
	'10.50' => [ 'close', sub { 0, 10, 51, '' } ],
	'20.10' => [ 'channel', sub { 1, 20, 11, Outbox::Amqp::long('') } ],
	'40.10' => [ 'declare', sub { 1, 40, 11, '' } ],
	'50.10' => [ 'declare', sub { 1, 50, 11, substr($_[1], 2, 1 + ord substr $_[1], 2, 1) . pack('NN', 0, 0) } ],
	'50.20' => [ 'declare', sub { 1, 50, 21, '' } ],
	'85.10' => [ 'confirm', sub { 1, 85, 11, '' } ]);

sub hear_method
{
	my ($self, $connection, $payload) = @_;
	my $method = join '.', unpack 'nn', $payload;
	my $arguments = substr $payload, 4;
	if ($method eq '10.31')
	{
		$connection->{heartbeat} = unpack 'x6n', $arguments;
		$self->acts($connection, 'tune_ok');
	}
	elsif ($method eq '60.40')
	{
		my ($exchange, $routing_key) = unpack 'x2C/aC/a', $arguments;
		$connection->{publish} = { exchange => $exchange, routing_key => $routing_key, frames => '', left => -1 };
		$self->acts($connection, 'publish');
	}
	elsif (my $answer = $answers{$method})
	{
		my ($step, $make) = @$answer;
		return if $self->acts($connection, $step);
		$self->say($connection, $make->($self, $arguments));
		$self->begin($connection) if $step eq 'confirm';
		$self->leave($connection, 'close') if $step eq 'close';
	}
	return;
}

# Logged in, with confirms. Tags of a channel begin anew.
sub begin
{
	my ($self, $connection) = @_;
	@$connection{qw(ready counted tag group)} = (1, 0, 0, []);
	$self->say($connection, 0, 10, 60, Outbox::Amqp::short($self->{play}{blocked}))
	  if defined $self->{play}{blocked};
	return;
}

# ---- confirms ------------------------------------------------------------------------------------

sub hear_message
{
	my ($self, $connection, $publish) = @_;
	my $frames = bless { buffer => $publish->{frames} }, 'Outbox::Amqp';
	my $message = { exchange => $publish->{exchange}, routing_key => $publish->{routing_key},
		$frames->read_content, tag => ++$connection->{tag} };
	$message->{size} = length $message->{body};
	$message->{body} = '' if $message->{size} > KEPT_BYTES;
	return unless $connection->{ready};
	$self->{counts}{received}++;
	return if $self->acts($connection, 'message');
	my $how = $self->{play}{confirm} // 'each';
	return if $how eq 'none';
	push @{ $connection->{group} }, $message;
	$connection->{group_since} = monotonic_s();
	$self->confirm_group($connection)
	  if $how eq 'each' || @{ $connection->{group} } >= ($self->{play}{group} // 10);
	return;
}

sub confirm_group
{
	my ($self, $connection) = @_;
	my $how = $self->{play}{confirm} // 'each';
	my @group = @{ $connection->{group} };
	$connection->{group} = [];
	return $self->settle($connection, 1, 1, @group) if $how eq 'multiple';
	return map { $self->settle($connection, 1, 0, $_) } @group if $how eq 'each';
	while (@group)
	{
		# Any of them, sometimes with all before it.
		my $at = int rand @group;
		my $multiple = rand() < 0.3;
		my $good = rand() >= ($self->{play}{nack} // 0);
		$self->settle($connection, $good, $multiple, $multiple ? splice(@group, 0, $at + 1) : splice(@group, $at, 1));
	}
	return;
}

# Ack or nack of these messages, the last of which has the highest tag.
sub settle
{
	my ($self, $connection, $good, $multiple, @messages) = @_;
	return unless @messages;
	# What it has said yes to it has, whether or not the peer gets to know.
	push @{ $self->{confirmed} }, @messages if $good;
	$self->say($connection, 1, 60, $good ? 80 : 120,
		pack('Q>C', $messages[-1]{tag}, $good ? $multiple : ($multiple ? 1 : 0)));
	return;
}

1;
