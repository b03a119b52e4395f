# 180_bench.pl
#    That the benchmark suite works, not how fast anything is: the smallest sizes, without Node.
#
# And that the document's tables are what its own results say.

use strict;
use warnings;
use FindBin;
use JSON::PP ();
use Test::More;

my $checkout = "$FindBin::RealBin/..";
my $results = "$ENV{TESTDIR}/suite.jsonl";
local %ENV = (%ENV,
	SMOKE           => 1,
	BENCH_INSTALLED => 1,
	BENCH_PROGRAMS  => "$checkout/build/bench",
	BENCH_RESULTS   => $results,
	WAYS            => 'none ours direct poll',
	PARTS           => 'recording:single ways:throughput,delay,load,drain,start,bulk');

subtest 'a run of the smallest sizes' => sub {
	my $output = `$^X $checkout/bench/suite 2>&1`;
	is($? >> 8, 0, 'ends well') or diag $output;
	like($output, qr/about \d+ (?:s|min) left/, 'tells how long it still takes');
	like($output, qr/results: /, 'and where its results are');
	unlike($output, qr/uninitialized|failed:/, 'without complaints');
	my @rows = $output =~ /^((?:NOT MET|met|not measured) .*)$/mg;
	cmp_ok(scalar @rows, '>=', 14, 'the table of goals');
	is(scalar(grep { /^not measured.*(?:added CPU|transactions\/s|delay|drain)/ } @rows), 0,
		'has a figure for what was measured') or diag join "\n", @rows;
};

subtest 'its results' => sub {
	open(my $file, '<', $results) or die "$results: $!\n";
	my @lines = map { JSON::PP::decode_json($_) } <$file>;
	my %seen = map { $_->{name} => $_ } @lines;
	ok($seen{$_}, "a line of $_") for qw(run single throughput delay load drain floor start bulk_drain);
	is(scalar(grep { !$_->{machine} || !$_->{at} } @lines), 0, 'each says when and on what machine');
	my ($ours) = grep { $_->{name} eq 'throughput' && $_->{way} eq 'ours' && $_->{sync} eq 'on' } @lines;
	cmp_ok($ours->{rounds}[0]{rate}, '>', 0, 'ours wrote');
	cmp_ok($ours->{rounds}[0]{spent_us}{relay}, '>', 0, 'and its relay worked');
};

subtest 'the document' => sub {
	my $output = `$^X $checkout/bench/report --check 2>&1`;
	is($? >> 8, 0, 'has the tables that its results make') or diag $output;
};

done_testing;
