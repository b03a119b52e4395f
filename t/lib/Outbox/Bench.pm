# Bench.pm
#    The servers that a benchmark measures: started, announced in a file, kept until SIGTERM.

package Outbox::Bench;

use strict;
use warnings;
use JSON::PP ();
use POSIX ();
use Outbox::Postgres;
use PostgreSQL::Test::Utils;

# A server alone, database "bench", with these SQL files read. No relay: what is measured is
# recording. The disk is not waited for, nor do background processes do work of their own.
sub serve_postgres
{
	my (@files) = @_;
	$0 = 'bench';
	my $node = Outbox::Postgres->create('pg', conf => join "\n",
		q(outbox.run_on = 'nowhere'), 'fsync = off', 'autovacuum = off', q(shared_buffers = '256MB'),
		q(max_wal_size = '4GB'), q(checkpoint_timeout = '1h'),
		'wal_level = replica', '');
	$node->start;
	$node->safe_psql('postgres', 'CREATE DATABASE bench');
	$node->safe_psql('bench', 'CREATE EXTENSION pg_outbox');
	$node->safe_psql('bench', 'CREATE EXTENSION pg_walinspect');
	$node->safe_psql('bench', slurp_file($_)) for @files;

	my @shown = qw(autovacuum checkpoint_timeout fsync full_page_writes max_wal_size
	  outbox.max_pending_keys outbox.run_on shared_buffers synchronous_commit wal_level);
	announce({
		postgres => $node->connstr('bench'),
		data     => $node->data_dir,
		version  => $node->safe_psql('bench', 'SELECT version()'),
		settings => { map { $_ => $node->safe_psql('bench', "SHOW $_") } @shown },
	});
	return;
}

# The defaults of a server, but for room; the tables of benchmarks change much and are small, so they are
# vacuumed more often than the default would have it.
sub usual_conf
{
	return join "\n", 'fsync = on', q(shared_buffers = '256MB'), q(max_wal_size = '8GB'),
	  q(checkpoint_timeout = '1h'), 'wal_level = replica', 'autovacuum = on',
	  q(autovacuum_naptime = '10s'), @_, '';
}

# A server whose relay publishes to a broker that is there already: database "bench", with these SQL
# files read.
sub serve_ways
{
	my ($amqp_url, @files) = @_;
	$0 = 'bench';
	my $node = Outbox::Postgres->create('pg', amqp_url => $amqp_url, conf => usual_conf());
	my $empty_bytes = make_database($node, @files);
	$node->wait_relay('idle', 'bench');
	announce({ described($node), empty_bytes => $empty_bytes });
	return;
}

# The same without a relay and with wal_level = logical, for who reads WAL.
sub serve_logical
{
	my (@files) = @_;
	$0 = 'bench';
	my $node = Outbox::Postgres->create('logical', conf => usual_conf('wal_level = logical',
		'max_wal_senders = 10', 'max_replication_slots = 10', q(outbox.run_on = 'nowhere')));
	make_database($node, @files);
	announce({ described($node) });
	return;
}

# Starts it and fills database "bench"; the size of an outbox that is new.
sub make_database
{
	my ($node, @files) = @_;
	$node->start;
	$node->safe_psql('postgres', 'CREATE DATABASE bench');
	$node->safe_psql('bench', 'CREATE EXTENSION pg_outbox');
	my $empty_bytes = $node->safe_psql('bench', 'SELECT outbox_bytes FROM outbox.lag');
	$node->safe_psql('bench', slurp_file($_)) for @files;
	return $empty_bytes;
}

sub described
{
	my ($node) = @_;
	my @shown = qw(autovacuum_naptime checkpoint_timeout fsync full_page_writes max_wal_size
	  outbox.max_keys_per_message shared_buffers synchronous_commit wal_level);
	return (
		postgres => $node->connstr('bench'),
		host     => $node->host,
		port     => $node->port,
		data     => $node->data_dir,
		version  => $node->safe_psql('bench', 'SELECT version()'),
		settings => { map { $_ => $node->safe_psql('bench', "SHOW $_") } @shown });
}

# A server whose relays publish to a broker that is there already: database "bench", with this SQL file
# read, and "quiet", whose relay asks for no heartbeats.
sub serve_relay
{
	my ($amqp_url, $file) = @_;
	$0 = 'bench';
	my $node = Outbox::Postgres->create('pg', amqp_url => $amqp_url, conf => usual_conf());
	my $empty_bytes = make_database($node, $file);
	$node->safe_psql('postgres', 'CREATE DATABASE quiet');
	$node->safe_psql('postgres', "ALTER DATABASE quiet SET outbox.amqp_url = '$amqp_url?heartbeat=0'");
	$node->safe_psql('quiet', 'CREATE EXTENSION pg_outbox');
	$node->wait_relay('idle', $_) for qw(bench quiet);

	announce({ described($node), empty_bytes => $empty_bytes, quiet_pid => $node->relay('quiet')->{pid} });
	return;
}

# Tells the benchmark where they are, and keeps them until SIGTERM.
sub announce
{
	my ($found) = @_;
	my $file = "$ENV{OUTBOX_WORK}/ready.json";
	open(my $out, '>', "$file.new") or die "$file.new: $!\n";
	print $out JSON::PP::encode_json($found);
	close $out;
	rename "$file.new", $file or die "$file: $!\n";
	POSIX::pause() while 1;
	return;
}

1;
