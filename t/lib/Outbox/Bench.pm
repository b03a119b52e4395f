# Bench.pm
#    The servers that a benchmark measures: started, announced in a file, kept until SIGTERM.

package Outbox::Bench;

use strict;
use warnings;
use JSON::PP ();
use POSIX ();
use Outbox::Pipeline;
use PostgreSQL::Test::Utils;

use constant ROWS => 100_000;

# As a user would run it: settings are the defaults, and the disk is waited for.
sub serve
{
	$0 = 'bench';
	my $pipe = Outbox::Pipeline->start(
		relay_conf => "fsync = on\nshared_buffers = '256MB'\nmax_wal_size = '2GB'\n");
	my $node = $pipe->node;
	$pipe->sql("SELECT outbox.unwatch('blogs')");
	$pipe->sql("INSERT INTO blogs SELECT n, 0, 'title ' || n FROM generate_series(1, ${\ ROWS }) n");
	$node->safe_psql('blog', 'VACUUM ANALYZE blogs');
	$pipe->sql("SELECT outbox.watch('blogs', 'blog:{id}')");
	my $relay = $node->wait_relay('idle');

	my $file = "$ENV{OUTBOX_WORK}/ready.json";
	open(my $out, '>', "$file.new") or die "$file.new: $!\n";
	print $out JSON::PP::encode_json({
		postgres   => $node->connstr('blog'),
		redis_port => $pipe->redis->port,
		relay_pid  => $relay->{pid},
		worker_pid => $pipe->worker->pid,
	});
	close $out;
	rename "$file.new", $file or die "$file: $!\n";
	# Until SIGTERM.
	POSIX::pause() while 1;
	return;
}

1;
