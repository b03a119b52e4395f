# Parking at its limits: names of any bytes, headers that fit no frame, events of several messages refused in
# part, a fanout with one full queue, a lock on the table, a large transaction in bounded memory.

use strict;
use warnings;
use utf8;
use Encode ();
use Outbox::Pipeline;
use Outbox::RabbitMQ;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

use constant {
	LARGE     => 60_000 * ($ENV{OUTBOX_TEST_ROUNDS} // 1),
	RSS_LIMIT => 32 * 1024,    # kB
	KEYS      => 300,          # routing keys of one exchange
};


my $dir = Outbox::Pipeline::work_folder();
my $broker = Outbox::RabbitMQ->new(dir => "$dir/rabbitmq", config => "frame_max = 4096\n")->launch;
my $node = Outbox::Postgres->create('pg', amqp_url => $broker->url,
	conf => "outbox.declare_topology = off\noutbox.max_keys_per_message = 1\n");
$node->start;
$node->create_blog;
$broker->wait_ready;
$broker->declare_queue('steady');
$node->wait_relay('idle');

sub sql { return $node->safe_psql('blog', $_[0]) }
sub dead_letters { return sql("SELECT count(*) FROM outbox.dead_letter WHERE $_[0]") }
sub relay_memory { return (slurp_file("/proc/${\ $node->relay->{pid} }/status") =~ /^RssAnon:\s+(\d+)/m)[0] }

my $pid = $node->relay->{pid};
my $full = { 'x-max-length' => 2, 'x-overflow' => 'reject-publish' };

# ---- names ---------------------------------------------------------------------------------------

# (The broker takes line ends out of a queue's name.) Texts that cut it off in the middle of a character are
# ASCII.

my $name = qq(' " % %s \\ ü {});
$name .= 'é' x ((255 - length Encode::encode_utf8($name)) / 2);
$name .= '.' x (255 - length Encode::encode_utf8($name));
my $bytes = Encode::encode_utf8($name);
my $literal = $bytes =~ s/'/''/gr;
is(length $bytes, 255, 'a name of 255 bytes');
sql("SELECT outbox.publish('$literal', '1'), outbox.publish('$literal', '2')");
$node->wait_published;
is(dead_letters("routing_key = '$literal' AND state = 'retrying'"), 2, 'of any characters is parked');
is(sql("SELECT parked FROM outbox.destination WHERE routing_key = '$literal'"), 2, 'and shown');
like(sql("SELECT DISTINCT reason FROM outbox.dead_letter WHERE reason IS NOT NULL"), qr/^[ -~]+$/, 'the reason is ASCII');
is(sql("SELECT outbox.retry_dead_letters('', '$literal')"), 2, 'tried again');
$broker->declare_queue($bytes);
is($broker->wait_message($bytes)->{json}, $_, "and delivered: $_") for 1, 2;

# ---- what fits no frame --------------------------------------------------------------------------

sql(q(SELECT outbox.publish('steady', '1'),
             outbox.publish('steady', '2', jsonb_build_object('h', repeat('x', 30000))),
             outbox.publish('steady', '3')));
$node->wait_published;
is(sql(q(SELECT string_agg(concat_ws(' ', payload, state, reason IS NOT NULL), ',') FROM outbox.dead_letter)), '2 dead t',
	'headers that do not fit the broker\'s frame: dead');
is(join(' ', map { $broker->wait_message('steady')->{json} } 1 .. 2), '1 3', 'the others go on');
is(sql(q(SELECT outbox.retry_dead_letters('', 'steady'))), 1, 'tried again');
$node->wait_published;
is(dead_letters(q(state = 'dead')), 1, 'it is dead again');
sql('SELECT outbox.discard_dead_letter(event_id) FROM outbox.dead_letter');

# ---- events of several messages ------------------------------------------------------------------

sql(q(SELECT outbox.invalidate(VARIADIC array_agg('key:' || n)) FROM generate_series(1, 5) AS n));
sql(q(SELECT outbox.invalidate('key:6')));
$node->wait_published;
is(dead_letters('keys IS NOT NULL'), 2, 'an event of five messages is parked once');
$broker->declare_queue('cache-invalidation', arguments => $full);
my %seen;
poll_until('all keys', sub {
	my $message = $broker->get_message('cache-invalidation') or return;
	$seen{$_}++ for @{ $message->{json}{keys} };
	return keys %seen == 6 && dead_letters('keys IS NOT NULL') == 0;
});
pass('where some of them are refused again and again, all keys arrive in the end');
$broker->delete_queue('cache-invalidation');
$broker->declare_queue('cache-invalidation');

# ---- one full queue behind a fanout --------------------------------------------------------------

$broker->declare_exchange('both', 'fanout');
$broker->declare_queue('full', arguments => $full);
$broker->bind_queue($_, 'both', '') for 'full', 'steady';
sql(q(SELECT outbox.publish_to('both', '', to_jsonb(n)) FROM generate_series(1, 5) AS n));
$node->wait_published;
cmp_ok(dead_letters(q(exchange = 'both')), '>=', 3, 'where one queue of a fanout is full its messages are parked');
%seen = ();
poll_until('all messages', sub { my $message = $broker->get_message('full') or return; $seen{ $message->{json} }++; return keys %seen == 5 });
poll_until('it to be open', sub { dead_letters(q(exchange = 'both')) == 0 });
pass('and arrive in both as it is emptied');
$broker->purge_queue('steady');

# ---- many destinations that close the channel ----------------------------------------------------

# Each publish to an exchange that is not there costs the channel: not one for each routing key and try.
sql("SELECT outbox.publish_to('missing', 'k' || n, to_jsonb(n)) FROM generate_series(1, ${\ KEYS }) AS n");
$node->wait_published;
is(dead_letters(q(exchange = 'missing')), KEYS, 'many routing keys of an exchange that is missing are parked');
my $slowest = 0;
for my $n (1 .. 20)
{
	my $before = monotonic_s();
	sql("SELECT outbox.publish('steady', '$n')");
	$broker->wait_message('steady');
	my $took = monotonic_s() - $before;
	$slowest = $took if $took > $slowest;
}
cmp_ok($slowest, '<', 2, sprintf 'others are not held up by their tries: %.3f s', $slowest);
my $closed = () = join('', map { slurp_file($_) } glob "$dir/rabbitmq/log/*.log") =~ /no exchange 'missing'/g;
cmp_ok($closed, '<', KEYS / 4, "the channel was closed $closed times");
$broker->declare_exchange('missing', 'fanout');
$broker->bind_queue('steady', 'missing', '');
sql(q(SELECT outbox.retry_dead_letters('missing', 'k1')));
poll_until('all of the exchange', sub { dead_letters(q(exchange = 'missing')) == 0 });
poll_until('its messages', sub { $broker->queue_length('steady') == KEYS });
pass('once it is there all are delivered, each once');
$broker->purge_queue('steady');
is($node->relay->{pid}, $pid, 'the relay is still the same');

# ---- a large transaction -------------------------------------------------------------------------

my $holder = $node->background_psql('blog');
$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM outbox.dead_letter');
my $begin = monotonic_s();
sql("SELECT outbox.publish('large', to_jsonb(n)) FROM generate_series(1, ${\ LARGE }) AS n");
my $written = monotonic_s();
$node->wait_published;
my $parked = monotonic_s();
is(dead_letters(q(routing_key = 'large')), LARGE, 'a large transaction is parked');
my $rss = relay_memory();
$broker->declare_queue('large');
sql(q(SELECT outbox.retry_dead_letters('', 'large')));
my $declared = monotonic_s();
poll_until('all to be delivered', sub { dead_letters(q(routing_key = 'large')) == 0 });
my $drained = monotonic_s();
is($broker->queue_length('large'), LARGE, 'and delivered, each once, beside a held snapshot');
is(join(' ', map { $broker->wait_message('large')->{json} } 1 .. 100), join(' ', 1 .. 100), 'in order');
cmp_ok($_, '<', RSS_LIMIT, "the relay's memory stays bounded: $_ kB") for $rss, relay_memory();
note(sprintf '%d events: parked %.0f a second, delivered %.0f a second', LARGE,
	LARGE / ($parked - $written), LARGE / ($drained - $declared));
$holder->query_safe('ROLLBACK');

# ---- a lock on the table -------------------------------------------------------------------------

$holder->query_safe('BEGIN; LOCK TABLE outbox.parked');
sql(q(SELECT outbox.publish('locked', '1')));
$pid = $node->relay->{pid};
poll_until('the relay to wait', sub { sql("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $pid") eq 'Lock' });
$begin = monotonic_s();
sql("SELECT pg_terminate_backend($pid)");
poll_until('it to end', sub { !-d "/proc/$pid" });
cmp_ok(monotonic_s() - $begin, '<', 2, 'a relay that waits for a lock on outbox.parked ends when told to');
$holder->query_safe('COMMIT');
$holder->quit;
poll_until('the message to be parked', sub { dead_letters(q(routing_key = 'locked')) == 1 });
pass('and the next one loses nothing');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|could not make a message/, 'nothing failed');
$node->stop('immediate');
$broker->discard;
done_testing();
