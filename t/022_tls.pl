# amqps://: the broker's certificate is verified, authority, host and date; a client certificate is
# shown where the broker asks for one; what is wrong is said in outbox.relay.

use strict;
use warnings;
use Outbox::Certificates;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::Postgres;
use Outbox::RabbitMQ;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = Outbox::Pipeline::work_folder();
my $certificates = Outbox::Certificates->new("$dir/certificates");
my $stranger = Outbox::Certificates->new("$dir/stranger");
my ($server_cert, $server_key) = $certificates->make('server');
my ($other_cert, $other_key) = $certificates->make('other', host => 'broker.example');
my ($expired_cert, $expired_key) = $certificates->make('expired', expired => 1);
my ($client_cert, $client_key) = $certificates->make('client');

# One node, whose certificate is what stands in these two files when it starts to listen.
my ($cert, $key) = ("$dir/now.pem", "$dir/now.key");
my $port = free_port();
show($server_cert, $server_key);
my $broker = Outbox::RabbitMQ->new(dir => "$dir/rabbitmq", config => <<"CONF")->start;
listeners.ssl.1 = 127.0.0.1:$port
ssl_options.cacertfile = ${\ $certificates->ca }
ssl_options.certfile = $cert
ssl_options.keyfile = $key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
CONF
my $node = Outbox::Postgres->create(
	'pg',
	amqp_url => "amqps://127.0.0.1:$port",
	conf => "outbox.amqp_ca_file = '${\ $certificates->ca }'\n"
	  . "outbox.amqp_cert_file = '$client_cert'\noutbox.amqp_key_file = '$client_key'\n");
$node->start;
$node->create_blog;

sub show
{
	my ($new_cert, $new_key) = @_;
	for ([ $new_cert, $cert ], [ $new_key, $key ])
	{
		unlink $_->[1];
		link($_->[0], $_->[1]) or die "$_->[1]: $!\n";
	}
	return;
}

# With this certificate the broker is refused, for this reason.
sub is_refused
{
	my ($what, $reason, $new_cert, $new_key) = @_;
	show($new_cert, $new_key);
	$broker->stop;
	$broker->start;
	like($node->wait_relay_error($reason)->{last_error}, $reason, "$what is refused");
	$node->safe_psql('blog', q(SELECT outbox.invalidate('waits')));
	cmp_ok($node->pending, '>', 0, "$what: nothing is sent");
	return;
}

# Sets one setting and has the relay take it over.
sub set
{
	my ($name, $value) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET $name = '$value'");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	return;
}

$node->wait_relay('idle');
$node->safe_psql('blog', q(SELECT outbox.invalidate('key')));
ok($node->wait_published, 'publishes over TLS');
my $big = 'x' x 900_000;
$broker->declare_queue('big');
$node->safe_psql('blog', "SELECT outbox.publish('big', to_jsonb('$big'::text))");
is(length $broker->wait_message('big')->{json}, length $big, 'a message of many records too');

is_refused('an expired certificate', qr/certificate has expired/, $expired_cert, $expired_key);
is_refused('a certificate for another host', qr/IP address mismatch/, $other_cert, $other_key);

show($server_cert, $server_key);
$broker->stop;
$broker->start;
ok($node->wait_published, 'the right one again: what waited is sent');

set('outbox.amqp_ca_file', $stranger->ca);
like($node->wait_relay_error(qr/unable to get|self.signed/)->{last_error}, qr/certificate/, 'another authority is refused');
set('outbox.amqp_ca_file', "$dir/nowhere.pem");
like($node->wait_relay_error(qr/nowhere/)->{last_error}, qr/CA file ".*nowhere\.pem": No such file/,
	'a file that is missing is named');
is($node->wait_relay('not running')->{pid}, undef, 'and no relay tries in vain');
set('outbox.amqp_ca_file', $certificates->ca);
$node->wait_relay('idle');
pass('after a reload with the right one it is back');

set('outbox.amqp_cert_file', '');
set('outbox.amqp_key_file', '');
ok($node->wait_relay_error(qr/certificate required|handshake failure|closed/),
	'without the client certificate that the broker asks for it is refused by the broker');
set('outbox.amqp_cert_file', $client_cert);
set('outbox.amqp_key_file', $client_key);
$node->safe_psql('blog', q(SELECT outbox.invalidate('last')));
ok($node->wait_published, 'with it all is well again');

# Plain AMQP spoken to a TLS port, and the other way round.
set('outbox.amqp_url', "amqp://127.0.0.1:$port");
isnt($node->wait_relay_error(qr/does not speak AMQP/)->{last_error}, undef, 'amqp:// to a TLS port');
set('outbox.amqp_url', "amqps://127.0.0.1:${\ $broker->port }");
like($node->wait_relay_error(qr/TLS|wrong version/)->{last_error}, qr/TLS/, 'amqps:// to a plain port');

$node->stop('fast');
$broker->discard;
done_testing();
