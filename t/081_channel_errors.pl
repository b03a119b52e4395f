# A broker that closes the channel over a message does not say which: the guilty one is found, and the
# others go on. F10 (unknown exchange), F13 (no permission), and what is never accepted (too large).

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::RabbitMQ;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = Outbox::Pipeline::work_folder();
my $broker = Outbox::RabbitMQ->new(dir => "$dir/rabbitmq", config => "max_message_size = 100000\n")->launch;
my $node = Outbox::Postgres->create('pg', amqp_url => $broker->url(user => 'relay', password => 'secret'));
$node->start;
$node->create_blog;
$broker->wait_ready;
$broker->ctl('add_user', 'relay', 'secret');
$broker->ctl('set_permissions', 'relay', '.*', '.*', '.*');

sub sql { return $node->safe_psql('blog', $_[0]) }

sub dead_letters
{
	my ($where) = @_;
	return sql("SELECT string_agg(payload ->> 'n', ' ' ORDER BY event_id) FROM outbox.dead_letter WHERE $where");
}

# Takes so many messages off a queue: their numbers.
sub take { my ($queue, $count) = @_; return join ' ', map { $broker->wait_message($queue)->{json}{n} } 1 .. $count }

$node->wait_relay('idle');
$broker->declare_queue($_) for qw(emails events);
$broker->declare_exchange('known', 'fanout');
$broker->bind_queue('events', 'known', '');

# ---- unknown exchange ----------------------------------------------------------------------------

# All in one transaction, so that they are under way together when the channel is closed.
sql(q(SELECT CASE WHEN n % 3 = 0 THEN outbox.publish('emails', jsonb_build_object('n', n))
                  WHEN n % 3 = 1 THEN outbox.publish_to('no.such.exchange', 'k', jsonb_build_object('n', n))
                  ELSE outbox.publish_to('known', 'k', jsonb_build_object('n', n)) END
        FROM generate_series(1, 30) AS n));
$node->wait_published;
is(dead_letters(q(exchange = 'no.such.exchange')), join(' ', map { 3 * $_ + 1 } 0 .. 9),
	'messages to an unknown exchange are parked, in order');
is(dead_letters(q(exchange <> 'no.such.exchange')), '', 'and no others');
like(sql(q(SELECT last_error FROM outbox.destination WHERE exchange = 'no.such.exchange')),
	qr/NOT_FOUND.*no\.such\.exchange/, 'with the broker\'s words');
my @emails = split / /, take('emails', 10);
is(join(' ', sort { $a <=> $b } @emails), join(' ', map { 3 * $_ } 1 .. 10), 'one queue got its own');
poll_until('the other queue', sub { $broker->queue_length('events') >= 10 });
pass('and so did the other');
$broker->purge_queue($_) for qw(emails events);

$broker->declare_exchange('no.such.exchange', 'fanout');
$broker->bind_queue('events', 'no.such.exchange', '');
is(take('events', 10), join(' ', map { 3 * $_ + 1 } 0 .. 9), 'once it is declared they arrive in order');
poll_until('it to be open', sub { sql(q(SELECT state FROM outbox.destination WHERE exchange = 'no.such.exchange')) eq 'open' });

# ---- permission revoked --------------------------------------------------------------------------

# An exchange that was not used before: a channel remembers for a while what it may.
$broker->declare_exchange('guarded', 'fanout');
$broker->bind_queue('events', 'guarded', '');
$broker->ctl('set_permissions', 'relay', '.*', '^(amq\.default|known|cache-invalidation.*)$', '.*');
sql(q(SELECT outbox.publish_to('guarded', 'k', '{"n": 40}'); SELECT outbox.publish('emails', '{"n": 41}')));
$node->wait_published;
is(dead_letters(q(exchange = 'guarded')), '40', 'no permission: parked');
like(sql(q(SELECT reason FROM outbox.dead_letter WHERE exchange = 'guarded')), qr/ACCESS_REFUSED/, 'with the broker\'s words');
is(take('emails', 1), '41', 'another queue gets its message');
$broker->ctl('set_permissions', 'relay', '.*', '.*', '.*');
is(take('events', 1), '40', 'once it is permitted the message arrives');

# ---- never ---------------------------------------------------------------------------------------

my $blocked = monotonic_s();
sql(q(SELECT outbox.publish('emails', '{"n": 50}');
      SELECT outbox.publish('emails', jsonb_build_object('n', 51, 'much', repeat('x', 200000)));
      SELECT outbox.publish('emails', '{"n": 52}');
      SELECT outbox.publish_to('known', 'k', '{"n": 53}');
      INSERT INTO blogs VALUES (5, 1, 'x')));
$node->wait_published;
is(dead_letters('true'), '51', 'a message that is too large is set aside, alone');
my $row = $node->row('blog', 'SELECT state, reason, attempts, next_attempt_at, event_id FROM outbox.dead_letter');
is($row->{state}, 'dead', 'as dead');
like($row->{reason}, qr/PRECONDITION_FAILED.*larger than/, 'with the broker\'s words');
ok(!defined $row->{next_attempt_at}, 'it is not tried again');
# One that was under way as the channel was closed may come twice.
my %emails;
poll_until('both', sub {
	my $message = $broker->get_message('emails') or return 0;
	$emails{ $message->{json}{n} } = 1;
	return keys %emails == 2;
});
is(join(' ', sort keys %emails), '50 52', 'those before and behind it arrive');
is(take('events', 1), '53', 'and those to others');
my $message = $broker->wait_message('cache-invalidation');
ok((grep { $_ eq 'blog:5' } @{ $message->{json}{keys} }), 'and the invalidation');
is(sql(q(SELECT state FROM outbox.destination WHERE routing_key = 'emails')), 'open', 'its queue stays open');

# A channel that was closed has nothing of its own published twice, but what was under way may be.
$broker->purge_queue('emails');
sql("SELECT outbox.retry_dead_letter($row->{event_id})");
$node->wait_published;
is(sql('SELECT attempts FROM outbox.dead_letter'), $row->{attempts} + 1, 'tried again by hand it is dead again');
is(sql(q(SELECT outbox.retry_dead_letters('', 'emails'))), 1, 'so it is with all of its queue');
$node->wait_published;
is(dead_letters(q(state = 'dead')), '51', 'dead once more');
sql("SELECT outbox.discard_dead_letter($row->{event_id})");
is(dead_letters('true'), '', 'and discarded');

# ---- a broker that lets us declare nothing -------------------------------------------------------

$broker->delete_queue('cache-invalidation');
$broker->ctl('set_permissions', 'relay', '^$', '.*', '.*');
sql('SELECT outbox.restart_relay()');
$node->wait_relay_error(qr/could not declare the queues/);
sql(q(INSERT INTO blogs VALUES (6, 1, 'x'); SELECT outbox.publish('emails', '{"n": 60}')));
is(take('emails', 1), '60', 'other queues get their messages');
$node->wait_published;
is(sql(q(SELECT state FROM outbox.destination WHERE routing_key = 'cache-invalidation')), 'parked', 'ours is parked');
$broker->ctl('set_permissions', 'relay', '.*', '.*', '.*');
poll_until('our queue', sub { $broker->queue_exists('cache-invalidation') });
$message = $broker->wait_message('cache-invalidation');
ok((grep { $_ eq 'blog:6' } @{ $message->{json}{keys} }), 'until it may be declared');

unlike(slurp_file($node->logfile), qr/secret/, 'the password is in no line of the log');
$node->stop('immediate');
$broker->discard;
done_testing();
