# Document.pm
#    Tables and plots of docs/performance.md and README.md, from a file of results.
#
# Each table has a name and stands between <!-- bench:NAME --> and <!-- /bench -->.

package Bench::Document;

use strict;
use warnings;
use utf8;
use Bench::Figures;
use Bench::Plot;
use List::Util qw(max min sum);

# What a vCPU costs for an hour: an assumption, written beside what is computed with it.
use constant {
	PRICE_HOUR   => 0.04,
	HOURS_MONTH  => 730,
	WRITES_S     => 100_000,
	REDIS_NODES  => 100,
	FULL         => 0.7,       # of a processor that a process may be given to do
};

my %tables = (
	run        => \&table_run,
	goals      => \&table_goals,
	writer     => \&table_writer,
	throughput => \&table_throughput,
	wide       => \&table_wide,
	spent      => \&table_spent,
	limit      => \&table_limit,
	delay      => \&table_delay,
	drain      => \&table_drain,
	growth     => \&table_growth,
	start      => \&table_start,
	snapshot   => \&table_snapshot,
	slow       => \&table_slow,
	memory     => \&table_memory,
	idle       => \&table_idle,
	money      => \&table_money,
	scale      => \&table_scale,
	profile_writer => \&table_profile_writer,
	profile_drain  => \&table_profile_drain,
	summary    => \&table_summary);

my %plots = (
	throughput => \&plot_throughput,
	delay      => \&plot_delay,
	drain      => \&plot_drain,
	rows       => \&plot_rows,
	snapshot   => \&plot_snapshot);

# The text with its tables as the results have them.
sub filled
{
	my ($text, $results) = @_;
	$text =~ s{(<!-- bench:(\w+) -->\n).*?(<!-- /bench -->)}{
		my ($begin, $name, $end) = ($1, $2, $3);
		my $table = $tables{$name} or die "no table \"$name\"\n";
		$begin . ($table->($results) || "Not measured in this run.\n") . $end;
	}gse;
	return $text;
}

# File names and contents.
sub plots
{
	my ($results) = @_;
	my %files = map { my $svg = $plots{$_}->($results); $svg ? ("$_.svg" => $svg) : () } keys %plots;
	return \%files;
}

