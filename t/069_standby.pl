# On a hot standby nothing can be recorded, and every call says so at once; what only reads works.

use strict;
use warnings;
use Outbox::Postgres;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = Outbox::Postgres->create('primary', conf => "outbox.run_on = 'nowhere'", standby => 1);
$primary->start;
$primary->create_blog;
$primary->safe_psql('blog', q(INSERT INTO blogs VALUES (1, 1, 'one')));
$primary->backup('base');

my $standby = Outbox::Postgres->new('standby', port => Outbox::Port::free_port());
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
poll_until('the standby to have the event', sub {
	return $standby->safe_psql('blog', 'SELECT count(*) FROM outbox.event') eq '1';
});

my %call = (
	'outbox.invalidate()'         => q(SELECT outbox.invalidate('a')),
	'outbox.invalidate_pattern()' => q(SELECT outbox.invalidate_pattern('a*')),
	'outbox.invalidate_all()'     => q(SELECT outbox.invalidate_all('blogs')),
	'outbox.publish()'            => q(SELECT outbox.publish('q', '1')),
	'outbox.publish_to()'         => q(SELECT outbox.publish_to('x', 'k', '1')),
	'outbox.publish_bytes()'      => q(SELECT outbox.publish_bytes('x', 'k', 'b', 'text/plain')),
	'outbox.watch()'              => q(SELECT outbox.watch('blogs', 'x:{id}')),
	'outbox.watch_columns()'      => q(SELECT outbox.watch_columns('blogs', '{title}', 'x:{id}')),
	'outbox.watch_when()'         => q(SELECT outbox.watch_when('blogs', 'true', 'x:{id}')),
	'outbox.unwatch()'            => q(SELECT outbox.unwatch('blogs')));
for my $name (sort keys %call)
{
	my (undef, undef, $errors) = $standby->psql('blog', $call{$name});
	like($errors, qr/ERROR:  cannot execute \Q$name\E during recovery/, "$name is refused at the call");
}

is($standby->safe_psql('blog', 'SELECT keys FROM outbox.event'), '{blogs:all,blog:1,author:1:blogs}',
	'events can be read');
is($standby->safe_psql('blog', q(SELECT relation, problem IS NULL FROM outbox.watched)), 'blogs|t',
	'so can what is watched');
is($standby->safe_psql('blog', q(SELECT count(*) FILTER (WHERE status = 'ok' AND detail ~ '^this server is a standby') FROM outbox.health)),
	3, 'outbox.health says that it is a standby: relay, broker, queue');
is($standby->safe_psql('blog', q(SELECT count(*) FROM outbox.health)), 12, '... and has each check');
is($standby->safe_psql('blog', q(SELECT value FROM outbox.metrics WHERE name = 'pg_outbox_pending_events')), 1,
	'outbox.metrics counts');
is($standby->safe_psql('blog', q(SELECT string_agg(key, ',') FROM outbox.explain('blogs', NULL, '{"id": 2}'))),
	'blogs:all,blog:2', 'and a change be explained');

$standby->promote;
$standby->safe_psql('blog', q(UPDATE blogs SET title = 'promoted'));
is($standby->safe_psql('blog', 'SELECT count(*) FROM outbox.event'), 2, 'once promoted it records');

$_->stop for $standby, $primary;
done_testing();
