# Worker.pm
#    The outbox-worker under test, as a background program with its log.

package Outbox::Worker;

use strict;
use warnings;
use Outbox::Process;
use Outbox::Wait;

# Named arguments: dir (where its log goes), broker and redis (objects or URLs), and optionally
# program, options (array of command line options), env (hash), name.
sub new
{
	my ($class, %arg) = @_;
	my $self = bless {
		name    => $arg{name} // 'outbox-worker',
		dir     => $arg{dir},
		program => $arg{program} // $ENV{OUTBOX_WORKER} // 'outbox-worker',
		options => $arg{options} || [],
		env     => { %{ $arg{env} || {} } },
	}, $class;
	$self->{env}{OUTBOX_AMQP_URL}  = url_of($arg{broker}) if $arg{broker};
	$self->{env}{OUTBOX_REDIS_URL} = url_of($arg{redis})  if $arg{redis};
	return $self;
}

sub url_of { my ($server) = @_; return ref $server ? $server->url : $server }

sub start
{
	my ($self) = @_;
	$self->{server} = Outbox::Process->start(
		name    => $self->{name},
		command => [ $self->{program}, @{ $self->{options} } ],
		env     => $self->{env},
		dir     => $self->{dir},
		log     => $self->log_file);
	return $self;
}

sub pid      { return $_[0]{server}->pid }
sub alive    { return $_[0]{server} && $_[0]{server}->alive }
sub log_file { return "$_[0]{dir}/$_[0]{name}.log" }
sub log_tail { return $_[0]{server}->log_tail }
sub freeze   { $_[0]{server}->signal('STOP'); return }
sub thaw     { $_[0]{server}->signal('CONT'); return }
sub kill9    { $_[0]{server}->kill9;          return }
sub signal   { $_[0]{server}->signal($_[1]);  return }

# SIGTERM, and waits; returns its exit code, or dies if a signal ended it.
sub stop
{
	my ($self, $limit_s) = @_;
	return exit_code($self->{server}->stop('TERM', $limit_s));
}

# Waits until it ends by itself; returns its exit code.
sub wait_end
{
	my ($self, $limit_s) = @_;
	return exit_code($self->{server}->wait_end($limit_s));
}

sub exit_code
{
	my ($status) = @_;
	die sprintf("outbox-worker was ended by signal %d\n", $status & 127) if $status & 127;
	return $status >> 8;
}

sub log_text
{
	my ($self) = @_;
	open(my $file, '<', $self->log_file) or return '';
	local $/;
	return <$file> // '';
}

# Waits until its log matches.
sub wait_log
{
	my ($self, $pattern, $limit_s) = @_;
	poll_until("$pattern in the worker's log", sub { $self->log_text =~ $pattern }, $limit_s);
	return 1;
}

1;
