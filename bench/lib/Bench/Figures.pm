# Figures.pm
#    What is made of many measurements: median, spread, percentiles, the slope of a curve.

package Bench::Figures;

use strict;
use warnings;
use Exporter 'import';
use List::Util qw(max min sum);

our @EXPORT = qw(median percentile spread slope by_round line);

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	my $half = int(@sorted / 2);
	return @sorted % 2 ? $sorted[$half] : ($sorted[ $half - 1 ] + $sorted[$half]) / 2;
}

# What this percentage of them does not exceed.
sub percentile
{
	my ($percent, @values) = @_;
	my @sorted = sort { $a <=> $b } @values;
	my $rank = int((@sorted * $percent + 99) / 100) || 1;
	return $sorted[ $rank - 1 ];
}

# Smallest and largest.
sub spread { return (min(@_), max(@_)) }

# How a quantity grows with a size: the exponent, by least squares in logarithms; 1 is linear. Pairs of
# size and quantity.
sub slope
{
	my (@points) = map { [ log $_->[0], log $_->[1] ] } grep { $_->[0] > 0 && $_->[1] > 0 } @_;
	return undef if @points < 2;
	my ($x, $y) = map { my $i = $_; sum(map { $_->[$i] } @points) / @points } 0, 1;
	my $square = sum(map { ($_->[0] - $x)**2 } @points);
	return $square == 0 ? undef : sum(map { ($_->[0] - $x) * ($_->[1] - $y) } @points) / $square;
}

# Lists with a figure for each round: what the function makes of each round's own.
sub by_round
{
	my ($function, @lists) = @_;
	my $rounds = min(map { scalar @$_ } @lists);
	return map { my $round = $_; $function->(map { $_->[$round] } @lists) } 0 .. $rounds - 1;
}

# A row of a table: median, and in parentheses the smallest and the largest.
sub line
{
	my ($title, @figures) = @_;
	my $median = median(@figures);
	my $digits = abs($median) >= 1000 ? 0 : abs($median) >= 100 ? 1 : abs($median) >= 1 ? 2 : 3;
	printf "  %-44s %10.${digits}f", $title, $median;
	printf "   (%.${digits}f to %.${digits}f)", min(@figures), max(@figures) if @figures > 1;
	print "\n";
	return;
}

1;
