# Stage.pm
#    Everything the demo runs, in one temporary folder: PostgreSQL, RabbitMQ, Redis, the worker,
#    the blog. Nothing of it uses, or is seen by, servers that run on this machine already.
#
# down() ends it all and removes the folder, however far up() came.

package Demo::Stage;

use strict;
use warnings;
use Cwd        ();
use Encode     ();
use File::Copy ();
use File::Glob ();
use JSON::PP   ();
use Demo::Database;
use Demo::Http;
use Demo::Show;
use Demo::Texts;
use Outbox::Port 'free_port';
use Outbox::Process;
use Outbox::RabbitMQ;
use Outbox::Redis;
use Outbox::Temp;
use Outbox::Tree;
use Outbox::Wait;
use Outbox::Worker;

use constant FREE_MB_NEEDED  => 400;
use constant START_LIMIT_S   => 30;
use constant GONE_LIMIT_S    => 30;
use constant GONE_LOOK_S     => 0.0002;
use constant LOG_LINES_SHOWN => 12;

# The user of the service: it may read and write the blog, and nothing in schema outbox.
use constant SERVICE_USER => 'blog';

my $json = JSON::PP->new->canonical;

sub new
{
	my ($class, $checkout) = @_;
	umask 022;
	my $temp = Outbox::Temp->create('outbox-demo');
	$ENV{OUTBOX_TEMP} = $temp->path;
	return bless {
		checkout => $checkout,
		temp     => $temp, }, $class;
}

sub path     { return $_[0]{temp}->path }
sub database { return $_[0]{database} }
sub redis    { return $_[0]{redis} }
sub broker   { return $_[0]{broker} }

# ---- up -----------------------------------------------------------------------------------------

sub up
{
	my ($self) = @_;
	$self->check_space;
	$self->check_programs;
	my $path = $self->path;

	$self->{broker} = Outbox::RabbitMQ->new(dir => "$path/rabbitmq");
	wait_with_words('building, and installing into a copy of the server', sub { $self->build });
	$self->{broker}->launch;
	$self->{redis} = Outbox::Redis->new(dir => "$path/redis")->start;
	wait_with_words('fetching the blog\'s libraries with npm', sub { $self->install_blog });
	wait_with_words('starting PostgreSQL',                     sub { $self->start_database });
	wait_with_words('starting RabbitMQ',                       sub { $self->{broker}->wait_ready });
	$self->{worker} = Outbox::Worker->new(
		dir     => $path,
		program => $self->{tree}->worker,
		broker  => $self->{broker},
		redis   => $self->{redis})->start;
	$self->create_blog;
	wait_with_words('waiting for the first deleted key', sub { $self->wait_first_key });
	my $posts = wait_with_words('filling the blog', sub { $self->fill_blog });
	$self->start_service;
	return $posts;
}

sub check_space
{
	my ($self) = @_;
	my $free_mb = free_mb($self->path);
	return if $free_mb >= FREE_MB_NEEDED;
	fail(
		sprintf
		  'The disk of %s has %d MB free, and the demo needs %d MB. '
		  . 'Set TMPDIR to a folder with more.',
		$self->path, $free_mb, FREE_MB_NEEDED);
}

sub free_mb
{
	my ($path) = @_;
	my ($line) = reverse split /\n/, `LC_ALL=C df -Pk '$path' 2>/dev/null`;
	return $line && (split ' ', $line)[3] =~ /^(\d+)$/ ? $1 / 1024 : 0;
}

sub check_programs
{
	my %package = (
		node           => 'nodejs',
		npm            => 'npm',
		'redis-server' => 'redis-server',
		epmd           => 'rabbitmq-server',
		setpriv        => 'util-linux');
	for my $program (sort keys %package)
	{
		next if grep { -x "$_/$program" } split /:/, $ENV{PATH};
		fail("There is no program \"$program\" here: install the Debian package $package{$program} "
			  . '(make deps does it).');
	}
	my ($major) = `node --version` =~ /^v(\d+)/;
	fail("Node.js $major is too old for the blog: it needs 18.") if $major < 18;
}

sub build
{
	my ($self) = @_;
	$self->{tree} = Outbox::Tree->build(
		root     => $self->path . '/server',
		checkout => $self->{checkout},
		jobs     => processors());
	return;
}

sub processors
{
	my $count = () = slurp('/proc/cpuinfo') =~ /^processor\s*:/mg;
	return $count || 1;
}

