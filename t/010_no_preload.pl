# Without shared_preload_libraries events are recorded, and everyone is told that none is sent.

use strict;
use warnings;
use Outbox::Postgres;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Outbox::Postgres->create('pg', preload => 0);
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE blog');

my ($status, $output, $messages) = $node->psql('blog', 'CREATE EXTENSION pg_outbox');
is($status, 0, 'CREATE EXTENSION works');
like($messages, qr/WARNING:.*shared_preload_libraries/s, 'it warns, naming shared_preload_libraries');
like($messages, qr/HINT:.*pg_outbox/, 'with a hint');

$node->safe_psql('blog', q(
	CREATE TABLE blogs (id int PRIMARY KEY, title text);
	SELECT outbox.watch('blogs', 'blog:{id}');
	INSERT INTO blogs VALUES (1, 'one');
));
is($node->safe_psql('blog', 'SELECT keys FROM outbox.event'), '{blog:1}', 'the event is recorded');
is($node->lag->{relay_state}, 'not running', 'outbox.lag says that no relay runs');
is($node->lag->{pending_events}, 1, 'outbox.lag counts the event');
is($node->relay->{state}, 'not running', 'outbox.relay says so too');
is($node->safe_psql('blog', q(SELECT count(*), count(*) FILTER (WHERE status = 'ok') FROM outbox.health)), '12|9',
	'outbox.health has each check');
like($node->safe_psql('blog', q(SELECT status, detail, hint FROM outbox.health WHERE "check" = 'relay')),
	qr/^critical\|no relay runs: pg_outbox is not in shared_preload_libraries\|Add pg_outbox to shared_preload_libraries/,
	'... and what to do');

$node->restart;
is($node->pending, 1, 'after a restart the event is still there');

$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'pg_outbox'\noutbox.run_on = 'nowhere'");
$node->restart;
is($node->pending, 1, 'and with the library preloaded at last');
$node->safe_psql('blog', 'DROP EXTENSION pg_outbox CASCADE');
($status, $output, $messages) = $node->psql('blog', 'CREATE EXTENSION pg_outbox');
is($status, 0, 'dropped and created again');
unlike($messages, qr/shared_preload_libraries/, 'no warning where the library is preloaded');

done_testing();
