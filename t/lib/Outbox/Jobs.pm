# Jobs.pm
#    Runs test programs, several at a time, and counts what they say truthfully.
#
# A job is a command whose output is TAP or pg_regress's. It fails as one more test if it ends badly
# without having said that any test failed, if it ran fewer tests than it planned, or none at all.

package Outbox::Jobs;

use strict;
use warnings;
use Outbox::Process;
use Outbox::Wait;

# A job that takes longer hangs; make test-long gives some of them more rounds.
use constant JOB_LIMIT_S     => 400 * ($ENV{OUTBOX_TEST_ROUNDS} // 1);
use constant MAX_SHOWN_LINES => 150;

# Named arguments: log_dir, parallel.
sub new
{
	my ($class, %arg) = @_;
	return bless { %arg, queue => [], passed => 0, failed => 0, skipped => 0 }, $class;
}

# Named arguments: name, format (tap or regress), command, env, dir, and optionally show: files whose
# ends are shown on failure (a function that gives their names).
sub add
{
	my ($self, %job) = @_;
	push @{ $self->{queue} }, \%job;
	return;
}

# Something that failed before it could be a job.
sub add_failure
{
	my ($self, $name, $text) = @_;
	$self->{failed}++;
	print "FAILED  $name\n$text\n";
	return;
}

sub run
{
	my ($self) = @_;
	my @running;
	while (@{ $self->{queue} } || @running)
	{
		while (@{ $self->{queue} } && @running < $self->{parallel})
		{
			push @running, $self->begin(shift @{ $self->{queue} });
		}
		Time::HiRes::sleep(0.05);
		my @still;
		for my $job (@running)
		{
			$job->{late} = 1, $job->{process}->signal('TERM')
			  if monotonic_s() - $job->{start} > JOB_LIMIT_S && !$job->{late};
			$job->{process}->kill9 if monotonic_s() - $job->{start} > JOB_LIMIT_S + 30;
			$job->{process}->alive ? push @still, $job : $self->finish($job);
		}
		@running = @still;
	}
	return;
}

sub begin
{
	my ($self, $job) = @_;
	(my $file = $job->{name}) =~ tr{/}{_};
	$job->{log} = "$self->{log_dir}/$file.out";
	$job->{start} = monotonic_s();
	$job->{process} = Outbox::Process->start(
		name    => $job->{name},
		command => $job->{command},
		env     => $job->{env},
		dir     => $job->{dir},
		log     => $job->{log});
	return $job;
}

sub finish
{
	my ($self, $job) = @_;
	my @lines = read_lines($job->{log});
	my $count = $job->{format} eq 'tap' ? count_tap(@lines) : count_regress(@lines);
	my $problem = problem_of($job, $count);
	if ($problem)
	{
		$count->{failed}++ unless $count->{failed};
	}
	$self->{$_} += $count->{$_} for qw(passed failed skipped);

	printf "%s  %s (%d passed%s%s, %.1f s)%s\n", $count->{failed} ? 'FAILED' : 'ok    ',
	  $job->{name}, $count->{passed}, $count->{failed} ? ", $count->{failed} failed" : '',
	  $count->{skipped} ? ", $count->{skipped} skipped" : '', monotonic_s() - $job->{start},
	  $problem ? ": $problem" : '';
	return unless $count->{failed};
	$self->show($job, \@lines);
	push @{ $self->{failures} }, [ "failed in $job->{name}", $problem ? "$problem\n" : (), failures(@lines) ];
	return;
}

sub problem_of
{
	my ($job, $count) = @_;
	my $status = $job->{process}->exit_status;
	return "hung for ${\ JOB_LIMIT_S } s" if $job->{late};
	return sprintf 'ended by signal %d', $status & 127 if $status & 127;
	return sprintf 'exit status %d', $status >> 8 if $status != 0 && !$count->{failed};
	return 'bailed out' if $count->{bailed};
	my $seen = $count->{passed} + $count->{failed} + $count->{skipped};
	return "$seen tests of $count->{planned}" if defined $count->{planned} && $seen != $count->{planned};
	return 'no plan' if $job->{format} eq 'tap' && !defined $count->{planned};
	return 'no test ran' if $seen == 0;
	return;
}

# Several plans in one program (cmocka's groups) add up. Indented lines are subtests.
sub count_tap
{
	my %count = (passed => 0, failed => 0, skipped => 0);
	for (@_)
	{
		if (/^1\.\.(\d+)(\s*#\s*skip)?/i)
		{
			$count{planned} += $1;
			$count{skipped}++, $count{planned}++ if $2;
		}
		elsif (/^(?:not )?ok\b.*#\s*skip/i) { $count{skipped}++ }
		elsif (/^ok\b/)                     { $count{passed}++ }
		elsif (/^not ok\b.*#\s*todo/i)      { $count{skipped}++ }
		elsif (/^not ok\b/)                 { $count{failed}++ }
		elsif (/^Bail out!/)                { $count{bailed} = 1 }
	}
	return \%count;
}

# "test name ... ok" up to PostgreSQL 15; "ok 1 - name" from 16 on.
sub count_regress
{
	my %count = (passed => 0, failed => 0, skipped => 0);
	for (@_)
	{
		if    (/^(?:test|    )\s*\S+\s+\.\.\. ok\b/ || /^ok\s+\d+/)         { $count{passed}++ }
		elsif (/^(?:test|    )\s*\S+\s+\.\.\. FAILED/ || /^not ok\s+\d+/)   { $count{failed}++ }
	}
	return \%count;
}

sub show
{
	my ($self, $job, $lines) = @_;
	show_lines("output of $job->{name}", @$lines);
	for my $file ($job->{show} ? $job->{show}->() : ())
	{
		show_lines($file, read_lines($file));
	}
	return;
}

# Each test that failed, with what it says of it: it may stand far before the end.
sub failures
{
	my $about = 0;
	return grep { $about = 20 if /^not ok\b/; $about-- > 0 } @_;
}

sub show_lines
{
	my ($title, @lines) = @_;
	print "---- $title\n";
	if (@lines > MAX_SHOWN_LINES)
	{
		printf "(%d lines before these)\n", @lines - MAX_SHOWN_LINES;
		@lines = @lines[ -MAX_SHOWN_LINES .. -1 ];
	}
	chomp @lines;
	print "| $_\n" for @lines;
	return;
}

sub read_lines
{
	my ($path) = @_;
	open(my $file, '<', $path) or return ();
	my @lines = <$file>;
	return @lines;
}

# The end of a run, and its exit status: what failed, then the line that counts.
sub summary
{
	my ($self) = @_;
	show_lines(@$_) for @{ $self->{failures} };
	printf "%d passed, %d failed, %d skipped\n", @$self{qw(passed failed skipped)};
	return $self->{failed} || !$self->{passed} ? 1 : 0;
}

1;
