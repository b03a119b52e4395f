# The Debian packages are built and lintian has nothing to say. Half a minute, so with `make test-long`
# or by name only; whether they install, upgrade and purge is tried by `make test-deb`, which needs root.

use strict;
use warnings;
use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

for my $tool (qw(dh pg_buildext lintian))
{
	BAIL_OUT("no $tool: make deps-dev") unless qx(sh -c 'command -v $tool');
}

my $packages = "$ENV{TESTDIR}/packages";
my ($major) = qx(pg_config --version) =~ /(\d+)/;
$ENV{DEB_BUILD_OPTIONS} = 'nocheck';
# The copied server is for running, not for building.
$ENV{PATH} = join ':', grep { !m{^\Q$ENV{OUTBOX_TEMP}\E/} } split /:/, $ENV{PATH};
command_ok([ "$FindBin::RealBin/deb", 'build', $packages ], 'built');
my @names = map { m{/([^/_]+)_[^/]*\.deb$} } glob "$packages/*.deb";
is_deeply([ grep { !/-dbgsym$/ } sort @names ], [ 'outbox-worker', "postgresql-$major-pg-outbox" ], 'both');
command_ok([ 'lintian', '--fail-on', 'error,warning', glob "$packages/*.deb" ], 'lintian has nothing to say');

done_testing();
