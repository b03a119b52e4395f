# Frame.pm
#    The frame of a benchmark: builds the checkout, runs as an unprivileged user in a temporary folder
#    with servers of its own, keeps its results.
#
#     exit Bench::Frame->main(
#         name => 'ways', files => [ 'bench/ways.sql' ], node => 1, run => sub { my ($frame) = @_; … });
#
# Each result is a JSON line in bench/results/<name>.jsonl, with the time, the machine, and what
# `common` knows; where the environment names a file in BENCH_RESULTS (the suite does), there instead.
#
# BENCH_INSTALLED=1 (the test of the suite): nothing is built, what PATH, OUTBOX_WORKER, PG_REGRESS and
# PERL5LIB name is used, and the programs of BENCH_PROGRAMS.

package Bench::Frame;

use strict;
use warnings;
use Cwd ();
use Exporter 'import';
use File::Basename ();
use JSON::PP ();
use POSIX ();
use Outbox::Run;
use Outbox::Tree;
use Outbox::Wait;

our @EXPORT = qw(sized);

my $json = JSON::PP->new->canonical;

# Of what a run is in full, with SHORT=1, with QUICK=1 and with SMOKE=1.
sub scale { return $ENV{SMOKE} ? 3 : $ENV{QUICK} ? 2 : $ENV{SHORT} ? 1 : 0 }
sub sized { return $_[ scale() ] }

# Named arguments: name, files (of the checkout, copied into the folder), node (packages of
# peers/package.json are needed), run (called with this object).
sub main
{
	my ($class, %arg) = @_;
	$| = 1;
	my $checkout = Cwd::realpath(File::Basename::dirname(__FILE__) . '/../../..');
	my $self = bless { %arg, checkout => $checkout, common => {}, results => [] }, $class;
	return Outbox::Run->main(
		label   => 'pg_outbox-bench',
		prepare => sub { $self->prepare(@_) },
		run     => sub { $self->measure(@_) },
		finish  => sub { $self->save(@_) });
}

sub folder  { return $_[0]{folder} }
sub program { return "$_[0]{folder}/programs/$_[1]" }
sub file    { return "$_[0]{folder}/files/" . File::Basename::basename($_[1]) }
sub worker  { return $_[0]{worker} }

# Whether the packages of peers/package.json are there; why not, otherwise, is in node_error.
sub has_node   { return $_[0]{node} && !$_[0]{node_error} }
sub node_error { return $_[0]{node_error} }

# ---- as the caller -------------------------------------------------------------------------------

sub prepare
{
	my ($self, $temp) = @_;
	$self->{folder} = $temp;
	my $programs = $ENV{BENCH_PROGRAMS};
	if (!$ENV{BENCH_INSTALLED})
	{
		chomp(my $jobs = `nproc`);
		$self->{tree} = Outbox::Tree->build(
			root     => $temp,
			checkout => $self->{checkout},
			jobs     => $jobs,
			targets  => ['bench-programs']);
		$programs = "$self->{checkout}/build/bench";
	}
	# The unprivileged user may not be able to read the checkout.
	mkdir "$temp/files" or die "$temp/files: $!\n";
	Outbox::Tree::run('cp', '-r', "$self->{checkout}/t", $temp);
	Outbox::Tree::run('cp', '-r', $programs, "$temp/programs");
	Outbox::Tree::run('cp', (map { "$self->{checkout}/$_" } @{ $self->{files} }), "$temp/files")
	  if @{ $self->{files} || [] };
	$self->install_node_packages if $self->{node};
	return;
}

# Kept in build/, since what a lock file names does not change.
sub install_node_packages
{
	my ($self) = @_;
	my $kept = "$self->{checkout}/build/peers";
	eval {
		if ($ENV{BENCH_INSTALLED} || !-d "$kept/node_modules")
		{
			die "no npm\n" if $ENV{BENCH_INSTALLED};
			mkdir $kept;
			Outbox::Tree::run('cp', map({ "$self->{checkout}/bench/peers/$_" }
				qw(package.json package-lock.json)), $kept);
			local $ENV{npm_config_cache} = "$kept/.npm";
			Outbox::Tree::run('npm', 'ci', '--no-audit', '--no-fund', '--silent', '--prefix', $kept);
		}
		Outbox::Tree::run('cp', '-r', "$kept/node_modules", "$self->{folder}/files");
	};
	$self->{node_error} = $@;
	return;
}

# ---- as an unprivileged user ---------------------------------------------------------------------

