# RedisCluster.pm
#    A private Redis Cluster: masters, a replica of each, and a small client that follows redirections.

package Outbox::RedisCluster;

use strict;
use warnings;
use Carp;
use IPC::Run ();
use List::Util 'first';
use Outbox::Port 'free_port';
use Outbox::Redis;
use Outbox::Wait;

use constant SLOTS        => 16_384;
use constant MAX_REDIRECT => 50;
use constant MASTERS      => 3;

# Named arguments: dir, and optionally replicas (of each master, default 1), node_timeout_ms, options
# (as on the servers' command line).
sub new
{
	my ($class, %arg) = @_;
	my $self = bless {
		dir      => $arg{dir},
		nodes    => [],
		timeout  => $arg{node_timeout_ms} // 1000,
		options  => $arg{options} || [],
		replicas => $arg{replicas} // 1,
	}, $class;
	$self->add_node for 1 .. MASTERS * (1 + $self->{replicas});
	return $self;
}

# One more server, not started, and of no cluster.
sub add_node
{
	my ($self) = @_;
	my $bus = free_port();
	my $node = Outbox::Redis->new(
		dir     => "$self->{dir}/node" . @{ $self->{nodes} },
		options => [
			'--cluster-enabled', 'yes', '--cluster-port', $bus,
			'--cluster-node-timeout', $self->{timeout},
			'--cluster-replica-validity-factor', 0, '--repl-diskless-sync-delay', 0,
			# A master without slots remains one.
			'--cluster-allow-replica-migration', 'no',
			@{ $self->{options} } ]);
	$node->{bus} = $bus;
	push @{ $self->{nodes} }, $node;
	return $node;
}

sub nodes { return @{ $_[0]{nodes} } }

# Those of the start; who is master may change.
sub first_masters { my ($self) = @_; return @{ $self->{nodes} }[ 0 .. MASTERS - 1 ] }

sub address { return "127.0.0.1:$_[0]{port}" }
sub url     { return 'redis+cluster://' . join ',', map { address($_) } $_[0]->first_masters }

