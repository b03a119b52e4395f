# SentinelGroup.pm
#    A master, its replicas and the Sentinels that watch over them, all on 127.0.0.1.
#
# Sentinel's periods (hello, INFO, PING) are shortened, so that a fail-over takes a second, not ten.

package Outbox::SentinelGroup;

use strict;
use warnings;
use Carp;
use Outbox::File;
use Outbox::Port 'free_port';
use Outbox::Process;
use Outbox::Redis;
use Outbox::Wait;

use constant START_LIMIT_S => 60;
# Between two tries to elect a master, and for one that was asked for.
use constant RETRY_MS       => 1000;
use constant ASKED_LIMIT_MS => 30_000;

# Named arguments: dir, and optionally name (what Sentinel calls the master), replicas, sentinels (how many),
# down_after_ms, options (of each Redis), conf (lines for each Sentinel; NAME stands for the name), tls (ca, cert
# and key: who speaks to whom, and url, goes by TLS then; this library still asks them without).
sub new
{
	my ($class, %arg) = @_;
	my $self = bless {
		dir           => $arg{dir},
		name          => $arg{name} // 'cache',
		down_after_ms => $arg{down_after_ms} // 500,
		conf          => $arg{conf} // '',
		count         => $arg{sentinels} // 3,
		tls           => $arg{tls},
	}, $class;
	# A replica is served at once, not after 5 s in which others might come.
	my @options = (@{ $arg{options} // [] }, '--repl-diskless-sync-delay', 0);
	my $first = $self->new_server(0, @options);
	$self->{servers} = [ $first,
		map { $self->new_server($_, @options, '--replicaof', '127.0.0.1', $self->port_of($first)) }
		  1 .. $arg{replicas} // 2 ];
	return $self;
}

sub new_server
{
	my ($self, $i, @options) = @_;
	my $tls_port = $self->{tls} && free_port();
	my %tls = $self->tls_settings($tls_port);
	my $server = Outbox::Redis->new(dir => "$self->{dir}/redis$i", options => [ @options, map { ("--$_", $tls{$_}) } sort keys %tls ]);
	$server->{tls_port} = $tls_port;
	return $server;
}

# Without TLS: none.
sub tls_settings
{
	my ($self, $port) = @_;
	my $tls = $self->{tls} or return;
	return ('tls-port' => $port, 'tls-replication' => 'yes', 'tls-auth-clients' => 'yes',
		'tls-ca-cert-file' => $tls->{ca}, 'tls-cert-file' => $tls->{cert}, 'tls-key-file' => $tls->{key});
}

# Where others find one.
sub port_of { my ($self, $server) = @_; return $server->{tls_port} // $server->port }

sub servers   { return @{ $_[0]{servers} } }
sub sentinels { return @{ $_[0]{sentinels} } }
sub name      { return $_[0]{name} }

sub start
{
	my ($self) = @_;
	$_->start for $self->servers;
	$self->{sentinels} = [ map { $self->new_sentinel($_) } 1 .. $self->{count} ];
	$_->start for $self->sentinels;
	$self->hurry($_) for $self->sentinels;
	$self->wait_ready;
	return $self;
}

# One Sentinel, not started. It is a Redis as far as starting and asking it goes.
sub new_sentinel
{
	my ($self, $i) = @_;
	my $dir = "$self->{dir}/sentinel$i";
	my $sentinel = Outbox::SentinelGroup::Sentinel->new(dir => $dir);
	my ($name, $port) = ($self->{name}, $self->port_of($self->{servers}[0]));
	$sentinel->{tls_port} = $self->{tls} && free_port();
	my %tls = $self->tls_settings($sentinel->{tls_port});
	my $tls = join '', map { "$_ $tls{$_}\n" } sort keys %tls;
	my $quorum = int($self->{count} / 2) + 1;
	my $conf = $self->{conf} =~ s/NAME/$name/gr;
	write_file("$dir/sentinel.conf", <<"CONF");
sentinel monitor $name 127.0.0.1 $port $quorum
sentinel down-after-milliseconds $name $self->{down_after_ms}
sentinel failover-timeout $name ${\ RETRY_MS }
sentinel parallel-syncs $name 2
$conf
$tls
CONF
	return $sentinel;
}

sub hurry
{
	my ($self, $sentinel) = @_;
	$sentinel->cli('SENTINEL', 'DEBUG', 'PUBLISH-PERIOD', 200, 'INFO-PERIOD', 500, 'PING-PERIOD', 100,
		'ASK-PERIOD', 200);
	return;
}

# What a Sentinel says of the master, as a hash.
sub ask { my ($self, $sentinel) = @_; return { @{ $sentinel->cli('SENTINEL', 'MASTER', $self->{name}) } } }

# Every Sentinel knows all replicas and all others, and they are connected.
sub wait_ready
{
	my ($self) = @_;
	$_->cli('SENTINEL', 'SET', $self->{name}, 'failover-timeout', RETRY_MS) for grep { defined } delete $self->{asked};
	poll_until('Sentinels to know each other', sub {
		for my $sentinel ($self->sentinels)
		{
			my $seen = $self->ask($sentinel);
			return 0 unless $seen->{'num-other-sentinels'} == $self->{count} - 1
			  && $seen->{'num-slaves'} >= $self->servers - 1
			  && $seen->{flags} eq 'master';
		}
		my $links = () = $self->master->cli('INFO', 'replication') =~ /state=online/g;
		return $links == $self->servers - 1;
	}, START_LIMIT_S);
	return;
}

# The server that all Sentinels name; dies while they differ.
sub master
{
	my ($self) = @_;
	my %ports = map { $_->cli('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', $self->{name})->[1] => 1 } $self->sentinels;
	croak 'Sentinels differ: ' . join(' ', keys %ports) if keys %ports != 1;
	my ($master) = grep { $ports{ $self->port_of($_) } } $self->servers;
	return $master;
}

sub replicas { my ($self) = @_; my $master = $self->master; return grep { $_ != $master } $self->servers }

# Waits until they all name another master than this one, and that is one; returns it.
sub wait_other_master
{
	my ($self, $old) = @_;
	return poll_until('another master', sub {
		my $master = eval { $self->master } or return;
		return $master != $old && $master->cli('ROLE')->[0] eq 'master' && $master;
	}, START_LIMIT_S);
}

# Asks for another master, until Sentinel has begun: it refuses while it takes a replica for unreachable. It is
# given the time to end, too, since nobody would try again.
sub fail_over
{
	my ($self) = @_;
	my ($sentinel) = $self->sentinels;
	$self->{asked} = $sentinel;
	$sentinel->cli('SENTINEL', 'SET', $self->{name}, 'failover-timeout', ASKED_LIMIT_MS);
	poll_until('Sentinel to begin a fail-over', sub { $sentinel->cli('SENTINEL', 'FAILOVER', $self->{name}) eq 'OK' });
	return;
}

# For --redis-url. Named arguments: login ("user:password@"), query, name, hosts (in place of the Sentinels).
sub url
{
	my ($self, %arg) = @_;
	my $hosts = $arg{hosts} // join ',', map { '127.0.0.1:' . $self->port_of($_) } $self->sentinels;
	return ($self->{tls} ? 'rediss' : 'redis') . '+sentinel://' . ($arg{login} // '') . $hosts . '/' . ($arg{name} // $self->{name}) . ($arg{query} // '');
}

sub discard
{
	my ($self) = @_;
	$_->kill9 for $self->sentinels, $self->servers;
	return;
}

package Outbox::SentinelGroup::Sentinel;

use strict;
use warnings;
use parent -norequire, 'Outbox::Redis';

sub launch
{
	my ($self) = @_;
	$self->{server} = Outbox::Process->start(
		name    => 'sentinel',
		command => [
			$ENV{REDIS_SERVER} || 'redis-server', "$self->{dir}/sentinel.conf", '--sentinel',
			'--port', $self->{port}, '--bind', '127.0.0.1', '--dir', $self->{dir} ],
		dir => $self->{dir},
		log => "$self->{dir}/sentinel.log");
	return $self;
}

1;