sub measure
{
	my ($self, $temp) = @_;
	$ENV{OUTBOX_WORK} = $ENV{TESTDIR} = "$temp/work";
	# From PostgreSQL 16 on; as a test this one is given its caller's, which several frames would share.
	@ENV{qw(TESTDATADIR TESTLOGDIR)} = ("$temp/work/tmp_check", "$temp/work/tmp_check/log");
	$ENV{LC_ALL} = 'C.UTF-8';
	if (my $tree = $self->{tree})
	{
		$ENV{PATH} = join ':', $tree->folder('bindir'), $ENV{PATH};
		$ENV{PG_REGRESS} = $tree->test_folder . '/regress/pg_regress';
		$ENV{PERL5LIB} = join ':', "$temp/t/lib", $tree->test_folder . '/perl';
		$ENV{OUTBOX_WORKER} = $tree->worker;
	}
	$self->{worker} = $ENV{OUTBOX_WORKER};
	$ENV{BENCH_ROWS} //= sized(100_000, 100_000, 100_000, 2000);
	$self->{common}{machine} = machine();
	my $status = eval { $self->{run}->($self); 0 };
	print STDERR $@ unless defined $status;
	$self->write_results;
	return $status // 1;
}

# A process of its own for the server: PostgreSQL's test modules take over the output of theirs. What it
# announces.
sub start_server
{
	my ($self, $function, @arguments) = @_;
	require Outbox::Process;
	# For whether it works, small tables will do.
	local $ENV{PGOPTIONS} = "-c bench.rows=$ENV{BENCH_ROWS}" if $ENV{BENCH_ROWS};
	my $name = "server-$function";
	my $ready = "$self->{folder}/work/ready.json";
	unlink $ready;
	my $process = Outbox::Process->start(
		name    => $name,
		command => [ $^X, '-MOutbox::Bench', '-e', "Outbox::Bench::$function(\@ARGV)", @arguments ],
		dir     => "$self->{folder}/work",
		log     => "$self->{folder}/work/servers.log");
	poll_until('the server', sub {
		die $process->log_tail unless $process->alive;
		return -s $ready;
	});
	my $server = $json->decode(slurp($ready));
	$server->{process} = $process;
	return $server;
}

# Whether this extension can be created there.
sub has_extension
{
	my ($self, $name) = @_;
	my $folder = Outbox::Tree::output('pg_config', '--sharedir');
	chomp $folder;
	return -e "$folder/extension/$name.control" ? 1 : 0;
}

# What is measured, into every result and onto the terminal.
sub introduce
{
	my ($self, $server) = @_;
	my $common = $self->{common};
	@$common{qw(version settings)} = @$server{qw(version settings)};
	print "$common->{version}\n$common->{machine}\n";
	print join(', ', map { "$_ = $common->{settings}{$_}" } sort keys %{ $common->{settings} }), "\n\n";
	return;
}

# Output of one of our programs.
sub ask
{
	my ($self, $program, @arguments) = @_;
	return $json->decode(Outbox::Tree::output($self->program($program), @arguments));
}

# Runs the parts that were chosen. The suite tells by these lines how far it is.
sub run_parts
{
	my ($self, $part, @names) = @_;
	for my $name (@names)
	{
		print "==> $name\n" if $ENV{BENCH_PROGRESS};
		$part->{$name}->();
	}
	return;
}

# Keeps a result: name, and figures.
sub keep
{
	my ($self, $name, %figures) = @_;
	my $result = { name => $name, %{ $self->{common} }, %figures,
		at => POSIX::strftime('%Y-%m-%dT%H:%M:%SZ', gmtime) };
	push @{ $self->{results} }, $result;
	return $result;
}

sub write_results
{
	my ($self) = @_;
	my $path = "$self->{folder}/work/results.jsonl";
	open(my $file, '>', $path) or die "$path: $!\n";
	print $file $json->encode($_), "\n" for @{ $self->{results} };
	close $file or die "$path: $!\n";
	return;
}

# What was measured before something failed is kept, too.
sub save
{
	my ($self, $temp, $status) = @_;
	print slurp("$temp/work/servers.log") if $status != 0;
	append_results($self->{checkout}, $self->{name}, slurp("$temp/work/results.jsonl"));
	return;
}

# Also for those that have a frame of their own.
sub append_results
{
	my ($checkout, $name, $lines) = @_;
	return if $lines eq '';
	mkdir "$checkout/bench/results";
	my $path = $ENV{BENCH_RESULTS} || "$checkout/bench/results/$name.jsonl";
	open(my $file, '>>', $path) or die "$path: $!\n";
	print $file $lines;
	close $file or die "$path: $!\n";
	return;
}

sub machine
{
	my ($model) = slurp('/proc/cpuinfo') =~ /^model name\s*:\s*(.*)$/m;
	my ($memory) = slurp('/proc/meminfo') =~ /^MemTotal:\s*(\d+)/m;
	chomp(my $count = `nproc`);
	return sprintf '%d x %s, %.0f GB', $count, $model // 'unknown', ($memory // 0) / 1e6;
}

sub slurp
{
	my ($path) = @_;
	open(my $file, '<', $path) or return '';
	local $/;
	return <$file> // '';
}

1;
