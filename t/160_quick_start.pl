# docs/quick-start.md and README.md, done as they are printed.
#
# The servers are this test's own, so some programs have a stand-in before them in the path; %programs
# below is all that is replaced. Blocks of SQL are typed into the psql that the block before them starts.

use strict;
use warnings;
use FindBin;
use Outbox::Page;
use Outbox::Pipeline;
use Outbox::StandIns;
use Outbox::Wait;
use Outbox::Worker;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/..";
my $pipe = Outbox::Pipeline->start(node => 0, worker => 0);
my ($broker, $redis, $dir) = map { $pipe->$_ } qw(broker redis dir);
# As Debian's servers are: conf.d, and without the library.
my $node = $pipe->{node} = Outbox::Postgres->create('pg', amqp_url => $broker->url, preload => 0,
	conf => "include_dir = 'conf.d'\n");
my $data = $node->data_dir;
mkdir "$data/conf.d";
$node->start;

my $conf_d = '/etc/postgresql/15/main/conf.d';
my $installed = "$dir/installed";
my %programs = (
	# Builds what is built already, installs into a folder. Demo and test run by themselves.
	make => <<"SH",
case \$1 in
demo | test) set -- -n "\$1" ;;
esac
exec /usr/bin/make PG_CONFIG=/usr/bin/pg_config DESTDIR='$installed' "\$@"
SH
	tee            => "exec /usr/bin/tee \"\$(echo \"\$1\" | sed 's,^$conf_d/,$data/conf.d/,')\"\n",
	rm             => "exec /usr/bin/rm \"\$(echo \"\$1\" | sed 's,^$conf_d/,$data/conf.d/,')\"\n",
	service        => "exec pg_ctl -s -w -m fast -D '$data' -l '${\ $node->logfile }' \"\$2\"\n",
	'redis-cli'    => "exec /usr/bin/redis-cli -p ${\ $redis->port } \"\$@\"\n",
	'outbox-worker' => "exec '${\ ($ENV{OUTBOX_WORKER} // 'outbox-worker') }' \"\$@\"\n");
my $stand_ins = Outbox::StandIns->new(
	dir      => "$dir/bin",
	programs => \%programs,
	env      => {
		PGHOST => $node->host, PGPORT => $node->port, PGUSER => undef,
		OUTBOX_AMQP_URL => $broker->url, OUTBOX_REDIS_URL => $redis->url
	});
$stand_ins->add_rabbitmq($broker);
# A checkout of one's own: the one here may belong to somebody else.
system_or_bail('cp', '-r', '--preserve=timestamps', $root, "$dir/checkout");

my $page = Outbox::Page->read($root, 'docs/quick-start.md');
my %done;

# The blocks below a heading, in order: { language, text }.
sub blocks_of
{
	my ($heading) = @_;
	my @blocks = $page->blocks(undef, $heading);
	$done{$heading} = @blocks;
	return @blocks;
}

sub run_sh
{
	my ($what, $block, %arg) = @_;
	is($block->{language}, 'sh', "$what: commands");
	my ($status, $said) = $stand_ins->run($block->{text}, dir => "$dir/checkout", %arg);
	is($status, 0, "$what: they work") or diag($said);
	return $said;
}

# ---- 1. Build and install ----

my ($build) = blocks_of('1. Build and install');
run_sh('build', $build);
my $library = qx(/usr/bin/pg_config --pkglibdir) =~ s/\n//r;
ok(-s "$installed/$_", "$_ is installed") for "$library/pg_outbox.so", 'usr/local/bin/outbox-worker',
  'usr/local/share/man/man1/outbox-worker.1', 'usr/local/share/man/man7/pg_outbox.7';

# ---- 2. Have the server load it ----

my ($load) = blocks_of('2. Have the server load it');
run_sh('load', $load);
$node->_update_pid(1);
is($node->safe_psql('postgres', 'SHOW shared_preload_libraries'), 'pg_outbox', 'the server has it');

# ---- 3. Say which keys ----

my ($connect, $sql) = blocks_of('3. Say which keys a change makes old');
PostgreSQL::Test::Utils::append_to_file("$dir/typed", "\\set ON_ERROR_STOP on\n$sql->{text}");
my $said = run_sh('a table', $connect, input => "$dir/typed");
like($said, qr/^CREATE EXTENSION\nCREATE TABLE\n.*^INSERT 0 2$/ms, 'what psql answers');
unlike($said, qr/WARNING|ERROR/, 'no warning');

# ---- 4. Start the worker ----

my ($start) = blocks_of('4. Start the worker');
is($start->{text}, "outbox-worker\n", 'the worker, without an option');
$pipe->{worker} = Outbox::Worker->new(dir => $dir, program => "$dir/bin/outbox-worker", broker => $broker, redis => $redis)->start;
ok($pipe->worker->wait_log(qr/consuming/), 'it says so');

# ---- 5. Change a row ----

$node->wait_relay('idle', 'shop');
my ($change, $look) = blocks_of('5. Change a row');
$said = run_sh('a change', $change);
like($said, qr/\AOK\nOK\nUPDATE 1\n[12]\n\z/, 'two copies, one change');
# The page's last line again: a reader is slower than a busy machine is.
ok(poll_until('one copy to be left', sub { ($stand_ins->run('redis-cli EXISTS product:1 product:2'))[1] eq "1\n" }),
	'one copy is left');
is($redis->exists('product:2'), 1, '... of the cake');
$node->wait_published('shop');
$node->wait_relay('idle', 'shop');
like(run_sh('a look', $look), qr/pending_events \| 0\n.*state +\| idle/s, 'nothing waits');

# ---- a message ----

my ($message) = blocks_of('A message of your own');
like(run_sh('a message', $message), qr/publish/, 'recorded');
poll_until('it to wait', sub {
	($stand_ins->run($message->{text} =~ s/.*\n//r))[1] =~ /routing_key \| emails\nstate +\| retrying\nreason +\| .*NO_ROUTE/ });
pass('it waits for its queue');

# ---- undo ----

my ($undo) = blocks_of('Undo it');
is($pipe->worker->stop, 0, 'the worker ends');
run_sh('undo', $undo);
$node->_update_pid(1);
is($node->safe_psql('postgres', q(SELECT current_setting('shared_preload_libraries') || count(*)
	FROM pg_database WHERE datname = 'shop')), '0', 'nothing is left');
ok(!$broker->queue_exists('cache-invalidation'), '... nor at the broker');

my @all = $page->blocks;
my $tried = 0;
$tried += $_ for values %done;
is($tried, @all, 'every block of the page was tried');

# ---- README ----

my $readme = Outbox::Page->read($root, 'README.md');
my @sh = $readme->blocks('sh');
cmp_ok(scalar @sh, '>', 0, 'README has commands');
for my $block (@sh)
{
	my ($status, $output) = $stand_ins->run($block->{text}, dir => "$dir/checkout");
	is($status, 0, 'README: ' . $block->{text} =~ s/\n.*//sr) or diag($output);
}
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_outbox'");
$node->restart;
$node->safe_psql('postgres', 'CREATE DATABASE readme');
my @blocks = $readme->blocks('sql');
cmp_ok(scalar @blocks, '>', 0, 'README has SQL');
is($node->psql('readme', join('', map { $_->{text} } @blocks), on_error_stop => 1), 0, 'README: its SQL runs');
is(scalar(grep { $_->{language} !~ /^(sh|sql)$/ } $readme->blocks), 0, 'README has no other blocks');

$pipe->finish;
