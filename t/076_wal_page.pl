# Where WAL ends exactly at the end of a page, its insert position stands behind the header of a page that
# is not written yet: nobody can flush up to there, and no standby ever gets there. The fence of an
# asynchronous message and its x-outbox-lsn are the page's start then.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

use constant PAGE_BYTES         => 8192;
use constant PAGE_HEADER_BYTES  => 24;    # SizeOfXLogShortPHD
use constant FIRST_HEADER_BYTES => 40;    # SizeOfXLogLongPHD, of a segment's first page
use constant PROBE_BYTES        => 1000;

# Nobody else writes WAL, or writes it to disk, while the relay stands still.
my $pipe = Outbox::Pipeline->start(
	worker => 0,
	relay_conf => "wal_writer_delay = '10s'\nwal_writer_flush_after = 0\nautovacuum = off\n"
	  . "checkpoint_timeout = '1h'\n");
my ($broker, $node) = ($pipe->broker, $pipe->node);

$broker->declare_queue('q');
$node->wait_relay('idle');
# Whoever reads a catalog's page with dead rows prunes it, which is a record.
$node->safe_psql($_, 'VACUUM') for qw(blog postgres);

sub insert_position { return $pipe->sql(q(SELECT pg_current_wal_insert_lsn() - '0/0')) }

# Writes a record of so many bytes of payload, of no transaction. Gives by how much WAL has grown.
sub fill
{
	my ($bytes) = @_;
	my $before = insert_position();
	$pipe->sql("SELECT pg_logical_emit_message(false, '', repeat('x', $bytes))");
	return insert_position() - $before;
}

# Has the last record end with its page. Others may write a little, too: tried again then.
sub fill_page
{
	return poll_until('a record that ends with its page', sub {
		# Of two in a row one at least does not cross a page's header.
		my ($record) = sort { $a <=> $b } fill(PROBE_BYTES), fill(PROBE_BYTES);
		my $left = PAGE_BYTES - insert_position() % PAGE_BYTES;
		return 0 if $left < 2 * $record;
		fill(PROBE_BYTES + $left - $record);
		my $now = insert_position();
		return $now % PAGE_BYTES == PAGE_HEADER_BYTES ? $now : 0;
	});
}

# Ends WAL as $end does while a message waits for the relay; sees what the relay makes of it.
sub publishes_at
{
	my ($label, $header, $end) = @_;
	my $relay = $node->relay->{pid};

	$node->wait_published;    # the position is saved, too
	kill 'STOP', $relay;
	$pipe->sql(qq(SET synchronous_commit = off; SELECT outbox.publish('q', '"$label"')));
	my $at = $end->();
	my $started = $at - $header;
	is($at % PAGE_BYTES, $header, "$label: the insert position stands behind a page's header");
	is($pipe->sql("SELECT pg_current_wal_flush_lsn() - '0/0' <= $started"), 't',
		"$label: the message's commit may not be on disk");
	kill 'CONT', $relay;

	my $message = $broker->wait_message('q');
	is($message->{json}, $label, "$label: it is published");
	my ($high, $low) = map { hex } split m{/}, $message->{headers}{'x-outbox-lsn'};
	is(($high << 32) + $low, $started, "$label: x-outbox-lsn is where the page starts");
	is($pipe->sql("SELECT pg_current_wal_flush_lsn() - '0/0' >= $started"), 't',
		"$label: WAL is on disk up to there");
	is($node->relay->{pid}, $relay, "$label: the relay goes on");
	return;
}

publishes_at('page', PAGE_HEADER_BYTES, \&fill_page);
publishes_at('segment', FIRST_HEADER_BYTES, sub {
	$pipe->sql('SELECT pg_switch_wal()');
	return insert_position();
});

unlike(slurp_file($node->logfile), qr/ERROR|PANIC|TRAP|past end of generated WAL/, 'no error in the log');
$pipe->finish;
