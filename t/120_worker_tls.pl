# amqps:// and rediss://: certificates are verified on both sides, authority, host and date, and what
# is wrong is said; SIGHUP reads passwords and certificates again.

use strict;
use warnings;
use Outbox::Certificates;
use Outbox::File;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::RabbitMQ;
use Outbox::Redis;
use Outbox::Wait;
use Outbox::Worker;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = Outbox::Pipeline::work_folder();
my $certificates = Outbox::Certificates->new("$dir/certificates");
my $ca = $certificates->ca;
my $stranger = Outbox::Certificates->new("$dir/stranger")->ca;
my ($server_cert, $server_key) = $certificates->make('server');
my ($client_cert, $client_key) = $certificates->make('client');

my ($amqps, $rediss) = (free_port(), free_port());
my $broker = Outbox::RabbitMQ->new(dir => "$dir/rabbitmq", config => <<"CONF")->launch;
listeners.ssl.1 = 127.0.0.1:$amqps
ssl_options.cacertfile = $ca
ssl_options.certfile = $server_cert
ssl_options.keyfile = $server_key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
CONF
my $redis = Outbox::Redis->new(dir => "$dir/redis", options => [
	'--tls-port', $rediss, '--tls-cert-file', $server_cert, '--tls-key-file', $server_key,
	'--tls-ca-cert-file', $ca, '--tls-auth-clients', 'yes' ])->start;
$broker->wait_ready;
my ($amqp_url, $redis_url) = ("amqps://127.0.0.1:$amqps", "rediss://cache\@127.0.0.1:$rediss");
my %file = (
	amqp  => { ca => $ca, cert => $client_cert, key => $client_key },
	redis => { ca => $ca, cert => $client_cert, key => $client_key });

# Options for these files; "" leaves one out.
sub options
{
	my (%change) = @_;
	my @options;
	for my $side (sort keys %file)
	{
		for my $what (sort keys %{ $file{$side} })
		{
			my $path = $change{"$side-$what"} // $file{$side}{$what};
			push @options, "--$side-$what-file=$path";
		}
	}
	return @options;
}

# What --check says with other files or other addresses.
sub check
{
	my (%change) = @_;
	my ($out, $err) = ('', '');
	local %ENV = (%ENV,
		OUTBOX_AMQP_URL  => $change{amqp_url} // $amqp_url,
		OUTBOX_REDIS_URL => $change{redis_url} // $redis_url);
	IPC::Run::run([ $ENV{OUTBOX_WORKER} // 'outbox-worker', '--check', options(%change), @{ $change{more} || [] } ],
		'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(60));
	return ($? >> 8, "$out$err");
}

sub is_refused
{
	my ($what, $pattern, $code, %change) = @_;
	my ($status, $said) = check(%change);
	is($status, $code, "$what: refused") or diag $said;
	like($said, $pattern, "$what: the reason");
	return;
}

# Passwords from files; the user of Redis may do what the documentation says, and no more.
write_file("$dir/redis.password", "first\n");
$redis->cli('ACL', 'SETUSER', 'cache', 'on', '>first', '~*', '+unlink', '+scan', '+ping', '+select');
my @password = ("--redis-password-file=$dir/redis.password");

my ($status, $said) = check(more => \@password);
is($status, 0, '--check over TLS, with client certificates, to both') or diag $said;

for my $side ([ 'amqp', 'broker' ], [ 'redis', 'redis' ])
{
	my ($name, $told) = @$side;
	is_refused("$told of an unknown authority", qr/^$told .*(?:unable to get local issuer|self.signed)/m, 1,
		"$name-ca" => $stranger, more => \@password);
	is_refused("$told without our certificate",
		qr/^$told .*(?:certificate required|handshake failure|closed|reset)/m, 1, # the alert may be lost with the socket
		"$name-cert" => '', "$name-key" => '', more => \@password);
	is_refused("a key of another certificate for $told", qr/certificates for --$name-url: .*key/i, 2,
		"$name-key" => $server_key);
	is_refused("a file for $told that is missing", qr/nowhere\.pem/, 2, "$name-ca" => "$dir/nowhere.pem");
}
is_refused('the broker under a name its certificate is not for', qr/^broker .*(?:hostname|IP address) mismatch/mi, 1,
	amqp_url => "amqps://127.0.0.2:$amqps", more => \@password)
  if can_connect('127.0.0.2', $amqps);
is_refused('the broker by a name the certificate has', qr/^broker .*: ok/m, 0,
	amqp_url => "amqps://localhost:$amqps", more => \@password);
is_refused('files without TLS', qr/no --amqp-url is amqps/, 2, amqp_url => $broker->url);
is_refused('files without TLS', qr/no --redis-url is rediss/, 2, redis_url => $redis->url);
is_refused('a plain port', qr/^broker .*TLS/m, 1, amqp_url => "amqps://127.0.0.1:${\ $broker->port }", more => \@password);

sub can_connect { my ($host, $port) = @_; return IO::Socket::INET->new(PeerAddr => "$host:$port") }

# ---- at work ----

my $worker = Outbox::Worker->new(dir => $dir, broker => $amqp_url, redis => $redis_url,
	options => [ options(), @password ])->start;
$worker->wait_log(qr/info consuming/);
$redis->set_keys(map { "key:$_" } 1 .. 5000);
for my $n (0 .. 9)
{
	$broker->publish('cache-invalidation',
		'{"keys":[' . join(',', map { qq("key:$_") } $n * 500 + 1 .. $n * 500 + 500) . ']}');
}
ok($redis->wait_gone(map { "key:$_" } 1 .. 5000), 'deletes over TLS on both sides');
$redis->set_keys(map { "wide:$_" } 1 .. 3000);
$broker->publish('cache-invalidation', '{"patterns":["wide:*"]}');
ok($redis->wait_gone(map { "wide:$_" } 1 .. 3000), '... patterns too');
$broker->publish('cache-invalidation', 'x' x 300_000);
ok($broker->wait_message('cache-invalidation.dead'), '... and dead letters');

# ---- SIGHUP ----

$redis->cli('ACL', 'SETUSER', 'cache', 'resetpass', '>second');
$redis->cli('CLIENT', 'KILL', 'USER', 'cache');
$worker->wait_log(qr/warning waiting for redis .*reason="?WRONGPASS/);
pass('a changed password is waited for');
$redis->set_keys('after');
$broker->publish('cache-invalidation', '{"keys":["after"]}');
unlink "$dir/redis.password";
$worker->signal('HUP');
$worker->wait_log(qr/warning reload failed reason=".*redis\.password: No such file/);
pass('a file that is missing at SIGHUP is told');
write_file("$dir/redis.password", "second\n");
$worker->signal('HUP');
$worker->wait_log(qr/info reloaded/);
ok($redis->wait_gone('after'), 'SIGHUP reads the new one and tries at once');
is($worker->stop, 0, 'the worker ends');
unlike($worker->log_text, qr/first|second/, 'no password in the log');

# ---- the broker's certificate expires ----

my ($expired_cert, $expired_key) = $certificates->make('expired', expired => 1);
$redis->cli('CONFIG', 'SET', 'tls-cert-file', $expired_cert, 'tls-key-file', $expired_key);
is_refused('an expired certificate', qr/^redis .*certificate has expired/m, 1, more => \@password);
my ($other_cert, $other_key) = $certificates->make('other', host => 'redis.example');
$redis->cli('CONFIG', 'SET', 'tls-cert-file', $other_cert, 'tls-key-file', $other_key);
is_refused('a certificate for another host', qr/^redis .*mismatch/m, 1, more => \@password);

$broker->discard;
$redis->kill9;
done_testing();
