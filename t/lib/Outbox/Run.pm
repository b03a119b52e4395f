# Run.pm
#    The frame of a whole run (tests, demo, benchmark): one folder, one guard, no root in it.
#
# The guard makes the folder, lets `prepare` build and install into it as whoever called, then forks
# a child for `run`, which as root becomes the user postgres, since the server refuses root. When
# the child has ended, however it ended, the guard kills what is left and removes the folder.
# SIGINT, SIGTERM and SIGHUP of the guard end the child in good order, in at most STOP_LIMIT_S.

package Outbox::Run;

use strict;
use warnings;
use POSIX ();
use Outbox::Process;
use Outbox::Temp;
use Outbox::Wait;

use constant UNPRIVILEGED_USER => 'postgres';
use constant STOP_LIMIT_S      => 40;

my %signal_number = (HUP => 1, INT => 2, TERM => 15);

# Named arguments: label (of the folder), prepare and run (called with the folder's path; run
# returns the exit status), finish (called by the guard after run, as whoever called, with the path
# and the status), keep (leave folder and processes; default: environment variable KEEP).
# Returns the exit status.
sub main
{
	my ($class, %arg) = @_;
	my $temp = Outbox::Temp->create($arg{label});
	my $keep = $arg{keep} // $ENV{KEEP};
	local %ENV = (%ENV, OUTBOX_TEMP => $temp->path);
	my $status = eval {
		local @SIG{ keys %signal_number } =
		  map { my $number = $signal_number{$_}; sub { die "stopped by a signal\n" } }
		  keys %signal_number;
		$arg{prepare}->($temp->path);
		0;
	};
	if (!defined $status)
	{
		print STDERR $@;
		$status = 1;
	}
	else
	{
		$status = guard($temp, $arg{run});
		$arg{finish}->($temp->path, $status) if $arg{finish};
	}
	if ($keep)
	{
		print "kept: ${\ $temp->path }\n";
	}
	else
	{
		$temp->end;
	}
	return $status;
}

# Runs the child and waits for its end.
sub guard
{
	my ($temp, $run) = @_;
	my $stopped;
	my $pid;
	local @SIG{ keys %signal_number } = map {
		my $name = $_;
		sub { $stopped //= $signal_number{$name}; kill 'TERM', $pid if $pid }
	} keys %signal_number;

	$pid = fork() // die "fork: $!\n";
	child($temp->path, $run) if $pid == 0;

	my $end;
	while (waitpid($pid, POSIX::WNOHANG()) == 0)
	{
		kill 'TERM', $pid if $stopped && !$end;
		$end //= monotonic_s() + STOP_LIMIT_S if $stopped;
		kill 'KILL', $pid if $end && monotonic_s() > $end;
		Time::HiRes::sleep(0.05);
	}
	my $status = $?;
	return 128 + $stopped if $stopped;
	return $status & 127 ? 1 : $status >> 8;
}

sub child
{
	my ($path, $run) = @_;
	my $status = eval {
		for my $name (keys %signal_number)
		{
			my $number = $signal_number{$name};
			$SIG{$name} = sub { exit 128 + $number };
		}
		leave_root($path);
		$run->($path);
	};
	print STDERR $@ unless defined $status;
	# Through Perl's END blocks: they stop what was started.
	exit($status // 1);
}

# Folders that the unprivileged user may write: T/home and T/work.
sub leave_root
{
	my ($path) = @_;
	my @folders = ("$path/home", "$path/work");
	mkdir $_ or die "$_: $!\n" for @folders;
	if ($> == 0)
	{
		my (undef, undef, $uid, $gid) = getpwnam(UNPRIVILEGED_USER)
		  or die "no user \"${\ UNPRIVILEGED_USER }\"\n";
		chown $uid, $gid, @folders;
		$) = "$gid $gid";
		POSIX::setgid($gid) or die "setgid: $!\n";
		POSIX::setuid($uid) or die "setuid: $!\n";
		die "still root\n" if $> == 0 || $< == 0;
		$ENV{USER} = $ENV{LOGNAME} = UNPRIVILEGED_USER;
	}
	$ENV{HOME} = "$path/home";
	$ENV{TMPDIR} = "$path/work";
	chdir "$path/work" or die "$path/work: $!\n";
	return;
}

1;
