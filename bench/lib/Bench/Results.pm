# Results.pm
#    A file of results, and the figures that tables and goals are made of.
#
# Of several results of the same thing in a file the last one counts. Every figure has a name, so that
# the table of goals, the document and the computation of its scale have the same numbers.

package Bench::Results;

use strict;
use warnings;
use Bench::Figures;
use JSON::PP ();
use List::Util qw(max min);

# A way that leaves more than this of its events while it is measured has not done the work.
use constant KEEPS_UP => 0.1;

# One result for each of these, not one for each name.
my @keys = qw(way clients sync state events keys arguments rate_of);

sub read_file
{
	my ($class, $path) = @_;
	my $self = bless { path => $path, by_name => {} }, $class;
	open(my $file, '<', $path) or die "$path: $!\n";
	while (<$file>)
	{
		my $result = JSON::PP::decode_json($_);
		my $key = join ' ', map { $result->{$_} // '' } @keys;
		$self->{by_name}{ $result->{name} }{$key} = $result;
	}
	return $self;
}

# All results of this name that have these members, in the order of ways in the run.
sub all
{
	my ($self, $name, %with) = @_;
	my @all = grep {
		my $result = $_;
		!grep { ($result->{$_} // '') ne $with{$_} } keys %with
	} values %{ $self->{by_name}{$name} || {} };
	return sort { ($a->{at} cmp $b->{at}) || (($a->{way} // '') cmp ($b->{way} // '')) } @all;
}

sub one
{
	my ($self, @wanted) = @_;
	my ($result) = $self->all(@wanted);
	return $result;
}

# ---- figures -------------------------------------------------------------------------------------

# What a trigger adds to a transaction: CPU (us) or WAL (bytes), median of the rounds' own differences.
sub added
{
	my ($self, $figure, $table) = @_;
	my $single = $self->one('single') or return undef;
	my $lists = $single->{$figure};
	return undef unless $lists->{"bench.$table"};
	return median(by_round(sub { $_[0] - $_[1] }, @$lists{ "bench.$table", 'bench.plain' }));
}

# As a share of what another one adds, round by round.
sub added_share
{
	my ($self, $peer) = @_;
	my $single = $self->one('single') or return undef;
	return median(by_round(sub { ($_[0] - $_[2]) / ($_[1] - $_[2]) },
		@{ $single->{cpu_us} }{ 'bench.watched', "bench.$peer", 'bench.plain' }));
}

# Rates of a way beside those of its baseline, round by round.
sub shares
{
	my ($self, $way, $clients, $sync) = @_;
	my $ours = $self->one('throughput', way => $way, clients => $clients, sync => $sync) or return;
	my $base = $self->one('throughput', way => $ours->{baseline}, clients => $clients, sync => $sync) or return;
	return by_round(sub { $_[0]{rate} / $_[1]{rate} }, $ours->{rounds}, $base->{rounds});
}

sub share
{
	my ($self, @of) = @_;
	my @shares = $self->shares(@of) or return undef;
	return median(@shares);
}

sub rate
{
	my ($self, $way, $clients, $sync) = @_;
	my $result = $self->one('throughput', way => $way, clients => $clients, sync => $sync) or return undef;
	return median(map { $_->{rate} } @{ $result->{rounds} });
}

# Of the events that were recorded, those that were not in the queue when the writers stopped.
sub left
{
	my ($self, $way, $clients, $sync) = @_;
	my $result = $self->one('throughput', way => $way, clients => $clients, sync => $sync) or return undef;
	return median(map { $_->{waiting} / $_->{transactions} } @{ $result->{rounds} });
}

# What a part of a way (backends, relay, worker, broker, redis ...) spends for a transaction: us.
sub spent_us
{
	my ($self, $way, $part, $clients, $sync) = @_;
	my $result = $self->one('throughput', way => $way, clients => $clients, sync => $sync) or return undef;
	return median(map { $part eq 'backends' ? $_->{backend_cpu_us} // 0 : $_->{spent_us}{$part} // 0 }
		@{ $result->{rounds} });
}

# Events a second of a drain.
sub drained
{
	my ($self, $way, $events, $keys) = @_;
	my $result = $self->one('drain', way => $way, events => $events, keys => $keys // 'many') or return undef;
	return median(map { $events / $_->{seconds} } @{ $result->{rounds} });
}

# Ways that are no floor and not ours, of those that have this result.
sub competitors
{
	my ($self, $name, %with) = @_;
	my %seen;
	return grep { !/none$|^node$|^ours$|^direct$/ && !$seen{$_}++ } map { $_->{way} } $self->all($name, %with);
}

# The best competitor by a function of the way: its name and figure. Nothing where there is none.
sub best
{
	my ($self, $function, @ways) = @_;
	my @figures = sort { $b->[1] <=> $a->[1] } grep { defined $_->[1] } map { [ $_, $function->($_) ] } @ways;
	return @figures ? @{ $figures[0] } : ();
}

# ---- goals ---------------------------------------------------------------------------------------

# Rows of figure, goal, measured, met: true, false, or undef where it was not measured.
sub goals
{
	my ($self) = @_;
	return (
		$self->goal_cpu, $self->goal_rates, $self->goal_wal, $self->goal_delay, $self->goal_load,
		$self->goal_drain, $self->goal_bulk, $self->goal_statement, $self->goal_snapshot, $self->goal_memory,
		$self->goal_idle);
}

sub goal_cpu
{
	my ($self) = @_;
	my ($ours, $usual, $lean) = map { $self->added('cpu_us', $_) } qw(watched usual lean);
	return map {
		my ($peer, $figure, $title) = @$_;
		my $share = $self->added_share($peer);
		row("writer's added CPU, single-row UPDATE, three templates", "<= 1/3 of $title",
			defined $share ? sprintf('%.1f us; %.1f us; %.2f', $ours, $figure, $share) : undef,
			defined $share && $share <= 1 / 3 + 0.005);
	} [ usual => $usual, 'textbook plpgsql' ], [ lean => $lean, 'the leanest plpgsql' ];
}

sub goal_rates
{
	my ($self) = @_;
	my @rows;
	for my $goal ([ on => 0.9 ], [ off => 0.8 ])
	{
		my ($sync, $least) = @$goal;
		my $share = $self->share('ours', 8, $sync);
		my @all = $self->competitors('throughput', clients => 8, sync => $sync);
		my @behind = grep { $self->left($_, 8, $sync) >= KEEPS_UP } @all;
		my @best = $self->best(sub { $self->share($_[0], 8, $sync) },
			grep { $self->left($_, 8, $sync) < KEEPS_UP } @all);
		push @rows, row("transactions/s, 8 writers, all on the same cores, synchronous_commit $sync",
			sprintf('>= %.0f %% of no invalidation; above every competitor that keeps up', 100 * $least),
			defined $share ? sprintf('%.0f %%%s%s', 100 * $share,
				@best ? sprintf('; best competitor (%s) %.0f %%', $best[0], 100 * $best[1]) : '',
				join '', map { sprintf '; %s %.0f %%, %.0f %% of it unpublished', $_,
					100 * $self->share($_, 8, $sync), 100 * $self->left($_, 8, $sync) } @behind) : undef,
			defined $share && $share >= $least && (!@best || $share > $best[1]));
	}
	return @rows;
}

sub goal_wal
{
	my ($self) = @_;
	my $bytes = $self->added('wal_bytes', 'watched');
	return row('WAL for each transaction, full-page images aside', '<= 260 bytes more',
		defined $bytes ? sprintf('%.0f bytes', $bytes) : undef, defined $bytes && $bytes <= 260);
}

sub goal_delay
{
	my ($self) = @_;
	my ($ours, $floor) = map { $self->one('delay', way => $_) } qw(ours direct);
	my $known = $ours && $floor;
	my ($median, $p99, $sent_median, $sent_p99) =
	  $known ? map { $ours->{$_} / $floor->{$_} } qw(median_ms p99_ms sent_median_ms sent_p99_ms) : ();
	my @tick = grep { /poll|pgq/ } $self->competitors('delay');
	my @times = map { $self->one('delay', way => $_)->{median_ms} / $ours->{median_ms} } $ours ? @tick : ();
	return (
		row('delay on idle, commit to key gone', 'median <= 1.15 x, p99 <= 1.5 x the C floor',
			$known ? sprintf('%.3f ms, %.3f ms; %.2f x, %.2f x; since the statement was sent %.2f x, %.2f x',
				@$ours{qw(median_ms p99_ms)}, $median, $p99, $sent_median, $sent_p99) : undef,
			$known && $median <= 1.15 && $p99 <= 1.5),
		row('... beside every polling or ticking competitor', '>= 5 x below',
			@times ? sprintf('%.0f x', min(@times)) : undef, @times && min(@times) >= 5));
}

sub goal_load
{
	my ($self) = @_;
	my $ours = $self->one('load', way => 'ours');
	my @others = map { [ $_, $self->one('load', way => $_)->{p99_ms} ] } $self->competitors('load');
	my ($best) = sort { $a->[1] <=> $b->[1] } @others;
	return row('delay at half load, p99', 'under 10 ms, below every competitor') unless $ours;
	# Who has less to do is compared at its own rate, where that was measured.
	my @faster = grep { $_->[1] <= $ours->{p99_ms} } @others;
	my ($said, $below) = ('', 1);
	for my $way (map { $_->[0] } @faster)
	{
		my $its = $self->one('load_at', way => $way);
		my $mine = $self->one('load_at', way => 'ours', rate_of => $way);
		$said .= sprintf('; at the %.0f transactions/s of %s %.2f ms, %s %.2f ms', $its->{rate}, $way, $mine->{p99_ms}, $way,
			$its->{p99_ms}) if $mine;
		$below = 0 unless $mine && $mine->{p99_ms} < $its->{p99_ms};
	}
	return row('delay at half load, p99', 'under 10 ms, below every competitor',
		sprintf('%.2f ms at %.0f transactions/s%s%s', @$ours{qw(p99_ms rate)},
			$best ? sprintf('; best competitor (%s) %.2f ms', @$best) : '', $said),
		$ours->{p99_ms} < 10 && $below);
}

# The largest backlog that was drained counts.
sub goal_drain
{
	my ($self) = @_;
	my ($most) = sort { $b <=> $a } map { $_->{events} } $self->all('drain', way => 'ours', keys => 'many');
	my $rate = defined $most ? $self->drained('ours', $most) : undef;
	my @best = $self->best(sub {
			my ($way) = @_;
			return max(map { $self->drained($way, $_->{events}) } $self->all('drain', way => $way));
		}, $self->competitors('drain'));
	return row('drain of ' . ($most // '1000000') . ' single-row transactions',
		'>= 500,000 keys/s, >= 20 x the best competitor',
		defined $rate ? sprintf('%.0f keys/s%s', $rate,
			@best ? sprintf('; %.0f x (%s: %.0f)', $rate / $best[1], @best) : '') : undef,
		defined $rate && $rate >= 500_000 && (!@best || $rate >= 20 * $best[1]));
}

sub goal_bulk
{
	my ($self) = @_;
	my $bulk = $self->one('bulk_drain');
	my $share = $bulk ? median(by_round(sub { $bulk->{rows} / $_[0]{gone_after_commit_s} / $_[1] },
		$bulk->{rounds}, $bulk->{unlink_keys_s})) : undef;
	return row('drain of one UPDATE of ' . ($bulk ? $bulk->{rows} : 1_000_000) . ' rows',
		'>= 80 % of pipelined UNLINK alone',
		$bulk ? sprintf('%.0f %% (%.0f keys/s)', 100 * $share,
			median(map { $bulk->{rows} / $_->{gone_after_commit_s} } @{ $bulk->{rounds} })) : undef,
		defined $share && $share >= 0.8);
}

sub goal_statement
{
	my ($self) = @_;
	my ($bulk) = grep { $_->{arguments} =~ /packed/ } $self->all('bulk');
	my %times = $bulk ? map { my $table = $_; $table => median(by_round(
		sub { $_[0] / $_[1] }, @{ $bulk->{time_us} }{ "bench.$table", 'bench.plain' })) }
	  grep { $bulk->{time_us}{"bench.$_"} } qw(watched lean usual pgq) : ();
	return row('UPDATE of 100,000 rows', '<= 1.25 x without',
		%times ? sprintf('%.2f x%s', $times{watched}, join '', map { sprintf '; %s %.1f x', $_, $times{$_} }
			grep { $_ ne 'watched' } sort keys %times) : undef,
		%times && $times{watched} <= 1.25);
}

sub goal_snapshot
{
	my ($self) = @_;
	my $through = $self->one('through');
	my $ours = $self->one('snapshot', way => 'ours');
	my $share = $through ? $through->{tenths_s}[-1] / $through->{tenths_s}[0] : undef;
	return row('held snapshot, ' . ($through ? $through->{events} : 10_000_000) . ' events',
		'last tenth >= 95 % of the first; outbox of its empty size; 0 dead tuples',
		$through ? sprintf('%.0f %%; empty after %.0f s; %s dead tuples', 100 * $share, $through->{empty_after_s},
			$through->{dead} // ($ours ? $ours->{dead} : '?')) : undef,
		$through && $share >= 0.95 && ($through->{dead} // ($ours ? $ours->{dead} : 1)) == 0);
}

sub goal_memory
{
	my ($self) = @_;
	my $relay = max(map { $_->{rss_own_kb} } map { $self->all($_) } qw(drain_relay bodies through));
	my $worker = max(map { values %{ $_->{peak_kb} } } $self->all('worker_memory'));
	my $known = defined $relay && defined $worker;
	return row('memory, relay + worker, at any backlog', 'under 48 MB',
		$known ? sprintf('%.0f MB + %.0f MB', $relay / 1024, $worker / 1024) : undef,
		$known && ($relay + $worker) / 1024 < 48);
}

sub goal_idle
{
	my ($self) = @_;
	my $idle = $self->one('idle');
	my $quiet = $idle ? $idle->{'no heartbeats'} : undef;
	my $looks = $quiet ? $quiet->{wake_ups} * 60 / $idle->{seconds} : undef;
	return row('idle', 'at most one look a minute; CPU not measurable in a minute',
		$idle ? sprintf('%.1f looks a minute, %.2f ms of CPU (%d ticks)', $looks, $quiet->{cpu_ns} / 1e6,
			$quiet->{ticks}) : undef,
		$idle && $looks < 1.5 && $quiet->{ticks} == 0);
}

sub row
{
	my ($figure, $goal, $measured, $met) = @_;
	return { figure => $figure, goal => $goal, measured => $measured,
		met => defined $measured ? ($met ? 'met' : 'NOT MET') : 'not measured' };
}

1;
