# Show.pm
#    What the demo says: headings, figures, checks, and the passing of time where something is slow.
#
# Every claim is a check: one that does not hold ends the demo with exit status 1.

package Demo::Show;

use strict;
use warnings;
use utf8;
use Exporter 'import';
use POSIX       ();
use Text::Wrap  ();
use Time::HiRes ();

our @EXPORT =
  qw(heading tell figure table check fail wait_with_words now_s milliseconds seconds
  median count_words);

use constant WIDTH        => 92;
use constant TICK_S       => 1;
use constant TICK_PLAIN_S => 10;    # where there is no terminal to overwrite a line on

my $checks = 0;
my $ticker;    # pid of the process that shows the passing of time, if there is one
my $terminal  = -t STDOUT;
my $started_s = now_s();

binmode STDOUT, ':encoding(UTF-8)';
$| = 1;

sub now_s { return Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC()) }

sub checks_made { return $checks }
sub elapsed_s   { return now_s() - $started_s }

sub bold { return $terminal ? "\e[1m$_[0]\e[0m" : $_[0] }
sub dim  { return $terminal ? "\e[2m$_[0]\e[0m" : $_[0] }

# ---- words --------------------------------------------------------------------------------------

sub heading
{
	my ($text) = @_;
	print "\n", bold($text), "\n";
	return;
}

sub tell
{
	my (@sentences) = @_;
	local $Text::Wrap::columns = WIDTH;
	local $Text::Wrap::huge    = 'overflow';
	print Text::Wrap::wrap('  ', '  ', join ' ', @sentences), "\n";
	return;
}

# A measured thing and its value; note follows in words.
sub figure
{
	my ($what, $value, $note) = @_;
	printf "    %-52s %12s%s\n", $what, $value, defined $note ? '  ' . dim($note) : '';
	return;
}

# Rows of words under a head; the first row is the head.
sub table
{
	my (@rows) = @_;
	my @width;
	for my $row (@rows)
	{
		for my $i (0 .. $#$row)
		{
			my $length = length $row->[$i];
			$width[$i] = $length if $length > ($width[$i] // 0);
		}
	}
	for my $n (0 .. $#rows)
	{
		my $line = join '   ', map { sprintf "%-$width[$_]s", $rows[$n][$_] } 0 .. $#width;
		$line =~ s/\s+$//;
		print '    ', $n == 0 ? dim($line) : $line, "\n";
	}
	return;
}

# ---- claims -------------------------------------------------------------------------------------

# Ends the demo if $holds is false; $found then says what was the case instead.
sub check
{
	my ($claim, $holds, $found) = @_;
	fail("This should be so, and is not: $claim." . (defined $found ? " Found: $found" : ''))
	  unless $holds;
	$checks++;
	print $terminal ? "    \e[32mok\e[0m  $claim\n" : "    ok  $claim\n";
	return;
}

sub fail { die Demo::Show::Failure->new($_[0]) }

# ---- time ---------------------------------------------------------------------------------------

sub milliseconds { return sprintf '%.*f ms', $_[0] < 0.1 ? 2 : 0, 1000 * $_[0] }
sub seconds      { return sprintf '%.*f s',  $_[0] < 10  ? 2 : 0, $_[0] }

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	return $sorted[ @sorted / 2 ];
}

# 1234567 -> 1,234,567
sub count_words
{
	my $text = reverse $_[0];
	$text =~ s/(\d{3})(?=\d)/$1,/g;
	return scalar reverse $text;
}

# Runs something slow while a line says what is waited for and for how long already. Returns what
# it returns, and dies as it dies.
sub wait_with_words
{
	my ($words, $act) = @_;
	my $start_s = now_s();
	$ticker = start_ticker($words);
	my $result = eval { $act->() };
	my $error  = $@;
	stop_ticker();
	die $error if $error;
	print $terminal ? "\r\e[K" : '', "  $words: ", seconds(now_s() - $start_s), "\n";
	return $result;
}

# A process of its own, since what is waited for may block this one. It ends with its parent.
sub start_ticker
{
	my ($words) = @_;
	print $terminal ? "  $words " : '';
	my $parent = $$;
	my $pid    = fork() // die "fork: $!\n";
	return $pid if $pid;

	$SIG{$_} = 'DEFAULT' for qw(TERM HUP);
	$SIG{INT} = 'IGNORE';                     # the terminal sends it to all; the parent decides
	my $every_s  = $terminal ? TICK_S : TICK_PLAIN_S;
	my $waited_s = 0;
	while (getppid() == $parent)
	{
		Time::HiRes::sleep(TICK_S);
		last if getppid() != $parent;
		$waited_s += TICK_S;
		next if $waited_s % $every_s;
		print $terminal ? "\r\e[K  $words … $waited_s s" : "  $words … $waited_s s\n";
	}
	POSIX::_exit(0);
}

sub stop_ticker
{
	return unless $ticker;
	kill 'KILL', $ticker;
	waitpid $ticker, 0;
	undef $ticker;
	return;
}

package Demo::Show::Failure;

use overload '""' => sub { return $_[0]{words} . "\n" }, fallback => 1;

sub new { my ($class, $words) = @_; return bless { words => $words }, $class }

1;