# The blog runs from a copy, so that its libraries do not land in the checkout.
sub install_blog
{
	my ($self) = @_;
	my $blog = $self->path . '/blog';
	mkdir $blog or die "$blog: $!\n";
	# bsd_glob: the checkout's path may hold spaces.
	for my $file (File::Glob::bsd_glob("$self->{checkout}/examples/blog/{*.js,*.json,*.html,*.sql,.npmrc}",
			File::Glob::GLOB_BRACE()),
		"$self->{checkout}/examples/blog/lib/measure.js")
	{
		File::Copy::copy($file, $blog) or die "cannot copy $file to $blog: $!\n";
	}
	my $npm = Outbox::Process->start(
		name    => 'npm',
		command => [ 'npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund' ],
		dir     => $blog,
		log     => $self->path . '/npm.log');
	my $status = $npm->wait_end(300);
	fail("npm could not fetch the libraries of examples/blog (pg, ioredis, amqplib):\n"
		  . $npm->log_tail)
	  if $status != 0;
	return;
}

sub start_database
{
	my ($self) = @_;
	$self->{database} = Demo::Database->new(
		dir      => $self->path . '/postgres',
		bin      => $self->{tree}->folder('bindir'),
		settings => "shared_preload_libraries = 'pg_outbox'\noutbox.amqp_url = '"
		  . $self->{broker}->url . "'\n");
	$self->{database}->start;
	return;
}

