# pg_upgrade moves a cluster: what is watched comes along, and the events that wait. The cluster has another
# system identifier then, as that of an upgraded clone would, so somebody has to say that it is no copy.

use strict;
use warnings;
use Outbox::Postgres;
use Outbox::RabbitMQ;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = Outbox::RabbitMQ->new(dir => "$ENV{TESTDIR}/rabbitmq");
my %server = (amqp_url => $broker->url, conf => "max_prepared_transactions = 2\n");
my $old = Outbox::Postgres->create('old', %server);
my $new = Outbox::Postgres->create('new', %server);
chomp(my $bindir = `pg_config --bindir`);

# Recorded while no broker is there: nothing of it is published before the upgrade.
$old->start;
$old->create_blog;
$old->safe_psql('blog', q(
	SELECT outbox.watch_when('blogs', 'NEW.title IS DISTINCT FROM OLD.title', 'blogs:all', 'blog:{id}');
	INSERT INTO blogs VALUES (1, 1, 'one');
	SELECT outbox.publish('q', '"waiting"');
	SELECT outbox.publish_bytes('', 'q', string_agg(uuid_send(gen_random_uuid()), ''), NULL) FROM generate_series(1, 10000);
));
$old->safe_psql('postgres', 'CREATE DATABASE empty');
$old->safe_psql('empty', 'CREATE EXTENSION pg_outbox');
$old->wait_relay($_, 'empty') for 'waiting to reconnect';
my $events = q(SELECT id, xid, keys, payload, md5(body) FROM outbox.event ORDER BY id);
my $watched = q(SELECT relation, trigger, templates, condition, problem FROM outbox.watched);
my $instance = q(SELECT id FROM outbox.instance);
my %before = map { $_ => $old->safe_psql('blog', $_) } $events, $watched, $instance;
my @upgrade = (
	'pg_upgrade', '--no-sync', '-b', $bindir, '-B', $bindir, '-d', $old->data_dir, '-D', $new->data_dir,
	'-p', $old->port, '-P', $new->port, '-s', $old->host);
chdir $ENV{TESTDIR};
command_ok([ @upgrade, '--check' ], 'pg_upgrade --check of the running server');
$old->stop;
command_ok(\@upgrade, 'pg_upgrade');

# The broker is there from the start: a copy would publish at once.
$broker->start;
$broker->declare_queue('q');
$new->start;
my $relay = $new->wait_relay('copied');
like($relay->{last_error}, qr/outbox\.adopt_with_events\(\)/, 'the relay says what to do after pg_upgrade');
is($new->safe_psql('blog', $_), $before{$_}, "the same after it: $_") for $events, $watched, $instance;
$new->safe_psql('blog', q(
	INSERT INTO blogs VALUES (2, 1, 'two');
	UPDATE blogs SET author_id = 2 WHERE id = 2));
is($new->safe_psql('blog', 'SELECT keys FROM outbox.event ORDER BY id DESC LIMIT 1'), '{blogs:all,blog:2}',
	'recording goes on');
is($broker->queue_length('q'), 0, 'nothing is published');
is($new->wait_relay('idle', 'empty')->{state}, 'idle', 'an outbox that never held an event adopts itself');

# In a transaction that rolls back it is nothing.
$new->safe_psql('blog', 'BEGIN; SELECT outbox.adopt_with_events(); ROLLBACK');
is($new->relay->{state}, 'copied', 'rolled back, nothing is adopted');
$new->safe_psql('blog', 'SELECT outbox.adopt_with_events()');
$new->wait_published;
is($broker->wait_message('q')->{json}, 'waiting', 'outbox.adopt_with_events() publishes what waited');
is($broker->wait_message('q')->{headers}{'x-outbox-instance'}, $before{$instance}, 'under the same name');
is_deeply($broker->wait_message('cache-invalidation')->{json}{keys}, [ 'blogs:all', 'blog:1', 'blog:2' ],
	'keys from before and after');
is($new->safe_psql('blog', $instance), $before{$instance}, 'the outbox keeps its name');

# Transaction ids of another cluster are refused.
$new->safe_psql('blog', q(
	ALTER TABLE outbox.event_1 DISABLE TRIGGER discard;
	INSERT INTO outbox.event_1 (id, xid, created_at, keys) VALUES (1000000, '900000000', now(), '{future}')));
my (undef, undef, $errors) = $new->psql('blog', 'SELECT outbox.adopt_with_events()');
like($errors, qr/ERROR:  the outbox holds events of another cluster.*HINT:  Use outbox\.adopt\(\)/s,
	'events of the future are refused');

$new->stop;
$broker->stop;
done_testing();
