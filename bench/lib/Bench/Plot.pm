# Plot.pm
#    Small plots as SVG: bars, and lines on linear or logarithmic axes. Text stays text; colours follow the
#    reader's light or dark mode.

package Bench::Plot;

use strict;
use warnings;
use List::Util qw(max min);
use POSIX ();

use constant {
	WIDTH    => 720,
	LEFT     => 70,
	RIGHT    => 20,
	TOP      => 34,
	ROW      => 22,       # of bars
	NAMES    => 250,      # room for the names of bars
	HEIGHT   => 340,      # of lines
	BOTTOM   => 46,
	LEGEND   => 18,
};

# Bars of several series, grouped by name. Named arguments: title, unit, series (names), bars: a list of
# [ name, value of each series ]; undef is no bar. mark: a line at that value.
sub bars
{
	my (%arg) = @_;
	my $series = @{ $arg{series} };
	my $most = max(map { $_ // 0 } map { @$_[ 1 .. $#$_ ] } @{ $arg{bars} }) || 1;
	my $height = TOP + LEGEND + @{ $arg{bars} } * (ROW * $series + 8) + 14;
	my $room = WIDTH - NAMES - RIGHT - 60;
	my $svg = text(8, 20, $arg{title}, 'title');
	$svg .= legend(8, TOP + 6, @{ $arg{series} }) if $series > 1;
	my $y = TOP + LEGEND;
	for my $bar (@{ $arg{bars} })
	{
		my ($name, @values) = @$bar;
		$svg .= text(NAMES - 8, $y + ROW * $series / 2 + 4, $name, 'end');
		for my $i (0 .. $#values)
		{
			next unless defined $values[$i];
			my $width = $room * $values[$i] / $most;
			$svg .= sprintf qq(<rect class="s%d" x="%d" y="%.1f" width="%.1f" height="%d"/>\n), $i, NAMES,
			  $y + $i * ROW + 2, max($width, 0.5), ROW - 4;
			$svg .= text(NAMES + $width + 5, $y + $i * ROW + ROW / 2 + 4, shown($values[$i]) . ($arg{unit} // ''));
		}
		$y += ROW * $series + 8;
	}
	if (defined $arg{mark} && $arg{mark} <= $most)
	{
		my $x = NAMES + $room * $arg{mark} / $most;
		$svg .= sprintf qq(<line class="mark" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>\n), $x, TOP + LEGEND, $x, $y;
	}
	return document(WIDTH, $height, $svg);
}

# Lines. Named arguments: title, x, y (names of the axes), log_x, log_y, lines: a list of
# [ name, [ x, y ], … ].
sub lines
{
	my (%arg) = @_;
	my @points = map { @$_[ 1 .. $#$_ ] } @{ $arg{lines} };
	my %axis = (x => axis($arg{log_x}, map { $_->[0] } @points), y => axis($arg{log_y}, map { $_->[1] } @points));
	my $place = sub {
		my ($point) = @_;
		return (
			LEFT + (WIDTH - LEFT - RIGHT) * $axis{x}{at}->($point->[0]),
			HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP - LEGEND) * $axis{y}{at}->($point->[1]));
	};
	my $svg = text(8, 20, $arg{title}, 'title') . legend(8, TOP + 6, map { $_->[0] } @{ $arg{lines} });
	for my $tick (@{ $axis{x}{ticks} })
	{
		my ($x) = $place->([ $tick, $axis{y}{from} ]);
		$svg .= sprintf qq(<line class="grid" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>\n), $x, TOP + LEGEND, $x, HEIGHT - BOTTOM;
		$svg .= text($x, HEIGHT - BOTTOM + 16, shown($tick), 'middle');
	}
	for my $tick (@{ $axis{y}{ticks} })
	{
		my (undef, $y) = $place->([ $axis{x}{from}, $tick ]);
		$svg .= sprintf qq(<line class="grid" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/>\n), LEFT, $y, WIDTH - RIGHT, $y;
		$svg .= text(LEFT - 6, $y + 4, shown($tick), 'end');
	}
	$svg .= text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "$arg{x}; y: $arg{y}", 'middle');
	my $i = 0;
	for my $line (@{ $arg{lines} })
	{
		my (undef, @line) = @$line;
		my @places = map { sprintf '%.1f,%.1f', $place->($_) } @line;
		$svg .= sprintf qq(<polyline class="l%d" points="%s"/>\n), $i, join ' ', @places;
		$svg .= sprintf qq(<circle class="s%d" cx="%.1f" cy="%.1f" r="2.5"/>\n), $i, $place->($_) for @line;
		$i++;
	}
	return document(WIDTH, HEIGHT, $svg);
}

# Where a value lies on an axis, from 0 to 1, and which values are written beside it.
sub axis
{
	my ($log, @values) = @_;
	if ($log)
	{
		my ($from, $until) = (floor10(min(@values)), -floor10(-max(@values), 1));
		my $decades = max(1, $until - $from);
		return { from => 10**$from, ticks => [ map { 10**$_ } $from .. $from + $decades ],
			at => sub { (log($_[0]) / log(10) - $from) / $decades } };
	}
	my $most = max(@values) || 1;
	my $step = 10**int(log($most) / log(10));
	$step /= 2 if $most / $step < 4;
	$step /= 2.5 if $most / $step < 4;
	my $top = $step * (int($most / $step) + 1);
	return { from => 0, ticks => [ map { $_ * $step } 0 .. int($top / $step + 0.5) ], at => sub { $_[0] / $top } };
}

# Decade at or below a value; of -value: at or above it, negated.
sub floor10
{
	my ($value) = @_;
	my $log = log(abs $value) / log(10);
	return $value > 0 ? POSIX::floor($log + 1e-9) : -POSIX::ceil($log - 1e-9);
}

sub legend
{
	my ($x, $y, @names) = @_;
	my $svg = '';
	my $i = 0;
	for my $name (@names)
	{
		$svg .= sprintf qq(<rect class="s%d" x="%d" y="%d" width="10" height="10"/>\n), $i++, $x, $y - 9;
		$svg .= text($x + 14, $y, $name);
		$x += 26 + 6.4 * length $name;
	}
	return $svg;
}

sub shown
{
	my ($value) = @_;
	return sprintf '%gM', $value / 1e6 if $value >= 1e6;
	return sprintf '%gk', sprintf '%.3g', $value / 1e3 if $value >= 1e4;
	return $value >= 100 ? sprintf '%.0f', $value : sprintf '%.3g', $value;
}

sub text
{
	my ($x, $y, $text, $class) = @_;
	$text =~ s/&/&amp;/g;
	$text =~ s/</&lt;/g;
	return sprintf qq(<text x="%.0f" y="%.0f"%s>%s</text>\n), $x, $y, $class ? qq( class="$class") : '', $text;
}

sub document
{
	my ($width, $height, $content) = @_;
	return <<"SVG";
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 $width $height" width="$width" height="$height" font-family="system-ui, sans-serif" font-size="12">
<style>
text{fill:#24292f}.title{font-size:14px;font-weight:600}.end{text-anchor:end}.middle{text-anchor:middle}
.grid{stroke:#8884;stroke-width:1}.mark{stroke:#888;stroke-width:1.5;stroke-dasharray:4 3}
polyline{fill:none;stroke-width:2}
.s0{fill:#2f6fde}.s1{fill:#e07b28}.s2{fill:#3a9d5d}.s3{fill:#b64fc8}.s4{fill:#888}
.l0{stroke:#2f6fde}.l1{stroke:#e07b28}.l2{stroke:#3a9d5d}.l3{stroke:#b64fc8}.l4{stroke:#888}
\@media(prefers-color-scheme:dark){text{fill:#d0d7de}}
</style>
$content</svg>
SVG
}

1;