sub create_blog
{
	my ($self)   = @_;
	my $database = $self->{database};
	my $user     = SERVICE_USER;
	$database->query('CREATE DATABASE blog', 'postgres');
	$database->query('CREATE EXTENSION pg_outbox');
	$database->run_file($self->path . '/blog/schema.sql');
	$database->query(
		"CREATE ROLE $user LOGIN;
		GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO $user");
	return;
}

# The relay, the broker and the worker have found each other once a key has gone all the way.
sub wait_first_key
{
	my ($self) = @_;
	$self->{redis}->cli('SET', 'demo:first', 1);
	$self->{database}->query("SELECT outbox.invalidate('demo:first')");
	poll_until(
		'the first key to go all the way',
		sub {
			$self->check_worker;
			return !$self->{redis}->exists('demo:first');
		},
		START_LIMIT_S);
	return;
}

sub check_worker
{
	my ($self) = @_;
	fail("The worker ended:\n" . $self->{worker}->log_tail) unless $self->{worker}->alive;
	return;
}

# Returns the number of posts.
sub fill_blog
{
	my ($self) = @_;
	my @posts  = Demo::Texts::posts();
	my $path   = $self->path . '/posts.tsv';
	open(my $file, '>:encoding(UTF-8)', $path) or die "$path: $!\n";
	print $file map {
		join("\t", map { copy_text($_) } @$_{qw(author title body)}) . "\n"
	} @posts;
	close $file or die "$path: $!\n";

	my $sql = $self->path . '/fill.sql';
	open(my $script, '>', $sql) or die "$sql: $!\n";
	print $script <<"SQL";
BEGIN;
CREATE TEMPORARY TABLE posts (n bigint GENERATED ALWAYS AS IDENTITY,
    author text, title text, body text);
\\copy posts (author, title, body) FROM '$path'
INSERT INTO authors (name) SELECT author FROM posts GROUP BY author ORDER BY min(n);
INSERT INTO blogs (author_id, title, body)
    SELECT a.id, p.title, p.body FROM posts p JOIN authors a ON a.name = p.author ORDER BY p.n;
COMMIT;
ANALYZE authors, blogs;
CHECKPOINT;
SQL
	close $script or die "$sql: $!\n";
	$self->{database}->run_file($sql);
	$self->{database}->query("SELECT outbox.wait_published('30 s')") eq 't'
	  or fail('What filling the blog recorded was not published within 30 s. outbox.relay: '
		  . $json->encode($self->{database}->row('TABLE outbox.relay')));
	unlink $path, $sql;
	return scalar @posts;
}

sub copy_text
{
	my ($text) = @_;
	my %escape = ("\\" => '\\\\', "\t" => '\\t', "\n" => '\\n', "\r" => '\\r');
	$text =~ s/([\\\t\n\r])/$escape{$1}/g;
	return $text;
}

sub start_service
{
	my ($self) = @_;
	my $port = free_port();
	$self->{url}     = "http://127.0.0.1:$port";
	$self->{http}    = Demo::Http->new($port);
	$self->{service} = $self->start_node(
		'server.js', [],
		$self->{database}->environment(SERVICE_USER),
		PORT => $port,
		HOST => '127.0.0.1');
	$self->wait_log($self->{service}, qr/listening on/);
	return;
}

# The program that consumes the queue "emails".
sub start_emails
{
	my ($self) = @_;
	$self->{emails} = $self->start_node('emails.js', [], AMQP_URL => $self->{broker}->url);
	$self->wait_log($self->{emails}, qr/waiting/);
	return $self->{emails};
}

sub start_node
{
	my ($self, $program, $arguments, @environment) = @_;
	(my $name = $program) =~ s/\.js$//;
	return Outbox::Process->start(
		name    => $name,
		command => [ 'node', $program, @$arguments ],
		dir     => $self->path . '/blog',
		log     => $self->path . "/$name.log",
		env     => { REDIS_URL => $self->{redis}->url, NODE_OPTIONS => undef, @environment });
}

sub wait_log
{
	my ($self, $process, $pattern) = @_;
	return poll_until(
		"$pattern in the log of " . $process->name,
		sub {
			my $tail = Encode::decode('UTF-8', $process->log_tail);
			return $tail if $tail =~ $pattern;
			fail($process->name . " ended:\n$tail") unless $process->alive;
			return undef;
		},
		START_LIMIT_S);
}

# Runs measure.js; its answer as a hash.
sub measure
{
	my ($self, @arguments) = @_;
	my $process =
	  $self->start_node('measure.js', \@arguments, $self->{database}->environment('postgres'));
	my $status = $process->wait_end(120);
	my $said   = $process->log_tail;
	fail("Measuring failed: $said") if $status != 0;
	unlink $self->path . '/measure.log';
	return $json->decode($said);
}

# ---- asking -------------------------------------------------------------------------------------

sub url { return $_[0]{url} . ($_[1] // '') }

# A request to the blog. Answers a hash: status, from (X-Cache), data, s (seconds it took).
sub request
{
	my ($self, $method, $path, $data) = @_;
	my $body     = $data ? Encode::encode('UTF-8', $json->encode($data)) : '';
	my $start_s  = now_s();
	my $response = $self->{http}->request($method, $path, $body);
	my $took_s   = now_s() - $start_s;
	fail("$method $path failed: $response->{status} $response->{content}")
	  if $response->{status} >= 400;
	my $content = Encode::decode('UTF-8', $response->{content});
	return {
		status => $response->{status},
		from   => $response->{headers}{'x-cache'} // '',
		data   => $content =~ /\S/ ? $json->decode($content) : undef,
		s      => $took_s, };
}

sub get { my ($self, $path) = @_; return $self->request('GET', $path) }
sub put { my ($self, $path, $data) = @_; return $self->request('PUT', $path, $data) }

# Waits until these keys are gone; the seconds since $start_s, by a clock read right after Redis
# said so. Looks far more often than poll_until: what is measured is shorter than its interval.
sub seconds_until_gone
{
	my ($self, $start_s, @keys) = @_;
	while (my $left = $self->{redis}->exists(@keys))
	{
		$self->check_worker;
		fail(
			"$left of these keys are still in Redis after ${\ GONE_LIMIT_S } s: "
			  . "@keys[0 .. min_index(4, $#keys)]. "
			  . 'outbox.relay: '
			  . $json->encode($self->{database}->row('TABLE outbox.relay')))
		  if now_s() - $start_s > GONE_LIMIT_S;
		Time::HiRes::sleep(GONE_LOOK_S);
	}
	return now_s() - $start_s;
}

sub min_index { return $_[0] < $_[1] ? $_[0] : $_[1] }

# ---- down ---------------------------------------------------------------------------------------

# In an order in which nobody complains, and never stopped by one that fails.
sub down
{
	my ($self) = @_;
	for my $process (@$self{qw(service emails worker)})
	{
		eval { $process->stop } if $process;
	}
	eval { $self->{database}->stop }  if $self->{database};
	eval { $self->{broker}->discard } if $self->{broker};
	eval { $self->{redis}->kill9 }    if $self->{redis} && $self->{redis}{server};
	$self->{temp}->end;
	return;
}

# The ends of the logs, for a demo that failed.
sub logs
{
	my ($self) = @_;
	my $text = '';
	for my $path (grep { -s }
		sort glob $self->path . '/{*.log,postgres/*.log,rabbitmq/server.log,redis/redis.log}')
	{
		my @lines = split /^/, Encode::decode('UTF-8', slurp($path));
		splice @lines, 0, -LOG_LINES_SHOWN if @lines > LOG_LINES_SHOWN;
		$text .= "---- $path\n" . join '', @lines;
	}
	return $text;
}

sub slurp
{
	my ($path) = @_;
	open(my $file, '<:raw', $path) or return '';
	local $/;
	return <$file> // '';
}

1;
