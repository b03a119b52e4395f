# What docs/worker.md and examples/ tell an operator to do, done: the rights of its users, the systemd
# unit, the Kubernetes manifest. And each event of the log is explained there.

use strict;
use warnings;
use CPAN::Meta::YAML;
use FindBin;
use HTTP::Tiny;
use Outbox::File;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::Wait;
use Outbox::Worker;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/..";
my $pipe = Outbox::Pipeline->start(node => 0, worker => 0);
my ($redis, $broker, $dir) = map { $pipe->$_ } qw(redis broker dir);
my $program = $ENV{OUTBOX_WORKER} // 'outbox-worker';
my $queue = 'cache-invalidation';
my $guide = slurp_file("$root/docs/worker.md");

sub worker_as
{
	my ($name, @options) = @_;
	return Outbox::Worker->new(dir => $dir, name => $name, broker => $broker->url(user => 'cache', password => 'secret'),
		redis => "redis://cache:secret\@127.0.0.1:${\ $redis->port }/0", options => \@options)->start;
}

# ---- the log ----

my %event;
for my $source (glob "$root/worker/*.c")
{
	my $text = slurp_file($source);
	while ($text =~ /\blog_line\(\s*(.*?)NULL\)\s*;/sg)
	{
		my ($arguments) = $1;
		# The level, then the event: a text, one of two, or the name of a state.
		my ($events) = $arguments =~ /^[^,]*,\s*([^,]*),/s or next;
		$event{$_} = $source for $events =~ /"([^"]+)"/g;
	}
}
$event{$_} = 'states' for 'starting', 'consuming', 'waiting for broker', 'waiting for redis', 'stopping';
cmp_ok(scalar keys %event, '>', 15, 'the events of the log');
my ($table) = $guide =~ /^\| event \| level \| means \|\n(.*?)\n\n/ms;
my %told = map { $_ => 1 } map { /^\| ([^|]*) \|/ ? $1 =~ /`([^`]+)`/g : () } split /\n/, $table;
is_deeply([ sort grep { !$told{$_} } keys %event ], [], '... each is explained in docs/worker.md');
is_deeply([ sort grep { !$event{$_} } keys %told ], [], '... and nothing else is');

# ---- options ----

my $help = qx('$program' --help);
my @options = $help =~ /^  --([a-z-]+)/mg;
cmp_ok(scalar @options, '>', 20, 'the options');
is_deeply([ grep { $guide !~ /--\Q$_\E\b/ } @options ], [], '... each is in docs/worker.md');

# ---- rights: the commands of docs/worker.md, as they stand there ----

my @permissions = $guide =~ /^    rabbitmqctl set_permissions (.*)$/mg;
is(scalar @permissions, 2, 'two sets of permissions');
my ($acl) = $guide =~ /^    (ACL SETUSER cache .*)$/m;
$redis->cli(split ' ', $acl);
$broker->ctl('add_user', 'cache', 'secret');

sub grant
{
	my ($line) = @_;
	$broker->ctl('set_permissions', map { s/^'|'$//gr } $line =~ /('[^']*'|\S+)/g);
	return;
}

sub works
{
	my ($what, $worker) = @_;
	$worker->wait_log(qr/info consuming/);
	$redis->set_keys('blog:1', 'blog:2', 'author:1');
	$broker->publish($queue, '{"keys":["blog:1"],"patterns":["author:*","blog:2*"]}');
	ok($redis->wait_gone('blog:1', 'blog:2', 'author:1'), "$what: keys and patterns are deleted");
	my $dead = $broker->queue_length("$queue.dead");
	$broker->publish($queue, 'not understood');
	ok(poll_until('a dead letter', sub { $broker->queue_length("$queue.dead") > $dead }), "$what: a dead letter is written");
	is($worker->stop, 0, "$what: it ends");
	is($broker->queue_length($queue), 0, "$what: everything is acknowledged");
	return;
}

grant($permissions[0]);
works('it declares its queues', worker_as('declares'));
grant($permissions[1]);
works('its queues are there', worker_as('uses'));
works('its queues are there, --no-declare', worker_as('uses-no-declare', '--no-declare'));
grant($permissions[0]);
my ($out, $err) = ('', '');
IPC::Run::run([ $program, '--replay-dead', '--amqp-url=' . $broker->url(user => 'cache', password => 'secret') ],
	'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(60));
like($out, qr/^3 of 3 messages sent/, '--replay-dead may read dead letters');
for my $command ([ 'GET', 'blog:1' ], [ 'UNLINK', 'other' ], [ 'FLUSHALL' ])
{
	my $as_cache = Outbox::Redis->new(dir => "$dir/redis");
	$as_cache->{port} = $redis->port;
	$as_cache->cli('AUTH', 'cache', 'secret');
	eval { $as_cache->cli(@$command) };
	like($@, qr/NOPERM/, "Redis: no right to @$command");
}

# ---- the systemd unit ----

SKIP:
{
	skip 'no systemd-analyze', 3 unless qx(sh -c 'command -v systemd-analyze');
	my $unit = slurp_file("$root/examples/systemd/outbox-worker.service");
	$unit =~ s{^ExecStart=\S+}{ExecStart=$program}m;
	my $path = write_file("$dir/outbox-worker.service", $unit);
	my $said = qx(systemd-analyze verify '$path' 2>&1);
	is($? >> 8, 0, 'systemd-analyze verify is content');
	is($said, '', '... and has nothing to say');
	$said = qx(systemd-analyze security --offline=true --threshold=20 '$path' 2>&1);
	is($? >> 8, 0, 'systemd-analyze security: exposure below 2') or diag $said;
}

# ---- the Kubernetes manifest: parsed, and its settings and probes tried without a cluster ----

my ($settings, $deployment) = @{ CPAN::Meta::YAML->read("$root/examples/kubernetes/outbox-worker.yaml") };
is("$settings->{kind} $deployment->{kind}", 'ConfigMap Deployment', 'a map of settings and a deployment');
my $pod = $deployment->{spec}{template}{spec};
my ($container) = @{ $pod->{containers} };
is($deployment->{spec}{selector}{matchLabels}{app}, $deployment->{spec}{template}{metadata}{labels}{app},
	'it finds its pods');
my %volume = map { $_->{name} => $_ } @{ $pod->{volumes} };
my %mounted = map { $volume{ $_->{name} }{configMap} ? (settings => $_->{mountPath}) : (passwords => $_->{mountPath}) }
  @{ $container->{volumeMounts} };
my ($file) = keys %{ $settings->{data} };
is_deeply($container->{args}, ["--config=$mounted{settings}/$file"], 'the settings are where they are looked for');
like($help, qr/^\s+environment: $_->{name}$/m, "$_->{name} is known") for @{ $container->{env} };

my $port = free_port();
my $text = $settings->{data}{$file};
mkdir "$dir/passwords";
write_file("$dir/passwords/$_-password", "secret\n") for qw(amqp redis);
my @moved = (
	$text =~ s/\Q$mounted{passwords}\E/$dir\/passwords/g,
	$text =~ s/\@rabbitmq:5672/\@127.0.0.1:${\ $broker->port }/,
	$text =~ s/\@redis:6379/\@127.0.0.1:${\ $redis->port }/,
	$text =~ s/0\.0\.0\.0:$container->{ports}[0]{containerPort}/127.0.0.1:$port/);
is_deeply(\@moved, [ 2, 1, 1, 1 ], 'its addresses, ports and files');
my $worker = Outbox::Worker->new(dir => $dir, name => 'pod',
	options => [ '--config=' . write_file("$dir/$file", $text) ], env => { OUTBOX_NAME => 'pod-1' })->start;
$worker->wait_log(qr/"event":"consuming"/);
for my $probe (qw(readinessProbe livenessProbe))
{
	my $get = $container->{$probe}{httpGet};
	is($get->{port}, $container->{ports}[0]{name}, "$probe: a port that is there");
	is(HTTP::Tiny->new(timeout => 20)->get("http://127.0.0.1:$port$get->{path}")->{status}, 200, "$probe: 200");
}
my ($stop_s) = $text =~ /^stop-timeout\s*=\s*(\d+)s$/m;
cmp_ok($pod->{terminationGracePeriodSeconds}, '>', $stop_s, 'it is given the time to stop');
is($worker->stop, 0, 'and stops');

$pipe->finish;
