# Every document of the repository, held against what it speaks of: links and anchors lead somewhere,
# options and environment variables are the worker's, metrics are in its source, each line that relay
# and worker can write to a log is explained in docs/operations.md.

use strict;
use warnings;
use FindBin;
use Outbox::Page;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/..";

# Paths from the root; glob sorts.
sub found { my ($pattern) = @_; return map { s{^\Q$root\E/}{}r } glob "\Q$root\E/$pattern" }

my @paths = grep { !/node_modules/ } map { found($_) } '*.md', 'docs/*.md', '*/README.md', 't/lib/*.md',
  'examples/*/*.md', '.github/*.md';
my %page = map { $_ => Outbox::Page->read($root, $_) } @paths;
cmp_ok(scalar @paths, '>', 20, 'documents');

# ---- links ----

# Where a path that stands in a file's folder leads, from the root; undef above it.
sub resolve
{
	my ($from, $target) = @_;
	my @at = split m{/}, $from;
	pop @at;
	for my $part (split m{/}, $target)
	{
		next if $part eq '.' || $part eq '';
		if ($part ne '..') { push @at, $part }
		elsif (@at) { pop @at }
		else { return undef }
	}
	return join '/', @at;
}

sub problem_of
{
	my ($from, $link) = @_;
	return $link =~ m{^https?://[a-z0-9.-]+\.[a-z]+(?::\d+)?(?:/[^\s]*)?$} ? undef : 'no address' if $link =~ /^[a-z]+:/;
	my ($file, $anchor) = $link =~ /^([^#]*)(?:#(.*))?$/;
	my $path = $file eq '' ? $from : resolve($from, $file);
	return 'leads out of the repository' unless defined $path;
	return 'no such file' unless -e "$root/$path";
	return undef unless defined $anchor;
	return 'an anchor into what is no document' unless $page{$path};
	return (grep { $_ eq $anchor } $page{$path}->anchors) ? undef : 'no such anchor';
}

my (@broken, %linked, $links);
for my $path (@paths)
{
	for my $link ($page{$path}->links)
	{
		$links++;
		my $problem = problem_of($path, $link);
		push @broken, "$path: $link: $problem" if $problem;
		my $to = resolve($path, $link =~ s/#.*//r);
		$linked{$to} = 1 if defined $to;
	}
}
cmp_ok($links, '>', 200, 'links');
is(join("\n", @broken), '', 'each leads somewhere');
is(problem_of('README.md', 'docs/nowhere.md'), 'no such file', 'a file that is missing is noticed');
is(problem_of('README.md', 'docs/relay.md#nowhere'), 'no such anchor', 'an anchor that is missing is noticed');
is_deeply([ grep { !$linked{$_} } found('docs/*.md'), found('docs/*.svg'), found('docs/images/*') ], [],
	'no document and no picture that nothing leads to');

# ---- pictures ----

for my $path (found('docs/*.svg'))
{
	my $svg = slurp_file("$root/$path");
	like($svg, qr/role="img".*<title.*<desc.*prefers-color-scheme: dark/s, "$path: says what it shows, in the dark, too");
	unlike($svg, qr/href="http|<script|url\((?!#)/, "$path: needs nothing from elsewhere");
}

# ---- what the worker takes ----

my $program = $ENV{OUTBOX_WORKER} // 'outbox-worker';
my $help = qx('$program' --help);
my %option = map { $_ => 1 } $help =~ /^  --([a-z-]+)/mg;
my %variable = map { $_ => 1 } $help =~ /environment: (OUTBOX_\w+)/g;
cmp_ok(scalar keys %option, '>', 20, 'options');
# Other programs'.
my %others = map { $_ => 1 } qw(data-only disable-triggers check grep since now large quick help version verbosity
  noreload dry-run inclusive write single enable-yes namespace link);
my @unknown;
for my $path (grep { m{^(README|docs/|worker/README)} } @paths)
{
	my $text = $page{$path}->text;
	push @unknown, map { "$path: --$_" } grep { !$option{$_} && !$others{$_} } $text =~ /(?<![\w-])--([a-z][a-z-]+)/g;
	push @unknown, map { "$path: $_" } grep { !$variable{$_} && !/^OUTBOX_(TEST|SEED|VERSION)/ } $text =~ /\b(OUTBOX_[A-Z_]+)\b/g;
}
is(join("\n", @unknown), '', 'options and environment variables in documents are the worker\'s');

my $metrics = join '', map { slurp_file("$root/$_") } found('worker/*.c');
my %metric;
$metric{$_} = 1 for map { $page{$_}->text =~ /\b(outbox_worker_\w+)/g } @paths;
cmp_ok(scalar keys %metric, '>', 5, 'metrics of the worker');
is_deeply([ grep { my $name = $_; !grep { index($metrics, "\"$_") >= 0 || index($metrics, "$_ ") >= 0 }
		($name, $name =~ s/_(bucket|sum|count|total)$//r, $name =~ s/^outbox_worker_//r) } sort keys %metric ],
	[], '... each is in its source');

# ---- the log ----

my $operations = $page{'docs/operations.md'};
my @lines = map { $_->[0] } map { $operations->rows($_) } 'Lines of the server\'s log', 'Lines of the worker\'s log';

# Whether a line of the page shows a text of the source: its fixed parts, in their order.
sub is_told
{
	my ($format, @among) = @_;
	my $pattern = join '.*', map { quotemeta } split /%[a-z0-9.*]*[a-z]|\\"/, $format;
	return scalar grep { /$pattern/ } @among ? @among : @lines;
}

# The texts of a source's ereports, with their levels; adjacent literals are one.
sub reported
{
	my ($path) = @_;
	my $text = slurp_file("$root/$path");
	my @found;
	while ($text =~ /\bereport\(\s*(\w+),(.*?)\)\s*;/sg)
	{
		my ($level, $rest) = ($1, $2);
		my ($message) = $rest =~ /\berrmsg\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)/s or next;
		push @found, [ $level, join '', $message =~ /"((?:[^"\\]|\\.)*)"/g ];
	}
	return @found;
}

my @relays = map { my $path = $_; map { [ $path, @$_ ] } reported($path) } found('relay/*.c');
cmp_ok(scalar @relays, '>', 12, 'lines of the relay');
my @untold = grep { $_->[2] ne '%s' && !is_told($_->[2]) } @relays;
is(join("\n", map { "$_->[0]: $_->[2]" } @untold), '', '... each is explained');
# Where the text is handed in.
my $relay = join '', map { slurp_file("$root/$_") } found('relay/*.c');
my @reasons = ($relay =~ /leave_for_restart\("([^"]+)"\)/g, 'could not declare the queues: %s');
cmp_ok(scalar @reasons, '>', 1, '... and those that are handed in');
is_deeply([ grep { !is_told($_) } @reasons ], [], '... as well');
my @states = grep { is_told("outbox relay: $_") } 'not running', 'paused', 'copied';
is_deeply(\@states, [ 'not running', 'paused', 'copied' ], '... and the states that are logged');

# Why a relay does not run: in the runbook.
my @seen = map { $_->[0] } $operations->rows('Runbook: the relay does not start');
my @causes = (
	$relay =~ /leave_unwanted\([^;]*?"((?:[^"\\]|\\.)+)"/g,
	slurp_file("$root/relay/launcher.c") =~ /"(no background worker slot[^"]*)"/,
	slurp_file("$root/extension/version.c") =~ /psprintf\("((?:[^"\\]|\\.)+)"/);
