# One version number: each file that names it says the same. And what packages carry fits what they are
# made of: META.json its specification, debian/ the sources, `make dist` the checkout.

use strict;
use warnings;
use Cwd ();
use FindBin;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = Cwd::realpath("$FindBin::RealBin/..");
my $semantic = qr/(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)(?:-[0-9A-Za-z.-]+)?/;
my $worker = $ENV{OUTBOX_WORKER} // 'outbox-worker';

sub file { return slurp_file("$root/$_[0]") }

sub output
{
	my (@command) = @_;
	my ($out, $err);
	IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(60))
	  or die "@command: $err";
	return $out;
}

# ---- the number ----

my ($version) = file('VERSION') =~ /\A($semantic)\n\z/;
ok($version, 'VERSION is a semantic version, and nothing else') or BAIL_OUT('no VERSION');
my ($objects) = $version =~ /^(\d+\.\d+)/;
is((file('pg_outbox.control') =~ /^default_version = '(.*)'$/m)[0], $objects, 'SQL objects are of its first two numbers');
ok(-f "$root/extension/pg_outbox--$objects.sql", '... and their script is there');
is(output($worker, '--version'), "outbox-worker $version\n", 'the worker says it');
like(file('CHANGELOG.md'), qr/^## \[(?:\Q$version\E|Unreleased)\]/m, 'CHANGELOG.md tells of it');
is((file('debian/changelog') =~ /\A\S+ \(([^)]+)\)/)[0], $version =~ s/-/~/r, 'debian/changelog');

# ---- META.json, by https://pgxn.org/spec/ ----

my $meta = decode_json(file('META.json'));
my $term = qr{\A[^\s/\\[:cntrl:]]{2,}\z};
my %form = (
	name           => $term,
	version        => qr/\A$semantic\z/,
	abstract       => qr/\S/,
	description    => qr/\S/,
	maintainer     => qr/\S/,
	license        => qr/\Apostgresql\z/,
	release_status => qr/\A(?:stable|testing|unstable)\z/);
like($meta->{$_} // '', $form{$_}, "META.json: $_") for sort keys %form;
is_deeply([ sort grep { !$form{$_} } keys %$meta ], [qw(meta-spec prereqs provides tags)], '... and else what is checked here');
is($meta->{'meta-spec'}{version}, '1.0.0', 'the version of the specification');
is($meta->{version}, $version, 'the release');
like($_, qr{\A[^/\\[:cntrl:]]{1,256}\z}, "tag $_") for @{ $meta->{tags} };
is_deeply([ keys %{ $meta->{provides} } ], ['pg_outbox'], 'it provides the extension');
my $provided = $meta->{provides}{pg_outbox};
is($provided->{version}, $version, '... of this version');
is($provided->{file}, "extension/pg_outbox--$objects.sql", '... by this script');
ok(-f "$root/$provided->{$_}", "$_ $provided->{$_} is there") for qw(file docfile);
is_deeply($meta->{prereqs}, { runtime => { requires => { PostgreSQL => '15.0.0' } } }, 'it needs PostgreSQL 15');

# ---- debian/ ----

is(file('debian/control'), file('debian/control.in') =~ s/PGVERSION/15/gr, 'debian/control is what control.in makes on Debian 12');
my ($licence) = file('LICENSE') =~ /^(Permission .*)\z/ms;
is((file('debian/copyright') =~ /^ (Permission .*)\z/ms)[0] =~ s/^ //gmr, $licence =~ s/^$/./gmr, 'debian/copyright has the licence');
like(file('examples/systemd/outbox-worker.service'), qr{^ExecStart=/usr/local/bin/outbox-worker$}m, 'the unit names what the package replaces');

my $help = output($worker, '--help');
my $settings = file('debian/outbox-worker.default');
my %default = $settings =~ /^#(OUTBOX_\w+)=(.*)$/gm;
cmp_ok(scalar keys %default, '>', 3, 'settings that the package shows');
like($help, qr/^\s+environment: $_$/m, "$_ is known") for sort keys %default;

# ---- make dist ----

SKIP:
{
	skip 'no git', 5 unless qx(sh -c 'command -v git');
	# The tests' copy of the checkout is no repository.
	my $copy = "$ENV{TESTDIR}/checkout";
	my @git = ('git', '-C', $copy, '-c', 'user.name=test', '-c', 'user.email=test@example.org');
	output('sh', '-c', 'mkdir "$2" && cd "$1" && tar -cf - --exclude=./build --exclude="*.o" . | tar -xf - -C "$2"', 'sh', $root, $copy);
	output('git', 'init', '-q', $copy);
	output(@git, 'add', '--all');
	output(@git, 'commit', '-qm', 'all');
	output('make', '-s', '-C', $copy, 'PG_CONFIG=none', 'dist');    # the tests' pg_config is for running
	my @listed = split /\n/, output('tar', '-tzf', "$copy/pg_outbox-$version.tar.gz");
	is_deeply([ grep { !m{^pg_outbox-\Q$version\E/} } @listed ], [], 'all below one folder');
	my %in = map { s{^[^/]+/}{}r => 1 } @listed;
	is_deeply([ grep { !$in{$_} } qw(META.json Makefile VERSION LICENSE README.md pg_outbox.control debian/rules), $provided->{file} ],
		[], 'what is needed to build');
	is_deeply([ grep { /\.(?:o|so)$|node_modules|^\.git(?!ignore)|^build/ } keys %in ], [], 'nothing that was built');
	my $zip = output('git', 'archive', '--list');
	like($zip, qr/^zip$/m, 'zip is there');
	is(unpack('a4', slurp_file("$copy/pg_outbox-$version.zip")), "PK\3\4", 'and a zip for PGXN');
}

done_testing();
