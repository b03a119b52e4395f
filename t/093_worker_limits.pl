# F46, F47: a clock that jumps by an hour, few descriptors, little memory: the worker goes on, or says why not.

use strict;
use warnings;
use Outbox::File;
use Outbox::Pipeline;
use Outbox::Wait;
use Outbox::Worker;
use PostgreSQL::Test::Utils;
use Test::More;

my $pipe = Outbox::Pipeline->start(node => 0, worker => 0);
my ($redis, $broker, $dir) = map { $pipe->$_ } qw(redis broker dir);
my $program = $ENV{OUTBOX_WORKER} // 'outbox-worker';
my $queue = 'cache-invalidation';

sub deletes
{
	my ($what) = @_;
	$redis->set_keys('key');
	$broker->publish($queue, '{"keys":["key"]}', headers => { 'x-outbox-created-at' => time * 1_000_000 });
	ok($redis->wait_gone('key'), $what);
	return;
}

sub new_worker
{
	my ($name, %arg) = @_;
	return Outbox::Worker->new(dir => $dir, broker => $broker, redis => $redis, name => $name, %arg)->start;
}

# ---- the clock of the wall ----

SKIP:
{
	skip 'a sanitizer wants to be loaded first', 6 if $program =~ /asan/;
	my $source = write_file("$dir/jumps.c", <<'C');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
/* Each look at the wall clock is an hour early or late. */
int clock_gettime(clockid_t id, struct timespec *now)
{
	static int (*real)(clockid_t, struct timespec *);
	static int late;
	int result;
	if (real == NULL)
		real = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
	result = real(id, now);
	if (id == CLOCK_REALTIME)
		now->tv_sec += (late = !late) ? 3600 : -3600;
	return result;
}
C
	system_or_bail('cc', '-shared', '-fPIC', '-O1', '-o', "$dir/jumps.so", $source, '-ldl');
	my $worker = new_worker('jumps', env => { LD_PRELOAD => "$dir/jumps.so" });
	$worker->wait_log(qr/info consuming/);
	deletes("a clock that jumps: deletes ($_)") for 1 .. 3;
	$redis->stop;
	$worker->wait_log(qr/waiting for redis/);
	$redis->start;
	deletes('... finds Redis again');
	my $begin = monotonic_s();
	is($worker->stop, 0, '... and ends');
	cmp_ok(monotonic_s() - $begin, '<', 5, '... in time');
}

# ---- descriptors ----

my $worker = new_worker('few', program => 'sh', options => [ '-c', "ulimit -n 20; exec '$program'" ]);
$worker->wait_log(qr/info consuming/);
deletes('twenty descriptors are enough');
is($worker->stop, 0, 'it ends');
$worker = new_worker('none', program => 'sh', options => [ '-c', "ulimit -n 4; exec '$program'" ]);
$worker->wait_log(qr/Too many open files/);
pass('too few are told');
is($worker->stop, 0, 'and it can be stopped');

# ---- memory ----

SKIP:
{
	skip 'a sanitizer needs more address space', 2 if $program =~ /asan/;
	$worker = new_worker('small', program => 'sh', options => [ '-c', "ulimit -v 200000; exec '$program'" ]);
	$worker->wait_log(qr/info consuming/);
	$broker->publish($queue, '{"keys":["' . ('x' x 1000) . join('","', map { "k$_" } 1 .. 9000) . '"]}');
	deletes('little memory is enough');
	$broker->publish($queue, '[' . ('0,' x 4_000_000) . '0]') for 1 .. 3;
	poll_until('bodies that are refused, or an end with a word',
		sub { $broker->queue_length("$queue.dead") == 3 || $worker->log_text =~ /out of memory/ });
	pass('bodies that need more become dead letters, or it ends with a word');
	$worker->kill9;
}

$pipe->{worker} = $worker;
$pipe->finish;
