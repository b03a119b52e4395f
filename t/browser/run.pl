# The status page in Chromium: status.test.js looks at it, and asks us, through a pair of pipes, to
# stop and start what it shall show. Its TAP is passed on.

use strict;
use warnings;
use File::Basename ();
use IO::Handle;
use IO::Select;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::Worker;
use PostgreSQL::Test::Utils;
use Test::More;

my $here = File::Basename::dirname($0);
# A message that is larger is a dead letter.
my $pipe = Outbox::Pipeline->start(worker => 0, broker_config => "max_message_size = 100000\n");
my ($redis, $broker, $node) = map { $pipe->$_ } qw(redis broker node);

$node->safe_psql('blog', <<'SQL');
CREATE ROLE reporter LOGIN;
CREATE ROLE beginner LOGIN;
GRANT USAGE ON SCHEMA outbox TO reporter, beginner;
GRANT EXECUTE ON FUNCTION outbox.report_consumer TO reporter, beginner;
GRANT EXECUTE ON FUNCTION outbox.pipeline TO reporter;
SQL

# One that knows everything; one whose role may not ask; one that tells no database. The last two
# take their messages elsewhere.
my %port = map { $_ => free_port() } qw(full beginner alone);
my $conninfo = $node->connstr('blog');
$pipe->{worker} = worker('full', '--name=cache-1', "--report-to=$conninfo user=reporter password=secret");
my $beginner = worker('beginner', '--name=<b id=injected>two</b>', '--queue=second', "--report-to=$conninfo user=beginner");
my $alone = worker('alone', '--queue=third');

my %errand = (
	'redis kill'    => sub { $redis->kill9 },
	'redis start'   => sub { $redis->start },
	'broker kill'   => sub { $broker->kill9 },
	'broker start'  => sub { $broker->start },
	'node stop'     => sub { $node->stop('immediate') },
	'node start'    => sub { $node->start },
	'worker freeze' => sub { $pipe->worker->freeze },
	'worker thaw'   => sub { $pipe->worker->thaw },
	'worker again'  => sub { $pipe->worker->stop; $pipe->worker->start },
	'bad message'   => sub { $broker->publish('cache-invalidation', 'not understood') });

$ENV{BROWSER_URLS} = join ' ', map { "http://127.0.0.1:$port{$_}/" } qw(full beginner alone);
$ENV{BROWSER_PG} = $conninfo;
$ENV{BROWSER_REDIS_PORT} = $redis->port;
run_node('status.test.js');
$_->stop for $beginner, $alone;
$pipe->finish;

sub worker
{
	my ($name, @options) = @_;
	return Outbox::Worker->new(
		dir => $pipe->dir, broker => $broker, redis => $redis, name => "worker_$name",
		options => [ "--metrics-listen=127.0.0.1:$port{$name}", @options ])->start;
}

sub run_node
{
	my ($file) = @_;
	local $^F = 255;    # these four are for the child, too
	pipe(my $asked, my $ask)       or die "pipe: $!\n";
	pipe(my $answered, my $answer) or die "pipe: $!\n";
	local $ENV{BROWSER_ERRANDS} = join ' ', fileno $ask, fileno $answered;
	open(my $node, '-|', 'node', '--test-reporter=tap', "$here/$file") or die "node: $!\n";
	close $ask;
	close $answered;
	$answer->autoflush(1);

	my %line_of = ($node => \&pass_on, $asked => sub { print $answer run_errand($_[0]), "\n" });
	my %rest = ($node => '', $asked => '');
	my $failed = 0;
	my $select = IO::Select->new($node, $asked);
	while ($select->count)
	{
		for my $handle ($select->can_read)
		{
			unless (sysread($handle, $rest{$handle}, 65536, length $rest{$handle}))
			{
				$select->remove($handle);
				close $answer if $handle == $asked;
				next;
			}
			while ($rest{$handle} =~ s/^(.*)\n//)
			{
				my $line = $1;
				$failed ||= $handle == $node && $line =~ /^not ok/;
				$line_of{$handle}->($line);
			}
		}
	}
	close $node;
	# Failed tests are counted by themselves; a crash without one must show, too.
	ok($? == 0 || $failed, "$file ran to its end");
	return;
}

sub pass_on
{
	my ($line) = @_;
	my $output = Test::More->builder->output;
	print $output "$line\n";
	return;
}

# "ok", or what went wrong, on one line.
sub run_errand
{
	my ($name) = @_;
	my $errand = $errand{$name} or return "no errand \"$name\"";
	eval { $errand->(); 1 } and return 'ok';
	return $@ =~ s/\s+/ /gr;
}