sub start
{
	my ($self) = @_;
	my ($one, @others) = $self->nodes;
	$_->launch for $self->nodes;
	poll_until('the nodes to answer', sub { !grep { $_->cli('PING') ne 'PONG' } $self->nodes });
	my @masters = $self->first_masters;
	for my $i (0 .. $#masters)
	{
		my ($low, $high) = map { int SLOTS * $_ / @masters } $i, $i + 1;
		$masters[$i]->cli('CLUSTER', 'SET-CONFIG-EPOCH', $i + 1);
		$masters[$i]->cli('CLUSTER', 'ADDSLOTSRANGE', $low, $high - 1);
	}
	$self->meet($one, $_) for @others;
	my @replicas = @{ $self->{nodes} }[ MASTERS .. $#{ $self->{nodes} } ];
	$self->replicate($replicas[$_], $masters[ $_ % @masters ]) for 0 .. $#replicas;
	$self->wait_ok;
	return $self;
}

sub kill9 { my ($self) = @_; $_->kill9 for grep { $_->{server}->alive } $self->nodes; return }

sub id { my ($self, $node) = @_; return $node->{id} //= $node->cli('CLUSTER', 'MYID') }

sub meet
{
	my ($self, $one, $other) = @_;
	$one->cli('CLUSTER', 'MEET', '127.0.0.1', $other->port, $other->{bus});
	poll_until('the nodes to know each other',
		sub { index($one->cli('CLUSTER', 'NODES'), $self->id($other)) >= 0 });
	return;
}

sub replicate
{
	my ($self, $replica, $master) = @_;
	poll_until('the replica to know its master',
		sub { $replica->cli('CLUSTER', 'REPLICATE', $self->id($master)) eq 'OK' });
	return;
}

# Every running node knows of all slots, and every replica has its master's data.
sub wait_ok
{
	my ($self) = @_;
	my @running = grep { $_->{server}->alive } $self->nodes;
	poll_until(
		'a whole cluster',
		sub {
			for my $node (@running)
			{
				my $info = $node->cli('CLUSTER', 'INFO');
				return 0 unless $info =~ /cluster_state:ok/ && $info =~ /cluster_slots_ok:16384/;
				my $role = $node->cli('ROLE');
				return 0 if $role->[0] eq 'slave' && $role->[3] ne 'connected';
			}
			return 1;
		});
	delete $self->{avoided};
	return;
}

# The running nodes that are masters at present, as they say themselves.
sub masters
{
	my ($self) = @_;
	return grep { $_->{server}->alive && $_->cli('ROLE')->[0] eq 'master' } $self->nodes;
}

# A running replica of this node.
sub replica_of
{
	my ($self, $master) = @_;
	return first
	{
		my $role = $_->{server}->alive ? $_->cli('ROLE') : ['dead'];
		$role->[0] eq 'slave' && $role->[2] == $master->port
	}
	$self->nodes;
}

# ---- a client ----

sub slot
{
	my ($key) = @_;
	my ($tag) = $key =~ /^[^{]*\{([^}]+)\}/s;
	my $crc = 0;
	for my $byte (unpack 'C*', $tag // $key)
	{
		$crc ^= $byte << 8;
		$crc = ($crc & 0x8000 ? $crc << 1 ^ 0x1021 : $crc << 1) & 0xFFFF for 1 .. 8;
	}
	return $crc % SLOTS;
}

# One command about this key, wherever it lives; waits while the cluster has no answer.
sub command
{
	my ($self, $key, @command) = @_;
	my $slot = slot($key);
	my ($node, @before) = ($self->{owner}{$slot} // $self->any_node);
	my $answer;
	poll_until(
		"an answer about $key",
		sub {
			for (1 .. MAX_REDIRECT)
			{
				$node = $self->any_node if $self->{avoided}{ $node->port };
				my @answers = eval { $node->pipeline(@before, \@command) };
				return defined($answer = \$answers[-1]) unless $@;
				my ($kind, $port) = $@ =~ /(MOVED|ASK) \d+ \S*:(\d+)/;
				$node = $self->any_node, die $@ unless $kind;
				$node = first { $_->port == $port } $self->nodes;
				@before = $kind eq 'ASK' ? ['ASKING'] : ();
				$self->{owner}{$slot} = $node unless @before;
			}
			return 0;
		});
	return $$answer;
}

sub any_node
{
	my ($self) = @_;
	my @nodes = grep { !$self->{avoided}{ $_->port } } $self->nodes;
	return $nodes[ rand @nodes ];
}

# Stopped: it would take our command and not answer. Until the next wait_ok.
sub freeze
{
	my ($self, $node) = @_;
	$self->{avoided}{ $node->port } = 1;
	$node->freeze;
	return;
}

sub set    { my ($self, $key) = @_; return $self->command($key, 'SET', $key, 1) }
sub exists { my ($self, $key) = @_; return $self->command($key, 'EXISTS', $key) }

# Many keys while nothing moves.
sub set_keys
{
	my ($self, @keys) = @_;
	my %at;
	push @{ $at{ $self->owner_of($_)->port } }, $_ for @keys;
	for my $node ($self->masters)
	{
		my @mine = @{ $at{ $node->port } || [] };
		while (my @some = splice @mine, 0, 1000)
		{
			$node->pipeline(map { [ 'SET', $_, 1 ] } @some);
		}
	}
	return;
}

# As it is now.
sub owner_of
{
	my ($self, $key) = @_;
	$self->read_owners unless $self->{ranges};
	my $slot = slot($key);
	my $range = first { $_->[0] <= $slot && $slot <= $_->[1] } @{ $self->{ranges} };
	return $range->[2];
}

sub read_owners
{
	my ($self) = @_;
	my $slots = (first { $_->{server}->alive } $self->nodes)->cli('CLUSTER', 'SLOTS');
	my %by_port = map { $_->port => $_ } $self->nodes;
	$self->{ranges} = [ map { [ @$_[ 0, 1 ], $by_port{ $_->[2][1] } ] } @$slots ];
	delete $self->{owner};
	return;
}

# Keys of all masters.
sub size
{
	my ($self) = @_;
	my $size = 0;
	$size += $_->cli('DBSIZE') for $self->masters;
	return $size;
}

sub wait_empty
{
	my ($self, $limit_s) = @_;
	poll_until('no key to be left in the cluster', sub { $self->size == 0 }, $limit_s);
	return 1;
}

# redis-cli --cluster finds nothing to complain of, and each node has heard of every other: only then can all be
# told who has a slot.
sub wait_agreed
{
	my ($self) = @_;
	my ($master) = $self->masters;
	my @running = grep { $_->{server}->alive } $self->nodes;
	poll_until(
		'the nodes to agree',
		sub {
			for my $node (@running)
			{
				my $known = $node->cli('CLUSTER', 'NODES');
				return 0 if grep { index($known, $self->id($_)) < 0 } @running;
			}
			my $output = '';
			my $fine = IPC::Run::run([ 'redis-cli', '--cluster', 'check', address($master) ],
				'<', \undef, '>&', \$output);
			die $output unless $fine && $output !~ /ERR|WARNING/;
			return 1;
		});
	return;
}

# So many slots of one node go to another, under way when this returns: a handle.
sub begin_reshard
{
	my ($self, $from, $to, $slots) = @_;
	$self->wait_agreed;
	my @command = (
		'redis-cli', '--cluster', 'reshard', address($from), '--cluster-from', $self->id($from),
		'--cluster-to', $self->id($to), '--cluster-slots', $slots, '--cluster-yes');
	my %run = (output => '');
	$run{harness} = IPC::Run::start(\@command, '<', \undef, '>&', \$run{output});
	return \%run;
}

sub end_reshard
{
	my ($self, $run) = @_;
	$run->{harness}->finish or croak "reshard:\n$run->{output}";
	$self->read_owners;
	return;
}

1;
