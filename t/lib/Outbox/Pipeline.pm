# Pipeline.pm
#    All four at once for a test: PostgreSQL with a blog, RabbitMQ, Redis, and the worker.

package Outbox::Pipeline;

use strict;
use warnings;
use File::Basename ();
use Outbox::File;
use Outbox::Postgres;
use Outbox::RabbitMQ;
use Outbox::Redis;
use Outbox::RedisCluster;
use Outbox::Worker;
use Test::More ();

# Starts what is asked for; all by default. Named arguments: worker => 0 and node => 0 leave that one
# out; cluster => {...} has a cluster in place of one Redis (see RedisCluster.pm); relay_conf (lines for
# postgresql.conf), broker_config (for rabbitmq.conf), worker_options.
sub start
{
	my ($class, %arg) = @_;
	my $self = bless { dir => work_folder() }, $class;
	my $dir = $self->{dir};

	$self->{broker} = Outbox::RabbitMQ->new(dir => "$dir/rabbitmq", config => $arg{broker_config})->launch;
	$self->{redis} =
	  $arg{cluster}
	  ? Outbox::RedisCluster->new(dir => "$dir/cluster", %{ $arg{cluster} })
	  : Outbox::Redis->new(dir => "$dir/redis");
	$self->{redis}->start;
	$self->start_node($arg{relay_conf}) if $arg{node} // 1;
	$self->{broker}->wait_ready;
	$self->{worker} = Outbox::Worker->new(
		dir     => $dir,
		broker  => $self->{broker},
		redis   => $self->{redis},
		options => $arg{worker_options});
	$self->{worker}->start if $arg{worker} // 1;
	return $self;
}

sub start_node
{
	my ($self, $conf) = @_;
	$self->{node} = Outbox::Postgres->create(
		'pg',
		amqp_url => $self->{broker}->url,
		conf     => $conf);
	$self->{node}->start;
	$self->{node}->create_blog;
	return;
}

# A folder for this test's servers and logs.
sub work_folder
{
	my $base = $ENV{OUTBOX_WORK} or die "run tests by: make test T=$0\n";
	my $name = File::Basename::basename($0, '.pl');
	# Node tests of several kinds have a run.pl each, named by its folder.
	$name = File::Basename::basename(File::Basename::dirname($0)) if $name eq 'run';
	my $dir = "$base/$name";
	mkdir $dir;
	return $dir;
}

sub node   { return $_[0]{node} }
sub broker { return $_[0]{broker} }
sub redis  { return $_[0]{redis} }
sub worker { return $_[0]{worker} }
sub dir    { return $_[0]{dir} }

sub sql
{
	my ($self, $sql) = @_;
	return $self->{node}->safe_psql('blog', $sql);
}

# A script for pgbench in this test's folder: its path.
sub write_script
{
	my ($self, $name, $text) = @_;
	return write_file("$self->{dir}/$name.sql", $text);
}

# Ends the test: the worker in good order (a sanitizer may have something to say then), the servers
# at once; and says how many tests there were.
sub finish
{
	my ($self) = @_;
	Test::More::is($self->{worker}->stop, 0, 'the worker ends in good order')
	  if $self->{worker}->alive;
	$self->{node}->stop('immediate', fail_ok => 1) if $self->{node};
	$self->{broker}->discard;
	$self->{redis}->kill9;
	Test::More::done_testing();
	return;
}

1;