sub table
{
	my ($head, @rows) = @_;
	return '' unless @rows;
	my @lines = map { my $i = $_; is_number($rows[0][$i]) ? '---:' : '---' } 0 .. $#$head;
	return join '', map { "| $_ |\n" } join(' | ', @$head), join(' | ', @lines), map { join ' | ', map { $_ // '' } @$_ } @rows;
}

# Numbers, with their unit or without, stand to the right.
sub is_number { my ($text) = @_; return ($text // '') =~ /^(?:[\d.,]+(?: \S+)?|)$/ }

# A share of one in percent; a number with as many digits as it deserves.
sub percent { my ($share) = @_; return defined $share ? sprintf '%.0f %%', 100 * $share : '' }

sub digits
{
	my ($value) = @_;
	return '' unless defined $value;
	my $text = abs($value) >= 100 ? sprintf '%.0f', $value : sprintf '%.3g', $value;
	1 while $text =~ s/^(-?\d+)(\d{3})/$1,$2/;
	return $text;
}

sub ways_of
{
	my ($results, $name, %with) = @_;
	my %order;
	@order{qw(none ours direct poll listen pgq pto_none pto_poll pto_log node node_publish node_confirm worker)} = 0 .. 12;
	return sort { $order{ $a->{way} } <=> $order{ $b->{way} } } $results->all($name, %with);
}

# ---- tables --------------------------------------------------------------------------------------

sub table_run
{
	my ($results) = @_;
	my $run = $results->one('run') or return '';
	my ($some) = $results->all('throughput');
	my $versions = $some ? $some->{versions} : {};
	my $settings = $some ? $some->{settings} : {};
	return join('', map { "- $_\n" }
		"$run->{at}, commit $run->{commit}, `make bench`" . ($run->{scale} eq 'full' ? '' : " \U$run->{scale}\E=1"),
		$run->{machine},
		join(', ', map { "$_ $versions->{$_}" } grep { defined $versions->{$_} } sort keys %$versions) || 'versions unknown',
		join(', ', map { "$_ = $settings->{$_}" } sort keys %$settings) || 'settings unknown');
}

sub table_goals
{
	my ($results) = @_;
	return table([ 'figure', 'goal', 'measured', '' ],
		map { [ $_->{figure}, $_->{goal} =~ s/<=/≤/gr =~ s/>=/≥/gr, $_->{measured} // '-', $_->{met} ] } $results->goals);
}

sub table_writer
{
	my ($results) = @_;
	my ($bulk) = grep { $_->{arguments} =~ /packed/ } $results->all('bulk');
	my @rows;
	for my $row ([ watched => 'pg_outbox, three templates' ], [ lean => 'plpgsql, the leanest' ],
		[ usual => 'plpgsql, as textbooks have it' ], [ pgq => 'PgQ (C trigger)' ])
	{
		my ($table, $title) = @$row;
		my $cpu = $results->added('cpu_us', $table) // next;
		push @rows, [ $title, sprintf('%.1f us', $cpu), sprintf('%.0f bytes', $results->added('wal_bytes', $table)),
			$bulk && $bulk->{time_us}{"bench.$table"} ? sprintf('%.2f x', median(by_round(sub { $_[0] / $_[1] },
				@{ $bulk->{time_us} }{ "bench.$table", 'bench.plain' }))) : '' ];
	}
	return table([ 'trigger', 'CPU it adds to a transaction', 'WAL it adds', 'UPDATE of 100,000 rows takes' ], @rows);
}

sub table_throughput
{
	my ($results) = @_;
	my @rows;
	for my $on (ways_of($results, 'throughput', clients => 8, sync => 'on'))
	{
		my $way = $on->{way};
		push @rows, [ $on->{title}, map {
				my $sync = $_;
				my $result = $results->one('throughput', way => $way, clients => 8, sync => $sync);
				my @rates = map { $_->{rate} } @{ $result->{rounds} };
				my $share = $result->{baseline} eq $way ? undef : $results->share($way, 8, $sync);
				(digits(median(@rates)) . ' (' . join(' to ', map { digits($_) } spread(@rates)) . ')', percent($share),
					$way =~ /none|node|direct/ ? '' : percent($results->left($way, 8, $sync)));
			} qw(on off) ];
	}
	return table([ 'way', 'synchronous_commit on: transactions/s', 'of none', 'left unpublished', 'off: transactions/s',
			'of none', 'left unpublished' ], @rows);
}

sub table_wide
{
	my ($results) = @_;
	my @rows;
	for my $eight (ways_of($results, 'throughput', clients => 8, sync => 'on'))
	{
		my $way = $eight->{way};
		push @rows, [ $eight->{title}, map {
				my ($clients, $sync) = @$_;
				my $result = $results->one('throughput', way => $way, clients => $clients, sync => $sync);
				$result ? digits($results->rate($way, $clients, $sync))
				  . ', p99 ' . digits(median(map { $_->{p99_ms} } @{ $result->{rounds} })) . ' ms' : '';
			} [ 1, 'on' ], [ 8, 'on' ], [ 32, 'on' ], [ 1, 'off' ], [ 8, 'off' ], [ 32, 'off' ] ];
	}
	return table([ 'way', map({ "$_, on" } '1 writer', '8 writers', '32 writers'),
			map { "$_, off" } '1 writer', '8 writers', '32 writers' ], @rows);
}

my @parts = ('backends', 'relay', 'ticker', 'broker', 'worker', 'redis', 'wal writers');

sub table_spent
{
	my ($results) = @_;
	my @rows = map {
		my $way = $_->{way};
		[ $_->{title}, map { my $us = $results->spent_us($way, $_, 8, 'off'); $us ? sprintf('%.1f', $us) : '' } @parts ];
	} grep { $_->{way} !~ /^node/ } ways_of($results, 'throughput', clients => 8, sync => 'off');
	return table([ 'way', map { "$_, us" } @parts ], @rows);
}

sub table_limit
{
	my ($results) = @_;
	my %order = (nothing => 0, row => 1, paused => 2, ours => 3);
	return table([ 'trigger', 'synchronous_commit off', 'on' ],
		map { my $way = $_; [ $_->{title}, map {
				my @shares = @{ ($results->one('limit', way => $way->{way}, sync => $_) || { shares => [] })->{shares} };
				@shares ? percent(median(@shares)) . ' (' . join(' to ', map { percent($_) } spread(@shares)) . ')' : '';
			} qw(off on) ] }
		  sort { $order{ $a->{way} } <=> $order{ $b->{way} } } $results->all('limit', sync => 'off'));
}

sub table_delay
{
	my ($results) = @_;
	my @rows = map {
		my $idle = $_;
		my $load = $results->one('load', way => $idle->{way});
		[ $idle->{title}, (map { digits($idle->{$_}) } qw(median_ms p99_ms max_ms)),
			$load ? (map { digits($load->{$_}) } qw(median_ms p99_ms max_ms)) : ('', '', ''),
			$load ? digits($load->{rate}) : '' ];
	} ways_of($results, 'delay');
	return table([ 'way', 'idle: median, ms', 'p99', 'max', 'half load: median, ms', 'p99', 'max', 'at transactions/s' ], @rows);
}

sub table_drain
{
	my ($results) = @_;
	my @rows = map { [ $_->{title}, digits($_->{events}), $_->{keys}, digits(median(map { $_->{seconds} } @{ $_->{rounds} })),
			digits($results->drained($_->{way}, $_->{events}, $_->{keys})) ] }
	  sort { $a->{way} cmp $b->{way} || $a->{keys} cmp $b->{keys} || $a->{events} <=> $b->{events} } $results->all('drain');
	my $floor = $results->one('floor');
	push @rows, [ 'floor: C, 500 keys a message', digits($floor->{keys}), 'many', '', digits(median(@{ $floor->{c_keys_s} })) ],
	  [ 'floor: pipelined UNLINK alone', digits($floor->{keys}), 'many', '', digits(median(@{ $floor->{unlink_keys_s} })) ],
	  [ 'floor: RabbitMQ, a confirmed message for each key', '', 'many', '', digits(median(@{ $floor->{confirms_s} })) ]
	  if $floor;
	return table([ 'way', 'transactions', 'keys', 'seconds', 'events/s' ], @rows);
}

sub table_growth
{
	my ($results) = @_;
	my @rows;
	for my $way (qw(ours poll pgq pto_poll pto_log))
	{
		my @points = map { [ $_->{events}, median(map { $_->{seconds} } @{ $_->{rounds} }) ] }
		  $results->all('drain', way => $way, keys => 'many');
		my $slope = slope(@points) // next;
		push @rows, [ "drain, $way", join(', ', map { digits($_->[0]) } sort { $a->[0] <=> $b->[0] } @points), digits($slope) ];
	}
	for my $table (qw(plain watched lean usual pgq))
	{
		my @points = grep { $_->[0] >= 1000 } row_points($results, $table);
		my $slope = slope(@points) // next;
		push @rows, [ "one UPDATE, $table", join(', ', map { digits($_->[0]) } @points), digits($slope) ];
	}
	return table([ 'time against', 'sizes', 'slope (1: linear)' ], @rows);
}

sub table_start
{
	my ($results) = @_;
	return table([ 'what is started', 'seconds to the first deleted key' ],
		map { my @seconds = @{ $_->{rounds_s} };
			[ $_->{title}, digits(median(@seconds)) . ' (' . join(' to ', map { digits($_) } spread(@seconds)) . ')' ] }
		  ways_of($results, 'start'));
}

# Rows of one UPDATE and the seconds that it takes.
sub row_points
{
	my ($results, $table) = @_;
	return sort { $a->[0] <=> $b->[0] }
	  map { my ($rows) = $_->{arguments} =~ /(\d+)$/; [ $rows, median(@{ $_->{time_us}{"bench.$table"} }) / 1e6 ] }
	  grep { $_->{time_us}{"bench.$table"} } $results->all('rows');
}

sub table_snapshot
{
	my ($results) = @_;
	return table([ 'way', 'published a second, first tenth', 'last tenth', 'left', 'size afterwards, MB', 'dead tuples' ],
		map { [ $_->{title}, digits($_->{tenths_s}[0]), digits($_->{tenths_s}[-1]), digits($_->{waiting}),
				digits($_->{bytes} / 1e6), digits($_->{dead}) ] } ways_of($results, 'snapshot'));
}

sub table_slow
{
	my ($results) = @_;
	my %rate;
	$rate{ $_->{way} }{ $_->{state} } = median(map { $_->{rate} } @{ $_->{rounds} }) for $results->all('slow');
	return table([ 'way', 'healthy: transactions/s', '10 ms away', 'frozen' ],
		map { my $way = $_; [ $way, map { digits($rate{$way}{$_}) || 'none' } qw(healthy slow frozen) ] }
		  grep { $rate{$_} } qw(none ours direct));
}

sub table_memory
{
	my ($results) = @_;
	my @rows;
	my %seen;
	for my $drain (sort { $b->{events} <=> $a->{events} } $results->all('drain', keys => 'many'))
	{
		next if $seen{ $drain->{way} }++;
		my $memory = $drain->{rounds}[-1]{memory_kb};
		push @rows, [ $drain->{title}, digits($drain->{events}),
			map { $memory->{$_} ? digits($memory->{$_} / 1024) : '' } qw(relay ticker worker broker) ];
	}
	return table([ 'way', 'backlog', map { "$_, MB" } qw(relay ticker worker broker) ], @rows);
}

sub table_idle
{
	my ($results) = @_;
	return table([ 'way', 'CPU in a minute, ms', 'wake-ups in a minute' ], map {
			my $idle = $_;
			my @mine = grep { /relay|worker|ticker/ } keys %{ $idle->{cpu_ms} };
			[ $idle->{title}, digits(60 / $idle->{seconds} * sum(0, @{ $idle->{cpu_ms} }{@mine})),
				digits(60 / $idle->{seconds} * sum(0, map { $_ // 0 } @{ $idle->{woken} }{@mine})) ];
		} ways_of($results, 'idle_way'));
}

# CPU beyond none's for each transaction, of all that takes part: us. Undef where less than half of what
# was recorded was published, for then most of the work was not done.
sub whole_cost_us
{
	my ($results, $way) = @_;
	my $result = $results->one('throughput', way => $way, clients => 8, sync => 'off') or return undef;
	my $left = $results->left($way, 8, 'off');
	return undef if $left > 0.5 || $way =~ /^node/;
	my $own = $results->spent_us($way, 'backends', 8, 'off') - $results->spent_us($result->{baseline}, 'backends', 8, 'off');
	my $rest = sum(map { $results->spent_us($way, $_, 8, 'off') } qw(relay ticker broker worker redis));
	return $own + $rest / (1 - $left);
}

sub table_money
{
	my ($results) = @_;
	my @rows = map {
		my $us = whole_cost_us($results, $_->{way});
		my $processors = defined $us ? $us * WRITES_S / 1e6 : undef;
		[ $_->{title}, defined $us ? (digits($us), digits($processors), digits($processors * PRICE_HOUR * HOURS_MONTH))
			: ('does not keep up', '', '') ];
	} grep { $_->{way} !~ /none$|^node/ } ways_of($results, 'throughput', clients => 8, sync => 'off');
	return table([ 'way', 'CPU for each write beyond none, us',
			'processors at ' . digits(WRITES_S) . ' writes/s', '$ a month at $ ' . PRICE_HOUR . ' a processor and hour' ], @rows);
}

# A site of 100,000 writes a second and a hundred Redis nodes, step by step.
sub table_scale
{
	my ($results) = @_;
	my $cpu = $results->added('cpu_us', 'watched') // return '';
	my $wal = $results->added('wal_bytes', 'watched');
	my $relay = $results->spent_us('ours', 'relay', 8, 'off') // return '';
	my ($broker, $worker, $redis) = map { $results->spent_us('ours', $_, 8, 'off') } qw(broker worker redis);
	my ($drain) = sort { $b->{events} <=> $a->{events} } $results->all('drain_relay');
	my $floor = $results->one('floor') // return '';
	my $unlink = median(@{ $floor->{unlink_keys_s} });
	my $keys = 2 * WRITES_S;
	my @rows = (
		[ 'recording', sprintf('%s writes/s x %.1f us', digits(WRITES_S), $cpu),
			sprintf('%.2f processors, over all databases', WRITES_S * $cpu / 1e6) ],
		[ 'WAL', sprintf('%s writes/s x %.0f bytes', digits(WRITES_S), $wal), sprintf('%.0f MB/s', WRITES_S * $wal / 1e6) ],
		[ 'relays', sprintf('%s writes/s x %.1f us, each relay at most %.1f of a processor', digits(WRITES_S), $relay, FULL),
			sprintf('%d databases (one relay each), %.2f processors', ceil(WRITES_S * $relay / 1e6 / FULL),
				WRITES_S * $relay / 1e6) ],
		[ 'brokers', sprintf('%s writes/s x %.1f us, each queue at most %.1f of a processor', digits(WRITES_S), $broker, FULL),
			sprintf('%d queues, %.2f processors', ceil(WRITES_S * $broker / 1e6 / FULL), WRITES_S * $broker / 1e6) ],
		[ 'workers', sprintf('%s writes/s x %.1f us', digits(WRITES_S), $worker),
			sprintf('%d for the work and one more in case it fails; %.2f processors',
				ceil(WRITES_S * $worker / 1e6 / FULL), WRITES_S * $worker / 1e6) ],
		[ 'Redis', sprintf('%s distinct keys/s over %d nodes, of %s/s that one can delete', digits($keys), REDIS_NODES, digits($unlink)),
			sprintf('%s keys/s a node: %.2f %% of a processor each', digits($keys / REDIS_NODES),
				100 * $keys / REDIS_NODES / $unlink) ]);
	return table([ 'part', 'computed from', 'needed' ], @rows);
}

sub table_profile_writer
{
	my ($results) = @_;
	my $profile = $results->one('profile_writer') or return '';
	my %shown = map { $_ => 1 } qw(outbox_invalidate_trigger trigger_rows_are_same template_set_expand record_key
	  xact_ended event_writer_try_begin row_writer_insert index_row);
	my @mine = grep { delete $shown{ $_->{function} } } @{ $profile->{functions} };
	return table([ 'function', 'instructions a transaction, with what it calls' ],
		map { [ "`$_->{function}`", digits($_->{instructions}) ] } @mine);
}

sub table_profile_drain
{
	my ($results) = @_;
	my @rows;
	for my $who (qw(relay worker))
	{
		my $profile = $results->one('profile_drain', way => $who) or next;
		my @top = @{ $profile->{functions} };
		push @rows, map { [ $who, "`$_->{function}`", $_->{library}, sprintf '%.1f %%', 100 * $_->{share} ] }
		  @top[ 0 .. min($#top, 9) ];
	}
	return table([ 'process', 'function', 'of', 'share' ], @rows);
}

sub ceil { my ($value) = @_; return int($value) + ($value > int($value) ? 1 : 0) }

# Of README.md.
sub table_summary
{
	my ($results) = @_;
	my @rows;
	my $cpu = $results->added('cpu_us', 'watched');
	push @rows, [ 'CPU that recording adds to a transaction', sprintf('%.1f us', $cpu),
		sprintf('plpgsql outbox %.1f us', $results->added('cpu_us', 'usual')) ] if defined $cpu;
	for my $sync (qw(on off))
	{
		my $share = $results->share('ours', 8, $sync) // next;
		my @best = $results->best(sub { $results->share($_[0], 8, $sync) }, $results->competitors('throughput', clients => 8));
		my $left = @best ? $results->left($best[0], 8, $sync) : 0;
		push @rows, [ "transactions/s of 8 writers, synchronous_commit $sync, of what they do without", percent($share),
			@best ? $results->one('throughput', way => $best[0])->{title} . ' ' . percent($best[1])
			  . ($left > Bench::Results::KEEPS_UP() ? ', ' . percent($left) . ' of it not published' : '') : '' ];
	}
	for my $row ([ delay => 'commit to key gone, idle: median' ], [ load => 'the same at half load: p99' ])
	{
		my ($name, $title) = @$row;
		my $figure = $name eq 'delay' ? 'median_ms' : 'p99_ms';
		my $ours = $results->one($name, way => 'ours') // next;
		my ($best) = sort { $a->{$figure} <=> $b->{$figure} }
		  map { $results->one($name, way => $_) } $results->competitors($name);
		my $rate = sub { $_[0]{rate} ? ' at ' . digits($_[0]{rate}) . ' transactions/s' : '' };
		push @rows, [ $title, digits($ours->{$figure}) . ' ms' . $rate->($ours),
			$best ? "$best->{title} " . digits($best->{$figure}) . ' ms' . $rate->($best) : '' ];
	}
	my ($most) = sort { $b <=> $a } map { $_->{events} } $results->all('drain', way => 'ours', keys => 'many');
	if ($most)
	{
		my @best = $results->best(sub {
			my ($way) = @_;
			return max(map { $results->drained($way, $_->{events}) } $results->all('drain', way => $way));
		}, $results->competitors('drain'));
		push @rows, [ 'backlog of ' . digits($most) . ' transactions', digits($results->drained('ours', $most)) . ' keys/s',
			@best ? $results->one('drain', way => $best[0])->{title} . ' ' . digits($best[1]) : '' ];
	}
	return table([ 'measured (`make bench`)', 'pg_outbox', 'the best other way' ], @rows);
}

# ---- plots ---------------------------------------------------------------------------------------

sub plot_throughput
{
	my ($results) = @_;
	my @ways = grep { $_->{baseline} ne $_->{way} } ways_of($results, 'throughput', clients => 8, sync => 'on');
	return '' unless @ways;
	return Bench::Plot::bars(
		title  => '8 writers, everything on the same processors: % of the transactions without invalidation',
		series => [ 'synchronous_commit on', 'off' ],
		unit   => ' %',
		mark   => 100,
		bars   => [ map { my $way = $_->{way}; [ $_->{title},
			map { my $share = $results->share($way, 8, $_); defined $share ? 100 * $share : undef } qw(on off) ] } @ways ]);
}

sub plot_delay
{
	my ($results) = @_;
	my @ways = ways_of($results, 'delay');
	return '' unless @ways;
	return Bench::Plot::bars(
		title  => 'From commit to the deleted key, idle: ms',
		series => [ 'median', 'p99' ],
		unit   => ' ms',
		bars   => [ map { [ $_->{title}, @$_{qw(median_ms p99_ms)} ] } @ways ]);
}

sub plot_drain
{
	my ($results) = @_;
	my @lines = map {
		my $way = $_;
		my @all = sort { $a->{events} <=> $b->{events} } $results->all('drain', way => $way, keys => 'many');
		@all ? [ $all[0]{title}, map { [ $_->{events}, $results->drained($way, $_->{events}) ] } @all ] : ();
	} qw(ours poll pgq pto_poll pto_log);
	return '' unless @lines;
	return Bench::Plot::lines(title => 'A backlog drained', x => 'x: transactions waiting', y => 'events a second',
		log_x => 1, log_y => 1, lines => \@lines);
}

sub plot_rows
{
	my ($results) = @_;
	my %title = (plain => 'no trigger', watched => 'pg_outbox', lean => 'plpgsql, lean', usual => 'plpgsql, usual', pgq => 'PgQ');
	my @lines = map { my @points = row_points($results, $_); @points ? [ $title{$_}, @points ] : () } qw(watched lean usual pgq plain);
	return '' unless @lines;
	return Bench::Plot::lines(title => 'One UPDATE', x => 'x: rows', y => 'seconds', log_x => 1, log_y => 1, lines => \@lines);
}

sub plot_snapshot
{
	my ($results) = @_;
	my @ways = ways_of($results, 'snapshot');
	return '' unless @ways;
	return Bench::Plot::lines(title => 'Events published a second while a snapshot is held', x => 'x: tenths of the time',
		y => 'events a second',
		lines => [ map { my $tenths = $_->{tenths_s}; [ $_->{title}, map { [ $_, $tenths->[ $_ - 1 ] ] } 1 .. 10 ] } @ways ]);
}

1;
