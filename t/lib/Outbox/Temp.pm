# Temp.pm
#    One temporary folder for all that a run makes, and the means to leave nothing behind.
#
# Servers are stopped by those who started them. This is the net below: a process belongs to a run
# if it runs a program of that folder, works in it, or carries its name in the environment
# (OUTBOX_TEMP); such a process is killed by its pid before the folder goes.

package Outbox::Temp;

use strict;
use warnings;
use File::Path ();
use File::Temp ();
use Outbox::Wait;

use constant MAX_PATH_BYTES => 40;    # unix sockets below it must stay under 108 bytes
use constant SWEEP_LIMIT_S  => 10;

# Makes a folder; other users may look into it, since servers may run as another user.
sub create
{
	my ($class, $label) = @_;
	my $base = $ENV{TMPDIR};
	$base = '/tmp' unless defined $base && $base =~ m{^/} && -w $base && length($base) < MAX_PATH_BYTES;
	my $path = File::Temp::tempdir("$label.XXXXXX", DIR => $base, CLEANUP => 0);
	chmod 0755, $path or die "$path: $!\n";
	return bless { path => $path, owner => $$ }, $class;
}

# A folder that another process made and left running.
sub open
{
	my ($class, $path) = @_;
	return bless { path => $path, owner => $$ }, $class;
}

sub path { return $_[0]{path} }

# Ends every process of this folder but this one and its parents, then removes the folder.
sub end
{
	my ($self) = @_;
	return unless $self->{owner} == $$;
	$self->sweep;
	File::Path::remove_tree($self->{path}, { safe => 0 });
	return;
}

# Kills what is left; returns the names of what it had to kill.
sub sweep
{
	my ($self) = @_;
	my %spared = map { $_ => 1 } ancestors();
	my %killed;
	my $end = monotonic_s() + SWEEP_LIMIT_S;

	# Until none is found: what is being killed may still fork.
	while (monotonic_s() < $end)
	{
		my @pids = grep { !$spared{$_} && $self->owns($_) } all_pids();
		last unless @pids;
		$killed{ command_of($_) }++ for @pids;
		kill 'KILL', @pids;
		waitpid($_, 1) for @pids;    # 1: WNOHANG; ours, or nobody's business
		Time::HiRes::sleep(0.02);
	}
	my @names = sort keys %killed;
	return @names;
}

sub owns
{
	my ($self, $pid) = @_;
	return 0 if state_of($pid) eq 'Z';
	for my $link ('exe', 'cwd')
	{
		my $target = readlink "/proc/$pid/$link";
		return 1 if defined $target && $target =~ m{^\Q$self->{path}\E(/|$)};
	}
	my $environment = slurp("/proc/$pid/environ");
	return $environment =~ /(?:^|\0)OUTBOX_TEMP=\Q$self->{path}\E(?:\0|$)/ ? 1 : 0;
}

sub all_pids
{
	opendir(my $proc, '/proc') or die "/proc: $!\n";
	return grep { /^\d+$/ } readdir $proc;
}

sub ancestors
{
	my @pids;
	for (my $pid = $$; $pid && $pid > 1;)
	{
		push @pids, $pid;
		($pid) = slurp("/proc/$pid/status") =~ /^PPid:\s*(\d+)/m;
	}
	return @pids;
}

sub state_of
{
	my ($pid) = @_;
	my ($state) = slurp("/proc/$pid/status") =~ /^State:\s*(\S)/m;
	return $state // 'Z';
}

sub command_of
{
	my ($pid) = @_;
	my $command = slurp("/proc/$pid/cmdline");
	$command =~ tr/\0/ /;
	return substr($command, 0, 80) || '?';
}

sub slurp
{
	my ($path) = @_;
	CORE::open(my $file, '<', $path) or return '';
	local $/;
	return <$file> // '';
}

1;