cmp_ok(scalar @causes, '>', 3, 'reasons why no relay runs');
is_deeply([ grep { !is_told($_, @seen) } @causes ], [], '... each is in the runbook');

# What fails a session at its commit, or warns it.
my @sessions = map { my $path = $_; map { [ $path, @$_ ] } reported($path) }
  map { "extension/$_.c" } qw(event install rows settings version xact);
cmp_ok(scalar @sessions, '>', 6, 'what a session can be told about the outbox itself');
is(join("\n", map { "$_->[0]: $_->[2]" } grep { $_->[2] ne '%s' && $_->[2] !~ /is part of CREATE EXTENSION/ && !is_told($_->[2]) } @sessions),
	'', '... is explained');

# The worker's warnings and errors.
my %worker;
for my $path (found('worker/*.c'))
{
	my $text = slurp_file("$root/$path");
	while ($text =~ /\blog_line\(\s*(.*?)NULL\)\s*;/sg)
	{
		my ($level, $event) = $1 =~ /^([^,]*),\s*([^,]*),/s or next;
		next unless $level =~ /WARNING|ERROR/;
		# Of "warning or info" the first is the warning.
		my ($name) = $event =~ /"([^"]+)"/;
		$worker{$name} = $path if defined $name;
	}
}
$worker{$_} = 'states' for 'waiting for broker', 'waiting for redis';
cmp_ok(scalar keys %worker, '>', 7, 'warnings and errors of the worker');
is_deeply([ grep { my $name = $_; !grep { /^`\Q$name\E`/ } @lines } sort keys %worker ], [], '... each is explained');

