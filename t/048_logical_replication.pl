# Logical replication: what a subscriber applies records nothing there, unless its triggers say ALWAYS;
# and a publication FOR ALL TABLES carries no event, nor empties anybody's outbox.

use strict;
use warnings;
use Outbox::FakeBroker;
use Outbox::Pipeline;
use Outbox::Postgres;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Outbox::Postgres->create('pg', standby => 1,
	conf => "outbox.run_on = 'nowhere'\nwal_level = logical");
$node->start;
$node->create_blog($_) for qw(origin replica);
$node->safe_psql('origin', q(
	INSERT INTO blogs VALUES (1, 7, 'copied');
	SELECT pg_create_logical_replication_slot('all_tables', 'pgoutput');
	CREATE PUBLICATION everything FOR ALL TABLES;
	INSERT INTO blogs VALUES (2, 7, 'recorded at the origin');
));
$node->safe_psql('replica', q(
	SELECT outbox.invalidate('pending here');
	SELECT outbox.publish('q', '"pending here, too"');
));
my $connection = $node->connstr . ' dbname=origin';
$node->safe_psql('replica', qq(
	CREATE SUBSCRIPTION following CONNECTION '$connection' PUBLICATION everything
	  WITH (create_slot = false, slot_name = 'all_tables', copy_data = true)));

# Everything that the origin has written so far is applied, and every table copied.
sub wait_applied
{
	poll_until('tables to be synchronized', sub {
		return $node->safe_psql('replica', q(SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel)) eq 't';
	});
	$node->wait_for_catchup('following', 'replay', $node->lsn('insert'));
	return;
}

sub recorded
{
	return $node->safe_psql('replica', q(
		SELECT coalesce(keys::text, '') || coalesce(' ' || patterns::text, '') || coalesce(payload::text, '')
		  FROM outbox.event ORDER BY id));
}

my $pending = qq({"pending here"}\n"pending here, too");
wait_applied();
is($node->safe_psql('replica', 'SELECT count(*) FROM blogs'), 2, 'the table is copied');
is(recorded(), $pending, 'copying recorded nothing, brought no event and took none');
is($node->safe_psql('replica', 'SELECT count(*) FROM outbox.instance'), 1, 'the instance is its own');

$node->safe_psql('origin', q(
	INSERT INTO blogs VALUES (3, 7, 'three');
	UPDATE blogs SET title = 'changed' WHERE id = 1;
	DELETE FROM blogs WHERE id = 2;
	SELECT outbox.publish('q', '"of the origin"');
	TRUNCATE blogs;
	INSERT INTO blogs VALUES (4, 8, 'four');
));
wait_applied();
is($node->safe_psql('replica', 'SELECT id FROM blogs'), 4, 'changes are applied');
is(recorded(), $pending, 'plain triggers do not fire for them');

# A subscriber with caches of its own.
$node->safe_psql('replica', q(
	ALTER TABLE blogs ENABLE ALWAYS TRIGGER outbox_invalidate;
	ALTER TABLE blogs ENABLE ALWAYS TRIGGER outbox_invalidate_truncate;
));
$node->safe_psql('origin', $_)
  for q(UPDATE blogs SET author_id = 9 WHERE id = 4), q(UPDATE blogs SET title = title), 'TRUNCATE blogs';
wait_applied();
is(recorded(), qq($pending
{blogs:all,blog:4,author:8:blogs,author:9:blogs}
{blogs:all} {blog:*,author:*:blogs}), 'with ENABLE ALWAYS they do, by old and new row');
is($node->safe_psql('replica', q(SELECT problem IS NULL FROM outbox.watched)), 't', 'which is no problem');

# A rotation at the origin empties nobody else's outbox; nor does its relay's saving of a position go there.
my $broker = Outbox::FakeBroker->start(dir => Outbox::Pipeline::work_folder());
$node->safe_psql('postgres', "ALTER DATABASE origin SET outbox.$_") for "amqp_url = '${\ $broker->url }'", "run_on = ''";
$node->reload;
$node->wait_published('origin');
poll_until('the origin to rotate', sub { $node->safe_psql('origin', 'SELECT count(*) FROM outbox.event') eq '0' });
$node->safe_psql('origin', q(INSERT INTO blogs VALUES (6, 6, 'after the rotation')));
wait_applied();
like(recorded(), qr/^\Q$pending\E/, q(the origin's outbox was rotated, the subscriber still has its events));
is($node->safe_psql('replica', q(SELECT string_agg(title, ',') FROM blogs WHERE id = 6)), 'after the rotation', 'and goes on');

# What is parked there, and goes, is no business of a subscriber.
$broker->play(confirm => 'shuffled', nack => 1);
$node->safe_psql('origin', q(SELECT outbox.invalidate('refused')));
poll_until('it to be parked', sub { $node->safe_psql('origin', 'SELECT count(*) FROM outbox.dead_letter') eq '1' });
wait_applied();
is($node->safe_psql('replica', 'SELECT count(*) FROM outbox.dead_letter'), 0, 'what is parked stays there');
$broker->play(confirm => undef, nack => undef);
poll_until('it to be accepted', sub { $node->safe_psql('origin', 'SELECT count(*) FROM outbox.dead_letter') eq '0' });
wait_applied();
like(recorded(), qr/^\Q$pending\E/, 'and its going takes nothing away');

# Nor does emptying it by hand.
$node->safe_psql('origin', 'SELECT outbox.adopt()');
$node->safe_psql('origin', q(INSERT INTO blogs VALUES (5, 5, 'five')));
wait_applied();
like(recorded(), qr/^\Q$pending\E/, q(the origin's outbox was emptied, the subscriber's was not));

$node->safe_psql('replica', q(
	ALTER SUBSCRIPTION following DISABLE;
	ALTER SUBSCRIPTION following SET (slot_name = NONE);
	DROP SUBSCRIPTION following));
$node->stop;
done_testing();
