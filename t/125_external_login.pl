# ?auth_mechanism=external: relay and worker log in by their certificates alone, without a password.

use strict;
use warnings;
use Outbox::Certificates;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::Postgres;
use Outbox::RabbitMQ;
use Outbox::Redis;
use Outbox::Wait;
use Outbox::Worker;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = Outbox::Pipeline::work_folder();
my $certificates = Outbox::Certificates->new("$dir/certificates");
my $ca = $certificates->ca;
my ($server_cert, $server_key) = $certificates->make('server');
my %certificate = map { $_ => [ $certificates->make($_) ] } qw(relay worker nobody);
my $port = free_port();

# Who shows a certificate is who it names; guest's password stays for the test itself.
my $broker = Outbox::RabbitMQ->new(dir => "$dir/rabbitmq",
	plugins => ['rabbitmq_auth_mechanism_ssl'], config => <<"CONF")->launch;
listeners.ssl.1 = 127.0.0.1:$port
ssl_options.cacertfile = $ca
ssl_options.certfile = $server_cert
ssl_options.keyfile = $server_key
ssl_options.verify = verify_peer
ssl_cert_login_from = common_name
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = EXTERNAL
CONF
my $redis = Outbox::Redis->new(dir => "$dir/redis")->start;
$broker->wait_ready;
for my $user (qw(relay worker))
{
	$broker->ctl('add_user', $user, 'a password that nobody knows');
	$broker->ctl('set_permissions', $user, '^cache-', '^(cache-|amq\.default)', '^cache-');
}
my $url = "amqps://127.0.0.1:$port/%2f?auth_mechanism=external";

sub users { return $broker->ctl('list_connections', 'user', 'auth_mechanism', '--no-table-headers') }

# ---- the worker ----

sub options
{
	my ($name) = @_;
	my ($cert, $key) = @{ $certificate{$name} };
	return ("--amqp-ca-file=$ca", "--amqp-cert-file=$cert", "--amqp-key-file=$key");
}

sub check
{
	my ($amqp_url, @options) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ $ENV{OUTBOX_WORKER} // 'outbox-worker', '--check', "--amqp-url=$amqp_url",
			"--redis-url=${\ $redis->url }", @options ],
		'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(60));
	return ($? >> 8, "$out$err");
}

my ($status, $said) = check($url, options('worker'));
is($status, 0, '--check: the certificate is enough') or diag $said;
($status, $said) = check($url, options('nobody'));
is($status, 1, 'a certificate of no user: refused');
like($said, qr/^broker .*ACCESS_REFUSED/m, '... in the broker\'s words');
($status, $said) = check($url, "--amqp-ca-file=$ca");
is($status, 2, 'without a certificate of our own: wrong usage');
like($said, qr/auth_mechanism=external needs --amqp-cert-file/, '... and why');
($status, $said) = check("amqp://127.0.0.1:${\ $broker->port }/%2f?auth_mechanism=external");
is($status, 2, 'without TLS: wrong usage');
like($said, qr/auth_mechanism=external needs amqps/, '... and why');

my $worker = Outbox::Worker->new(dir => $dir, broker => $url, redis => $redis,
	options => [ options('worker') ])->start;
$worker->wait_log(qr/info consuming/);
like(users(), qr/^worker\tEXTERNAL/m, 'the worker is who its certificate says');

# ---- the relay ----

my ($cert, $key) = @{ $certificate{relay} };
my $node = Outbox::Postgres->create('pg', amqp_url => $url,
	conf => "outbox.amqp_ca_file = '$ca'\noutbox.amqp_cert_file = '$cert'\noutbox.amqp_key_file = '$key'\n");
$node->start;
$node->create_blog;
$node->wait_relay('idle');
like(users(), qr/^relay\tEXTERNAL/m, 'so is the relay');
$redis->set_keys('blog:1');
$node->safe_psql('blog', q(INSERT INTO blogs VALUES (1, 1, 'x')));
ok($redis->wait_gone('blog:1'), 'and a change deletes its key');

# A broker that knows only passwords.
$broker->ctl('eval', 'application:set_env(rabbit, auth_mechanisms, [\'PLAIN\']).');
$broker->ctl('close_all_connections', 'again, please');
$broker->reconnect;
$worker->wait_log(qr/waiting for broker .*does not offer EXTERNAL/);
pass('a broker without it: the worker says so');
like($node->wait_relay_error(qr/does not offer EXTERNAL/)->{last_error}, qr/EXTERNAL/, 'the relay too');

is($worker->stop, 0, 'the worker ends');
$node->stop;
$redis->stop;
$broker->stop;
done_testing();
