# RabbitMQ.pm
#    A private RabbitMQ node: own folder, own ports on 127.0.0.1, own name, own epmd, own HOME.
#
# Nothing of the distribution's broker is shared but the programs. The broker is started in the
# background, since it takes seconds; wait_ready waits until a client can log in.

package Outbox::RabbitMQ;

use strict;
use warnings;
use Carp;
use File::Path ();
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use Outbox::Amqp;
use Outbox::File;
use Outbox::Port 'free_port';
use Outbox::Process;
use Outbox::Wait;

use constant PROGRAMS      => '/usr/lib/rabbitmq/bin';
use constant START_LIMIT_S => 120;

# Named arguments: dir (made if missing), and optionally config (lines for rabbitmq.conf), plugins (names
# in an array).
sub new
{
	my ($class, %arg) = @_;
	my $dir = $arg{dir};
	my $self = bless {
		dir       => $dir,
		port      => free_port(),
		dist_port => free_port(),
		epmd_port => free_port(),
	}, $class;

	($self->{tls_port}) = ($arg{config} // '') =~ /^listeners\.ssl\.1 = 127\.0\.0\.1:(\d+)$/m;
	File::Path::make_path("$dir/home", "$dir/log", "$dir/mnesia");
	# 50 MB of free disk is the default below which it takes no more messages.
	write_file("$dir/rabbitmq.conf", <<"CONF" . ($arg{config} // ''));
listeners.tcp.1 = 127.0.0.1:$self->{port}
disk_free_limit.absolute = 10MB
log.file.level = info
CONF
	write_file("$dir/enabled_plugins", '[' . join(',', @{ $arg{plugins} // [] }) . "].\n");
	write_file("$dir/rabbitmq-env.conf", '');
	return $self;
}

sub environment
{
	my ($self) = @_;
	my $dir = $self->{dir};
	return {
		HOME                         => "$dir/home",
		ERL_EPMD_PORT                => $self->{epmd_port},
		ERL_EPMD_ADDRESS             => '127.0.0.1',
		RABBITMQ_NODENAME            => $self->node_name,
		RABBITMQ_NODE_IP_ADDRESS     => '127.0.0.1',
		RABBITMQ_NODE_PORT           => $self->{port},
		RABBITMQ_DIST_PORT           => $self->{dist_port},
		RABBITMQ_MNESIA_BASE         => "$dir/mnesia",
		RABBITMQ_LOG_BASE            => "$dir/log",
		RABBITMQ_PID_FILE            => "$dir/pid",
		RABBITMQ_ENABLED_PLUGINS_FILE => "$dir/enabled_plugins",
		RABBITMQ_CONFIG_FILE         => "$dir/rabbitmq.conf",
		RABBITMQ_CONF_ENV_FILE       => "$dir/rabbitmq-env.conf",
		# Two schedulers that sleep when idle: several brokers share a small machine.
		RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS =>
		  '+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}',
		LC_ALL        => 'C.UTF-8',
		NOTIFY_SOCKET => undef,
	};
}

sub node_name { return "rabbit_$_[0]{port}\@localhost" }
sub port      { return $_[0]{port} }

# Pid of the Erlang machine: the one to freeze or kill.
sub pid
{
	my ($self) = @_;
	open(my $file, '<', "$self->{dir}/pid") or croak "$self->{dir}/pid: $!";
	my ($pid) = <$file> =~ /^(\d+)/ or croak "no pid in $self->{dir}/pid";
	return $pid;
}

# amqp:// URL. Named arguments: user, password, vhost (percent-encoded), query.
sub url
{
	my ($self, %arg) = @_;
	my $query = defined $arg{query} ? "?$arg{query}" : '';
	return sprintf 'amqp://%s:%s@127.0.0.1:%d/%s%s', $arg{user} // 'guest',
	  $arg{password} // 'guest', $self->{port}, $arg{vhost} // '%2f', $query;
}

# ---- life ----------------------------------------------------------------------------------------

# Starts it and waits until it serves.
sub start
{
	my ($self) = @_;
	$self->launch;
	$self->wait_ready;
	return $self;
}

# Starts it and returns at once.
sub launch
{
	my ($self) = @_;
	my $env = $self->environment;
	unless ($self->{epmd} && $self->{epmd}->alive)
	{
		# In the foreground, so that it is our child; the node would start one that outlives it.
		$self->{epmd} = Outbox::Process->start(
			name    => 'epmd',
			command => [ 'epmd', '-port', $self->{epmd_port}, '-address', '127.0.0.1' ],
			env     => $env,
			dir     => $self->{dir},
			log     => "$self->{dir}/epmd.log");
	}
	unlink "$self->{dir}/pid";
	$self->{server} = Outbox::Process->start(
		name    => 'rabbitmq-server',
		command => [ PROGRAMS . '/rabbitmq-server' ],
		env     => $env,
		dir     => $self->{dir},
		log     => "$self->{dir}/server.log");
	return $self;
}

sub wait_ready
{
	my ($self) = @_;
	poll_until(
		"RabbitMQ to answer on port $self->{port}",
		sub {
			die "it ended:\n" . $self->log_tail unless $self->{server}->alive;
			# It listens for TLS last.
			return $self->reconnect && (!$self->{tls_port} || listens($self->{tls_port}));
		},
		START_LIMIT_S);
	return $self;
}

sub listens
{
	my ($port) = @_;
	return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port);
}

# Ends it in good order; messages on disk stay.
sub stop
{
	my ($self) = @_;
	delete $self->{client};
	kill 'TERM', $self->pid;
	$self->{server}->wait_end;
	return;
}

# kill -9 of the broker itself.
sub kill9
{
	my ($self) = @_;
	delete $self->{client};
	kill 'KILL', $self->pid;
	# The shell that started it ends when its child does.
	$self->{server}->wait_end;
	return;
}

# Stops it in its tracks (SIGSTOP): connections stay, nothing answers.
sub freeze { kill 'STOP', $_[0]->pid; return }
sub thaw   { kill 'CONT', $_[0]->pid; return }

# Ends everything of this node, for the end of a test: no good order, no wait.
sub discard
{
	my ($self) = @_;
	delete $self->{client};
	$_->kill9 for grep { $_ } $self->{server}, $self->{epmd};
	return;
}

sub log_tail { return $_[0]{server}->log_tail }

# rabbitmqctl; dies with its words on failure. Takes a second or two.
sub ctl
{
	my ($self, @arguments) = @_;
	local %ENV = %ENV;
	my $env = $self->environment;
	for my $name (keys %$env)
	{
		defined $env->{$name} ? ($ENV{$name} = $env->{$name}) : delete $ENV{$name};
	}
	my $pid = open(my $pipe, '-|') // croak "fork: $!";
	if ($pid == 0)
	{
		chdir $self->{dir};
		untie *STDOUT;
		untie *STDERR;
		open(STDERR, '>&', \*STDOUT);
		exec PROGRAMS . '/rabbitmqctl', '-q', @arguments or POSIX::_exit(127);
	}
	my $output = join '', <$pipe>;
	close $pipe;
	croak "rabbitmqctl @arguments: $output" if $? != 0;
	return $output;
}

# ---- queues --------------------------------------------------------------------------------------

# A connection as guest; a new one where the last is broken.
sub client
{
	my ($self) = @_;
	return $self->{client} // $self->reconnect;
}

sub reconnect
{
	my ($self) = @_;
	delete $self->{client};
	return $self->{client} = Outbox::Amqp->connect(port => $self->{port});
}

# Calls a method of the client; after an error its connection is not used again.
sub ask
{
	my ($self, $method, @arguments) = @_;
	my $client = $self->client;
	my $answer = eval { $client->$method(@arguments) };
	if (my $error = $@)
	{
		delete $self->{client};
		croak $error;
	}
	return $answer;
}

sub declare_queue    { my ($self, @a) = @_; return $self->ask('declare_queue',    @a) }
sub delete_queue     { my ($self, @a) = @_; return $self->ask('delete_queue',     @a) }
sub purge_queue      { my ($self, @a) = @_; return $self->ask('purge_queue',      @a) }
sub declare_exchange { my ($self, @a) = @_; return $self->ask('declare_exchange', @a) }
sub delete_exchange  { my ($self, @a) = @_; return $self->ask('delete_exchange',  @a) }
sub unbind_queue     { my ($self, @a) = @_; return $self->ask('unbind_queue',     @a) }
sub bind_queue       { my ($self, @a) = @_; return $self->ask('bind_queue',       @a) }

# Messages that are ready (not those a consumer holds). Dies where there is no such queue.
sub queue_length
{
	my ($self, $queue) = @_;
	return $self->ask('declare_queue', $queue, passive => 1);
}

sub queue_exists
{
	my ($self, $queue) = @_;
	return defined eval { $self->queue_length($queue) } ? 1 : 0;
}

# Bytes to a queue through the default exchange; properties follow as pairs.
sub publish
{
	my ($self, $queue, $body, %properties) = @_;
	return $self->ask('publish', routing_key => $queue, body => $body, %properties);
}

# Takes a message off a queue: see Outbox::Amqp::get; member json is its decoded body where that is
# JSON. undef where the queue is empty.
sub get_message
{
	my ($self, $queue) = @_;
	my $message = $self->ask('get', $queue) or return undef;
	$message->{json} = eval { JSON::PP->new->utf8->allow_nonref->decode($message->{body}) };
	return $message;
}

# Waits for a message and takes it.
sub wait_message
{
	my ($self, $queue, $limit_s) = @_;
	return poll_until("a message in queue \"$queue\"", sub { $self->get_message($queue) }, $limit_s);
}

1;
