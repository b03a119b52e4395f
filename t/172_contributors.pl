# What CONTRIBUTING.md, the page about packages and the workflow of the CI tell to do can be done: the make
# targets are there, also in `make help`, and so are the functions to stop at.

use strict;
use warnings;
use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/..";

sub file { return slurp_file("$root/$_[0]") }

my $makefile = file('Makefile');
my %target = map { $_ => 1 } map { split ' ' } $makefile =~ /^([a-z][a-z \/_.-]*):(?!=)/mg;
my ($help) = $makefile =~ /^help:\n(.*?)^$/ms;
my $workflow = file('.github/workflows/ci.yml');

my %asked;
for my $page ('CONTRIBUTING.md', 'docs/packages.md', '.github/pull_request_template.md', '.github/workflows/ci.yml')
{
	# In prose make is a verb: only what is set as code counts.
	my @commands = $page =~ /yml$/ ? split /\n/, file($page)
	  : (file($page) =~ /`([^`\n]*)`/g, file($page) =~ /^ {4}(\S.*)$/mg);
	for my $command (map { s/ # .*//r =~ s/'[^']*'//gr } @commands)
	{
		my ($words) = $command =~ /(?:^|run: |sudo )make((?: [^ ]+)+)/ or next;
		$asked{$_} = $page for grep { /^[a-z][a-z-]*$/ } split ' ', $words;
	}
}
$asked{$_} = 'the matrix of the CI' for map { split /, */ } $workflow =~ /^ +target: \[(.*)\]$/mg;
cmp_ok(scalar keys %asked, '>', 12, 'make targets that contributors are told');
is_deeply([ grep { !$target{$_} } sort keys %asked ], [], '... are there');
is_deeply([ grep { $help !~ /make (?:[a-z-]+ )*\Q$_\E\b|\Q$_\E:/ && $_ ne 'help' } sort keys %asked ], [], '... and in make help');

my $sources = join '', map { slurp_file($_) } glob "$root/{extension,relay,worker,wire}/*.c";
my @functions = file('CONTRIBUTING.md') =~ /\bbreak\s+([a-z_]+)/g;
cmp_ok(scalar @functions, '>', 2, 'functions to stop at');
is_deeply([ grep { $sources !~ /^\Q$_\E\(/m } @functions ], [], '... are there');

for my $template (glob "$root/.github/ISSUE_TEMPLATE/*.md")
{
	my $text = slurp_file($template);
	like($text, qr/\A---\nname: .+\nabout: .+\nlabels: .+\n---\n/, "a head: " . $template =~ s{.*/}{}r);
}

done_testing();
