# Process.pm
#    A program that runs in the background for as long as a test or the demo needs it.
#
# Each leads a process group of its own, so that Ctrl-C at the terminal reaches only the one who
# started it, who then stops them in good order. Whatever ends this process (normal end, die,
# SIGINT, SIGTERM, SIGHUP), everything started here is killed by its own pid before it is gone.

package Outbox::Process;

use strict;
use warnings;
use Carp;
use POSIX ();
use Outbox::Wait;

use constant STOP_LIMIT_S => 30;
use constant TAIL_LINES   => 30;

my %running;    # pid -> object, of this process and of those it was forked from

for my $signal (qw(INT TERM HUP))
{
	my $number = { INT => 2, TERM => 15, HUP => 1 }->{$signal};
	$SIG{$signal} = sub { exit 128 + $number };
}

END
{
	my $status = $?;
	# Last started first; a forked child must not stop its parent's servers.
	my @mine = grep { $_->{owner} == $$ } values %running;
	$_->kill9 for sort { $b->{started} <=> $a->{started} } @mine;
	$? = $status;
}

# Starts a program. Named arguments: name, command (array), log (file, appended to), and optionally
# env (hash, added to ours; undef removes), dir (its working directory).
sub start
{
	my ($class, %arg) = @_;
	my $self = bless {
		name    => $arg{name},
		log     => $arg{log},
		owner   => $$,
		started => monotonic_s(),
	}, $class;
	local $| = 1;
	my $pid = fork() // croak "fork: $!";
	if ($pid == 0)
	{
		eval { exec_command(\%arg) };
		print STDERR "$arg{name}: $@";
		POSIX::_exit(127);
	}
	$self->{pid} = $pid;
	$running{$pid} = $self;
	return $self;
}

sub exec_command
{
	my ($arg) = @_;
	$SIG{$_} = 'DEFAULT' for qw(INT TERM HUP PIPE);
	setpgrp(0, 0);
	my $env = $arg->{env} || {};
	for my $name (keys %$env)
	{
		defined $env->{$name} ? ($ENV{$name} = $env->{$name}) : delete $ENV{$name};
	}
	chdir $arg->{dir} or die "chdir $arg->{dir}: $!\n" if defined $arg->{dir};
	untie *STDOUT;
	untie *STDERR;
	open(STDIN, '<', '/dev/null') or die "/dev/null: $!\n";
	# By number: what STDOUT and STDERR are in Perl a test library may have changed.
	open(my $log, '>>', $arg->{log}) or die "$arg->{log}: $!\n";
	POSIX::dup2(fileno($log), 1);
	POSIX::dup2(fileno($log), 2);
	no warnings 'exec';
	exec { $arg->{command}[0] } @{ $arg->{command} };
	die "cannot run $arg->{command}[0]: $!\n";
}

sub pid  { return $_[0]{pid} }
sub name { return $_[0]{name} }

# Whether it still runs. Once it has ended, exit_status tells how.
sub alive
{
	my ($self) = @_;
	return 0 if defined $self->{status};
	my $got = waitpid($self->{pid}, POSIX::WNOHANG());
	return 1 if $got == 0;
	$self->{status} = $got == $self->{pid} ? $? : -1;
	delete $running{ $self->{pid} };
	return 0;
}

# As in $?: exit code << 8, or the signal's number; undef while it runs.
sub exit_status { return $_[0]{status} }

sub signal
{
	my ($self, $signal) = @_;
	kill $signal, $self->{pid} if $self->alive;
	return;
}

# Waits until it has ended, and returns its status. Dies at the limit.
sub wait_end
{
	my ($self, $limit_s) = @_;
	poll_until("end of $self->{name} (pid $self->{pid})",
		sub { !$self->alive }, $limit_s // STOP_LIMIT_S);
	return $self->{status};
}

# Asks it to end, and waits; what does not listen is killed, and that is an error.
sub stop
{
	my ($self, $signal, $limit_s) = @_;
	return $self->{status} unless $self->alive;
	kill $signal // 'TERM', $self->{pid};
	eval { $self->wait_end($limit_s) };
	if (my $error = $@)
	{
		$self->kill9;
		croak $error;
	}
	return $self->{status};
}

# kill -9 of it and what it started (its process group), and waits until it is gone.
sub kill9
{
	my ($self) = @_;
	return unless $self->alive;
	kill 'KILL', -$self->{pid}, $self->{pid};
	# Also wakes one that is stopped: SIGKILL does.
	waitpid($self->{pid}, 0);
	$self->{status} = $?;
	delete $running{ $self->{pid} };
	return;
}

# The end of its log, for messages about failures.
sub log_tail
{
	my ($self) = @_;
	open(my $file, '<', $self->{log}) or return "(no log: $!)\n";
	my @lines = <$file>;
	splice @lines, 0, -TAIL_LINES if @lines > TAIL_LINES;
	return join '', @lines;
}

1;