# ---- alerts and health checks ----

my @alerts = slurp_file("$root/examples/monitoring/alerts.yml") =~ /^\s*- alert: (\w+)/mg;
cmp_ok(scalar @alerts, '>', 10, 'alerts');
my @sections = $operations->text =~ /^### (Outbox\w+)$/mg;
is_deeply([ sort @sections ], [ sort @alerts ], '... each has its heading in operations.md, and no other has');
my %check = map { $_ => 1 } slurp_file("$root/relay/health.c") =~ /\bput\(health, "(\w+)"/g;
cmp_ok(scalar keys %check, '>', 5, 'health checks');
is_deeply([ sort map { $_->[0] =~ s/`//gr } $operations->rows('Health checks') ], [ sort keys %check ], '... each is explained there');

# ---- file names in what is written for contributors ----

my @sources = map { found("$_/*.[ch]") } qw(extension relay wire worker);
my %source;
for my $path (@sources)
{
	$source{$path} = 1;
	$source{ $path =~ s{.*/}{}r } = 1;
}
is_deeply([ grep { !$source{$_} && !-e "$root/$_" } $page{'docs/architecture.md'}->text =~ /`((?:\w+\/)?\w+\.[ch])\b/g ], [],
	'architecture.md names files that there are');

# ---- manual pages ----

my $manuals = PostgreSQL::Test::Utils::tempdir();
is(system("$root/docs/man/build", $program, '1.0', $manuals), 0, 'the manual pages are built');
is(scalar qx(mandoc -Tlint -Wwarning '$manuals/outbox-worker.1' '$manuals/pg_outbox.7' 2>&1), '', 'mandoc has nothing to say');
my $manual = slurp_file("$manuals/outbox-worker.1");
my (%of_manual, %of_help, $name);
/^\.It Fl -([a-z-]+)(?: Ns = Ns Ar (\S+))?$/ ? $of_manual{ $name = $1 } = [$2] : /^\.Ev (\w+)$/ ? $of_manual{$name}[1] = $1
  : /^Default: (.*)/ ? $of_manual{$name}[2] = $1 =~ s/\\-/-/gr : () for split /\n/, $manual;
/^  --([a-z-]+)(?:=(\S+))?$/ ? $of_help{ $name = $1 } = [$2] : /^ +environment: (\w+)$/ ? $of_help{$name}[1] = $1
  : /^ +default: (.*)/ ? $of_help{$name}[2] = $1 : () for split /\n/, $help;
is_deeply(\%of_manual, \%of_help, 'outbox-worker(1) has the options of --help, with environment and default');
like(qx(mandoc -Tascii '$manuals/outbox-worker.1') =~ s/.\x08//gr, qr/--redis-url=URL\n.*redis\+unix:/s, '... and reads well');

done_testing();
