# Database.pm
#    The demo's PostgreSQL: a data folder of its own, reached through a unix socket only.
#
# PostgreSQL refuses to run as root, so where root runs the demo the server's programs run as user
# postgres. The socket's folder is closed to everyone else: the demo's server trusts whoever
# reaches it.

package Demo::Database;

use strict;
use warnings;
use Encode     ();
use File::Path ();
use JSON::PP   ();
use Outbox::Port 'free_port';
use Outbox::Process;
use Outbox::Wait;

use constant START_LIMIT_S => 60;
use constant STOP_LIMIT_S  => 30;
use constant SERVER_USER   => 'postgres';

# Named arguments: dir (made), bin (folder of the server's programs), settings (lines). Does nothing
# yet: start does.
sub new
{
	my ($class, %arg) = @_;
	return bless {
		dir      => $arg{dir},
		bin      => $arg{bin},
		settings => $arg{settings},
		port     => free_port(),
		socket   => "$arg{dir}/socket",
		name     => 'blog', }, $class;
}

sub create
{
	my ($self) = @_;
	my $dir = $self->{dir};
	File::Path::make_path($dir, { mode => 0700 });
	mkdir $self->{socket}, 0700 or die "$self->{socket}: $!\n";
	if ($> == 0)
	{
		my (undef, undef, $uid, $gid) = getpwnam SERVER_USER
		  or die "there is no user ${\ SERVER_USER }\n";
		chown $uid, $gid, $dir, $self->{socket};
	}

	# A process that Ctrl-C does not reach: interrupted, it would leave shared memory behind.
	$self->{creation} = Outbox::Process->start(
		name    => 'initdb',
		command => [
			$self->as_server(
				"$self->{bin}/initdb", '-D',
				"$dir/data",           '-U',
				'postgres',            '-A',
				'trust',               '--encoding=UTF8',
				'--locale=C.UTF-8',    '--no-sync') ],
		dir => '/',
		log => "$dir/initdb.log");
	die "initdb failed:\n" . $self->{creation}->log_tail
	  if $self->{creation}->wait_end(START_LIMIT_S) != 0;

	open(my $file, '>>', "$dir/data/postgresql.conf") or die "$dir/data/postgresql.conf: $!\n";
	print $file <<"CONF";
listen_addresses = ''
port = $self->{port}
unix_socket_directories = '$self->{socket}'
max_connections = 40
$self->{settings}
CONF
	close $file or die "$dir/data/postgresql.conf: $!\n";
	return;
}

sub socket_folder { return $_[0]{socket} }
sub port          { return $_[0]{port} }
sub log_file      { return "$_[0]{dir}/server.log" }

# What libpq and node-postgres need to find the server.
sub environment
{
	my ($self, $user) = @_;
	return (
		PGHOST     => $self->{socket},
		PGPORT     => $self->{port},
		PGDATABASE => $self->{name},
		PGUSER     => $user,
		map { $_ => undef } qw(PGPASSWORD PGSERVICE PGOPTIONS PGSSLMODE PGHOSTADDR DATABASE_URL));
}

# The command that runs this one as the server's user.
sub as_server
{
	my ($self, @command) = @_;
	return @command if $> != 0;
	return ('setpriv', '--reuid', SERVER_USER, '--regid', SERVER_USER, '--init-groups', '--',
		@command);
}

sub start
{
	my ($self) = @_;
	$self->create;
	$self->{server} = Outbox::Process->start(
		name    => 'postgres',
		command => [ $self->as_server("$self->{bin}/postgres", '-D', "$self->{dir}/data") ],
		dir     => '/',
		log     => $self->log_file);
	poll_until(
		'PostgreSQL to answer',
		sub {
			die "it ended:\n" . $self->{server}->log_tail unless $self->{server}->alive;
			return eval { $self->query('SELECT 1', 'postgres') };
		},
		START_LIMIT_S);
	return;
}

# An immediate stop: it leaves no shared memory behind, as kill -9 would.
sub stop
{
	my ($self) = @_;
	$self->{creation}->wait_end(STOP_LIMIT_S)   if $self->{creation};
	$self->{server}->stop('QUIT', STOP_LIMIT_S) if $self->{server};
	return;
}

# Runs SQL, of any number of statements, as superuser: the output of the last, or what it says on
# error as the reason to die. Columns are separated by tabs.
sub query
{
	my ($self, $sql, $database) = @_;
	my $output = $self->run($self->psql_command($database // $self->{name}),
		'-c', Encode::encode('UTF-8', $sql));
	chomp $output;
	return $output;
}

sub run_file
{
	my ($self, $path) = @_;
	return $self->run($self->psql_command($self->{name}), '-f', $path);
}

# The first row of a query as a hash.
sub row
{
	my ($self, $query) = @_;
	return JSON::PP->new->decode($self->query("SELECT row_to_json(r) FROM ($query) r"));
}

sub psql_command
{
	my ($self, $database) = @_;
	return ("$self->{bin}/psql", '-XAtq', '-F', "\t", '-v', 'ON_ERROR_STOP=1', '-h',
		$self->{socket}, '-p', $self->{port}, '-U', 'postgres', '-d', $database);
}

# Runs a command; its output as characters. Dies with it on failure.
sub run
{
	my ($self, @command) = @_;
	my $pid = open(my $pipe, '-|') // die "fork: $!\n";
	if ($pid == 0)
	{
		$SIG{$_} = 'DEFAULT' for qw(INT TERM HUP);
		chdir '/';
		$ENV{PGCLIENTENCODING} = 'UTF8';
		delete @ENV{ grep { /^PG(?!CLIENTENCODING)/ } keys %ENV };
		open(STDERR, '>&', \*STDOUT);
		no warnings 'exec';
		exec { $command[0] } @command or print "cannot run $command[0]: $!\n";
		POSIX::_exit(127);
	}
	binmode $pipe, ':encoding(UTF-8)';
	my $output = do { local $/; <$pipe> }
	  // '';
	close $pipe;
	die "$command[0]: $output\n" if $? != 0;
	return $output;
}

1;
