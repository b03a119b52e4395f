# Redis.pm
#    A private Redis server on a port and in a folder of its own, and a small client to ask it.
#
# REDIS_SERVER=valkey-server has the tests run on Valkey in its place: `make test-matrix`.

package Outbox::Redis;

use strict;
use warnings;
use Carp;
use File::Path ();
use IO::Socket::INET;
use Outbox::Port 'free_port';
use Outbox::Process;
use Outbox::Wait;

use constant PROGRAM       => $ENV{REDIS_SERVER} || 'redis-server';
use constant START_LIMIT_S => 30;
use constant TIME_LIMIT_S  => 20;

# Named arguments: dir (made if missing), and optionally options (array, as on the command line).
# Written to disk is each change at once (appendonly), so that kill -9 loses no key.
sub new
{
	my ($class, %arg) = @_;
	File::Path::make_path($arg{dir});
	return bless {
		dir     => $arg{dir},
		port    => free_port(),
		options => $arg{options} || [],
	}, $class;
}

sub port { return $_[0]{port} }
sub pid  { return $_[0]{server}->pid }
sub url  { return "redis://127.0.0.1:$_[0]{port}/0" }

# Starts it and waits until it answers.
sub start
{
	my ($self) = @_;
	$self->launch;
	poll_until(
		"Redis to answer on port $self->{port}",
		sub {
			die "it ended:\n" . $self->log_tail unless $self->{server}->alive;
			return $self->cli('PING') eq 'PONG';
		},
		START_LIMIT_S);
	return $self;
}

sub launch
{
	my ($self) = @_;
	$self->{server} = Outbox::Process->start(
		name    => PROGRAM,
		command => [
			PROGRAM, '--port', $self->{port}, '--bind', '127.0.0.1',
			'--dir', $self->{dir}, '--save', '', '--appendonly', 'yes',
			'--appendfsync', 'no', '--daemonize', 'no', @{ $self->{options} } ],
		dir => $self->{dir},
		log => "$self->{dir}/redis.log");
	return $self;
}

sub stop   { my ($self) = @_; delete $self->{socket}; $self->{server}->stop;  return }
sub kill9  { my ($self) = @_; delete $self->{socket}; $self->{server}->kill9; return }
sub freeze { $_[0]{server}->signal('STOP'); return }
sub thaw   { $_[0]{server}->signal('CONT'); return }

sub log_tail { return $_[0]{server}->log_tail }

# One command, as words; its answer: text, number, undef (nil), or array. Dies of an error answer.
sub cli
{
	my ($self, @command) = @_;
	return ($self->pipeline(\@command))[0];
}

# Several commands in one go: their answers.
sub pipeline
{
	my ($self, @commands) = @_;
	my @answers = eval {
		my $socket = $self->{socket} //= IO::Socket::INET->new(
			PeerAddr => '127.0.0.1',
			PeerPort => $self->{port},
			Timeout  => TIME_LIMIT_S) or die "connect to Redis: $@\n";
		local $SIG{PIPE} = 'IGNORE';
		local $SIG{ALRM} = sub { die "Redis did not answer within ${\ TIME_LIMIT_S } s\n" };
		alarm TIME_LIMIT_S;
		print $socket map { command_bytes(@$_) } @commands or die "write to Redis: $!\n";
		$socket->flush;
		my @all = map { read_answer($socket) } @commands;
		alarm 0;
		@all;
	};
	my $error = $@;
	alarm 0;
	if ($error)
	{
		# An answer that is still under way must not be taken for the next question's.
		delete $self->{socket};
		croak $error;
	}
	return @answers;
}

sub command_bytes
{
	return '*' . @_ . "\r\n" . join '', map { '$' . length($_) . "\r\n$_\r\n" } @_;
}

sub read_answer
{
	my ($socket) = @_;
	local $/ = "\r\n";
	my $line = <$socket> // die "Redis closed the connection\n";
	chomp $line;
	my ($type, $rest) = unpack 'aa*', $line;
	return $rest      if $type eq '+' || $type eq ':';
	die "Redis: $rest\n" if $type eq '-';
	return undef      if $rest < 0;
	return [ map { read_answer($socket) } 1 .. $rest ] if $type eq '*';
	read($socket, my $bytes, $rest + 2) == $rest + 2 or die "Redis closed the connection\n";
	return substr $bytes, 0, $rest;
}

# Sets these keys, each to "1".
sub set_keys
{
	my ($self, @keys) = @_;
	while (my @some = splice @keys, 0, 1000)
	{
		$self->cli('MSET', map { ($_ => 1) } @some);
	}
	return;
}

sub exists { my ($self, @keys) = @_; return $self->cli('EXISTS', @keys) }
sub size   { return $_[0]->cli('DBSIZE') }

# Waits until none of these keys exists.
sub wait_gone
{
	my ($self, @keys) = @_;
	poll_until("keys @keys to be gone from Redis", sub { !$self->exists(@keys) });
	return 1;
}

1;
