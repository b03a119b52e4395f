# FakeBroker.pm
#    A broker that misbehaves on demand, for what no real one can be brought to do.
#
# A process of its own (Outbox::FakeBrokerServer) that speaks as much AMQP as it takes to log in, to
# find any queue and exchange, and to publish with confirms. What it plays is told while it runs:
#
#     my $fake = Outbox::FakeBroker->start(dir => $dir, name => 'fake');
#     $fake->play(confirm => 'none');          # from now on
#     $fake->bytes("\x09garbage");             # to who is logged in
#     is($fake->count('confirmed'), 0);
#
# Roles for play; each stays until it is played anew, undef takes it off:
#
#     tune      => [ channel_max, frame_max, heartbeat ]
#     at        => a step of every connection: accept, header, start_ok, tune_ok, open, channel,
#                  declare, confirm, publish, message
#     do        => what happens there instead of an answer: close, reset, refuse (connection.close),
#                  close_channel, silence, freeze, or bytes (those of `bytes`, in hex)
#     times     => so many times only, then it behaves
#     confirm   => each (the default), none, multiple, shuffled
#     group     => so many messages, or a moment of quiet, before multiple or shuffled confirms
#     nack      => share of the messages that shuffled confirms refuse
#     reset_after, freeze_after => bytes that it reads of a logged-in connection, from its login or
#                  from now on, before it resets it, or reads and says no more
#     cut_after => bytes that it says to the next connection before it resets it; once
#     mute      => it reads, and says nothing, not even heartbeats; deaf => the other way round
#     blocked   => connection.blocked with this reason once logged in

package Outbox::FakeBroker;

use strict;
use warnings;
use Carp;
use IO::Socket::UNIX;
use JSON::PP ();
use Outbox::Port 'free_port';
use Outbox::Process;
use Outbox::Wait;

# Named arguments: dir (for its log and control socket), name.
sub start
{
	my ($class, %arg) = @_;
	my $name = $arg{name} // 'fake';
	my $self = bless { port => free_port(), path => "$arg{dir}/$name.control" }, $class;
	$self->{process} = Outbox::Process->start(
		name    => $name,
		command => [
			$^X, '-MOutbox::FakeBrokerServer', '-e', 'Outbox::FakeBrokerServer->serve(@ARGV)',
			$self->{port}, $self->{path} ],
		log => "$arg{dir}/$name.log");
	poll_until("$name to listen", sub { $self->{control} = IO::Socket::UNIX->new(Peer => $self->{path}) });
	return $self;
}

sub port { return $_[0]{port} }

# Without a password unless one is given: ALTER DATABASE ... SET takes it then.
sub url
{
	my ($self, %arg) = @_;
	my $user = defined $arg{user} ? "$arg{user}\@" : '';
	my $query = defined $arg{query} ? "?$arg{query}" : '';
	return "amqp://${user}127.0.0.1:$self->{port}/%2f$query";
}

sub play  { my ($self, %roles) = @_; return $self->tell('play', \%roles) }
sub bytes { my ($self, $bytes) = @_; return $self->tell('bytes', unpack 'H*', $bytes) }

# One AMQP method to who is logged in: blocked, unblocked, close, close_channel.
sub say { my ($self, @words) = @_; return $self->tell('say', @words) }

# Ends all connections: close or reset.
sub drop { my ($self, $how) = @_; return $self->tell('drop', $how // 'reset') }

# connections (ever made), open (now), ready (of these, logged in), received and confirmed messages,
# largest_frame (bytes, of all it received).
sub count { my ($self, $what) = @_; return $self->tell('counts')->{$what} }

# Messages it has confirmed, in order: hashes of exchange, routing_key, headers, size, body ('' if it
# is over 64 kB).
sub confirmed { my ($self) = @_; return @{ $self->tell('confirmed') } }

# Waits until that many (more than now, with by => 1) were counted.
sub wait_count
{
	my ($self, $what, $at_least, $limit_s) = @_;
	return poll_until("$at_least $what", sub { $self->count($what) >= $at_least }, $limit_s);
}

sub tell
{
	my ($self, @words) = @_;
	my $control = $self->{control};
	print $control JSON::PP->new->utf8->encode(\@words) . "\n";
	$control->flush;
	my $answer = <$control> // croak "the fake broker has ended:\n" . $self->{process}->log_tail;
	return JSON::PP->new->utf8->allow_nonref->decode($answer);
}

sub stop { my ($self) = @_; $self->{process}->kill9; return }

1;
