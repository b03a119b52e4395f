# F37 to F40: Redis answers, but does not delete: each refusal is waited out, nothing is acknowledged before the
# key is gone, and /readyz says in Redis' words why it waits.

use strict;
use warnings;
use HTTP::Tiny;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::Redis;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $port = free_port();
my $pipe = Outbox::Pipeline->start(node => 0, worker => 0,
	worker_options => ["--metrics-listen=$port"]);
my ($redis, $broker, $worker) = map { $pipe->$_ } qw(redis broker worker);
my $queue = 'cache-invalidation';
my $count = 0;
$redis->stop;
push @{ $redis->{options} }, '--enable-protected-configs', 'yes';
$redis->start;
$worker->start;
$worker->wait_log(qr/info consuming/);
$redis->cli('CONFIG', 'SET', 'busy-reply-threshold', 100);

# Says why at once; the log tells another reason after 10 s only.
sub ready { return HTTP::Tiny->new(timeout => 20)->get("http://127.0.0.1:$port/readyz")->{content} }

# $begin makes Redis refuse, $end has it work again.
sub refuses
{
	my ($what, $pattern, $begin, $end) = @_;
	my @keys = map { "key:$count:$_" } 1 .. 300;
	$count++;
	$redis->set_keys(@keys);
	$begin->();
	$broker->publish($queue, '{"keys":[' . join(',', map { qq("$_") } @keys) . ']}');
	ok(poll_until("/readyz to say $pattern", sub { ready() =~ $pattern }), "$what: the reason is told");
	$end->();
	ok($redis->wait_gone(@keys), "$what: over, the keys are gone");
	poll_until('the worker to consume', sub { ready() eq "ready\n" });
	return;
}

refuses('a replica', qr/waiting for redis: .*READONLY/,
	sub { $redis->cli('REPLICAOF', '127.0.0.1', 1) },
	sub { $redis->cli('REPLICAOF', 'NO', 'ONE') });

refuses('too few replicas', qr/waiting for redis: .*NOREPLICAS/,
	sub { $redis->cli('CONFIG', 'SET', 'min-replicas-to-write', 1) },
	sub { $redis->cli('CONFIG', 'SET', 'min-replicas-to-write', 0) });

# It cannot write its snapshot.
my $folder = "${\ $pipe->dir }/readonly";
mkdir $folder or die "$folder: $!\n";
my ($home) = @{ $redis->cli('CONFIG', 'GET', 'dir') }[1];
refuses('a failed snapshot', qr/waiting for redis: .*MISCONF/,
	sub {
		$redis->cli('CONFIG', 'SET', 'dir', $folder);
		chmod 0555, $folder;
		$redis->cli('CONFIG', 'SET', 'save', '3600 100000000');
		$redis->cli('BGSAVE');
		poll_until('the snapshot to fail',
			sub { $redis->cli('INFO', 'persistence') =~ /rdb_last_bgsave_status:err/ });
	},
	sub {
		$redis->cli('CONFIG', 'SET', 'save', '');
		$redis->cli('CONFIG', 'SET', 'stop-writes-on-bgsave-error', 'no');
		$redis->cli('CONFIG', 'SET', 'dir', $home);
	});

# A script that does not end; its own connection waits for it.
my $script = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $redis->port) or die "$@\n";
refuses('a busy script', qr/waiting for redis: .*BUSY/,
	sub {
		print $script Outbox::Redis::command_bytes('EVAL', 'while true do end', 0);
		$script->flush;
		poll_until('the script to be busy', sub { !eval { $redis->cli('PING') } });
	},
	sub { $redis->cli('SCRIPT', 'KILL') });
close $script;

refuses('too many clients', qr/waiting for redis: .*max number of clients/,
	sub {
		$redis->cli('CONFIG', 'SET', 'maxclients', 1);
		$redis->cli('CLIENT', 'KILL', 'TYPE', 'normal');
	},
	sub { $redis->cli('CONFIG', 'SET', 'maxclients', 1000) });

# It starts, and reads its file: slowed down, so that this takes a while.
refuses('a start that takes long', qr/waiting for redis: .*LOADING/,
	sub {
		$redis->set_keys(map { "filler:$_" } 1 .. 1000);
		$redis->cli('BGREWRITEAOF');
		poll_until('the file to be written',
			sub { $redis->cli('INFO', 'persistence') =~ /aof_rewrite_in_progress:0/ });
		$redis->stop;
		local $redis->{options} = [ @{ $redis->{options} },
			'--key-load-delay', 2500, '--loading-process-events-interval-bytes', 1024 ];
		$redis->launch;
	},
	sub { poll_until('Redis to be ready', sub { $redis->cli('PING') eq 'PONG' }) });

refuses('a password that is new', qr/waiting for redis: .*NOAUTH/,
	sub {
		$redis->cli('CONFIG', 'SET', 'requirepass', 'secret');
		$redis->cli('CLIENT', 'KILL', 'TYPE', 'normal');
	},
	sub { $redis->cli('CONFIG', 'SET', 'requirepass', '') });

refuses('a permission that is gone', qr/waiting for redis: .*NOPERM/,
	sub { $redis->cli('ACL', 'SETUSER', 'default', '-unlink') },
	sub { $redis->cli('ACL', 'SETUSER', 'default', '+unlink') });

# Longer than an answer may take; late answers must not be taken for those of what is sent next.
refuses('no answer', qr/waiting for redis: .*no answer for 5 s/,
	sub { $redis->cli('CLIENT', 'PAUSE', 10_000, 'ALL') },
	sub { });

poll_until('an empty queue', sub { $broker->queue_length($queue) == 0 });
is($broker->queue_length("$queue.dead"), 0, 'nothing became a dead letter');
unlike($worker->log_text, qr/secret/, 'no password in the log');
$pipe->finish;
