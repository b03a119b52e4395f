# Sentinels that do not know, lie, are old or away; a master that cannot be reached: each is told in the log, by
# /readyz and by --check, waited for, and nothing is acknowledged.

use strict;
use warnings;
use HTTP::Tiny;
use IO::Socket::INET;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::Process;
use Outbox::RabbitMQ;
use Outbox::Redis;
use Outbox::SentinelGroup;
use Outbox::Wait;
use Outbox::Worker;
use Test::More;

my $dir = Outbox::Pipeline::work_folder();
my $port = free_port();
my $broker = Outbox::RabbitMQ->new(dir => "$dir/rabbitmq")->launch;
my $group = Outbox::SentinelGroup->new(dir => "$dir/group", replicas => 1, sentinels => 1)->start;
my $stray = Outbox::Redis->new(dir => "$dir/stray")->start;
$broker->wait_ready;
my $queue = 'cache-invalidation';
my ($master, $replica, $sentinel) = ($group->master, $group->replicas, $group->sentinels);
my $real = '127.0.0.1:' . $sentinel->port;

sub page { return HTTP::Tiny->new(timeout => 20)->get("http://127.0.0.1:$port/readyz")->{content} }

# A Sentinel that says what it is told to: the port of a master, an epoch (undef: it does not know SENTINEL MASTER).
sub fake
{
	my (%arg) = @_;
	my $listen = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', LocalPort => free_port(), ReuseAddr => 1)
	  or die "listen: $@\n";
	my $pid = fork() // die "fork: $!\n";
	if ($pid == 0)
	{
		$SIG{PIPE} = $SIG{TERM} = 'DEFAULT';
		while (1)
		{
			my $client = $listen->accept or next;
			next if fork() // 1;
			while (my $words = eval { Outbox::Redis::read_answer($client) })
			{
				my $what = uc($words->[1] // '');
				print $client $words->[0] eq 'PING' ? "+PONG\r\n"
				  : $what eq 'GET-MASTER-ADDR-BY-NAME' ? Outbox::Redis::command_bytes($arg{host} // '127.0.0.1', $arg{port})
				  : defined $arg{epoch} ? Outbox::Redis::command_bytes('config-epoch', $arg{epoch}) : "-ERR no\r\n";
				$client->flush;
			}
			POSIX::_exit(0);
		}
		POSIX::_exit(0);
	}
	return { address => '127.0.0.1:' . $listen->sockport, pid => $pid };
}

sub start_worker
{
	my ($url) = @_;
	my $worker = Outbox::Worker->new(dir => $dir, broker => $broker, redis => $url,
		options => ["--metrics-listen=$port"])->start;
	return $worker;
}

sub check
{
	my ($url) = @_;
	my $worker = Outbox::Worker->new(name => 'check', dir => $dir, broker => $broker, redis => $url, options => ['--check']);
	unlink $worker->log_file;
	my $status = $worker->start->wait_end;
	return ($status, $worker->log_text);
}

# This URL does not lead to a master: why is told everywhere, and nothing happens. $mend makes it work.
sub waits
{
	my ($what, $url, $pattern, $mend) = @_;
	my ($status, $text) = check($url);
	is($status, 1, "$what: --check fails");
	like($text, qr/^redis sentinel .*$pattern/m, '... and says why');
	$_->set_keys('key') for $master, $stray;
	$broker->publish($queue, '{"keys":["key"]}');
	my $worker = start_worker($url);
	ok(poll_until("/readyz to say $pattern", sub { page() =~ /waiting for redis: .*$pattern/ }), '... and so does /readyz');
	ok(poll_until('the log to say it', sub { $worker->log_text =~ s/\\"/"/gr =~ /warning waiting for redis .*$pattern/ }),
		'... and the log');
	is($broker->queue_length($queue), 1, '... nothing is taken');
	is($_->exists('key'), 1, '... and nothing is deleted') for $master, $stray;
	if ($mend)
	{
		$mend->();
		ok($master->wait_gone('key'), '... until it leads to one');
	}
	is($worker->stop, 0, '... and it can be stopped');
	$broker->purge_queue($queue);
	return;
}

# This one does, whatever else is said.
sub works
{
	my ($what, $url) = @_;
	$_->set_keys('key') for $master, $stray;
	my $worker = start_worker($url);
	$broker->declare_queue($queue);
	$broker->publish($queue, '{"keys":["key"]}');
	ok($master->wait_gone('key'), "$what: the key is gone from the master");
	is($stray->exists('key'), 1, '... and from no other');
	unlike($worker->log_text, qr/ERROR|failed/, '... nothing failed');
	is($worker->stop, 0, '... and it ends in good order');
	return;
}

my ($status, $text) = check($group->url);
is($status, 0, '--check finds the master');
like($text, qr/^redis sentinel \Q$real\E\/cache\/0: 127\.0\.0\.1:\Q${\ $master->port }\E: ok$/m, '... and says which');
$broker->declare_queue($_) for $queue, "$queue.dead";

waits('an unknown name', $group->url(name => 'nobody'), qr/no Sentinel names a master "nobody": \Q$real\E does not know this name/,
	sub { $sentinel->cli('SENTINEL', 'MONITOR', 'nobody', '127.0.0.1', $master->port, 1) });
# Or it would make a replica of who is elected below, to have its own master back.
$sentinel->cli('SENTINEL', 'REMOVE', 'nobody');

my $nowhere = '127.0.0.1:' . free_port();
waits('no Sentinel there', $group->url(hosts => $nowhere), qr/no Sentinel names a master "cache": \Q$nowhere\E .*Connection refused/);
my $mute = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', LocalPort => free_port(), ReuseAddr => 1) or die "listen: $!\n";
my $hangs = '127.0.0.1:' . $mute->sockport;
waits('a Sentinel that hangs', $group->url(hosts => $hangs), qr/no Sentinel names a master "cache": \Q$hangs\E (?:has not answered yet|no answer)/);
waits('a Redis that is no Sentinel', $group->url(hosts => '127.0.0.1:' . $stray->port), qr/unknown command/);

my $lost = fake(port => (split /:/, $nowhere)[1], epoch => 1);
waits('a master that is not there', $group->url(hosts => $lost->{address}),
	qr/master \Q$nowhere\E, named by Sentinel \Q$lost->{address}\E: .*Connection refused/);
my $far = fake(host => 'no-such-host.invalid', port => 1, epoch => 1);
waits('a master by a name that nobody knows', $group->url(hosts => $far->{address}), qr/master no-such-host\.invalid:1, named by/);
my $wrong = fake(port => $replica->port, epoch => 1);
waits('a Sentinel that names a replica', $group->url(hosts => $wrong->{address}),
	qr/master 127\.0\.0\.1:\Q${\ $replica->port }\E, named by Sentinel \Q$wrong->{address}\E: says that it is no master, but "slave/);

# Beside a Sentinel that knows.
works('one of two Sentinels away', $group->url(hosts => "$nowhere,$real"));
works('one of two Sentinels hangs', $group->url(hosts => "$hangs,$real"));
my $liar = fake(port => $replica->port, epoch => 99);
works('one names a replica, of a later epoch', $group->url(hosts => "$liar->{address},$real"));
my $ignorant = fake(port => $stray->port);
works('one names another server, without an epoch', $group->url(hosts => "$ignorant->{address},$real"));
$group->fail_over;
($replica, $master) = ($master, $group->wait_other_master($master));
my $old = fake(port => $stray->port, epoch => 0);
works('one is old: it names who was the master once, and still is one', $group->url(hosts => "$old->{address},$real"));

kill 'TERM', $_->{pid} for $lost, $far, $wrong, $liar, $ignorant, $old;
waitpid $_->{pid}, 0 for $lost, $far, $wrong, $liar, $ignorant, $old;
$group->discard;
$stray->kill9;
$broker->discard;
done_testing();
