# Rows F32 and F49: a standby takes over under load: its relay starts by itself, and with a synchronous
# standby nothing is lost. What x-outbox-lsn names, a standby that has replayed it shows.
# Clones of the whole cluster stay silent by outbox.run_on.

use strict;
use warnings;
use Outbox::Audit;
use Outbox::FakeBroker;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::Postgres;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = Outbox::Pipeline::work_folder();
my $fake = Outbox::FakeBroker->start(dir => $dir);
my $primary = Outbox::Postgres->create('primary', amqp_url => $fake->url, standby => 1,
	conf => "fsync = on\noutbox.run_on = 'primary'");    # cluster_name is the node's name here
$primary->start;
$primary->create_blog;
$primary->wait_relay('idle');
$primary->backup('base');

my $standby = Outbox::Postgres->new('standby', port => free_port());
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "outbox.run_on = 'standby'");
$standby->start;
my $audit = Outbox::Audit->new(node => $primary, dir => $dir);

subtest 'F49: a position that standbys reach' => sub {
	$primary->wait_for_catchup($standby);
	$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
	my @ids = map { "0.0.$_" } 1 .. 20;
	for my $id (@ids)
	{
		$primary->safe_psql('blog', qq(
			SET synchronous_commit = local;
			BEGIN; INSERT INTO audit VALUES ('$id'); SELECT outbox.publish('audit', '"$id"'), outbox.invalidate('$id'); COMMIT));
	}
	$primary->wait_published;
	my %lsn = map { $_->{body} =~ /^"(.*)"$/ ? ($1 => $_->{headers}{'x-outbox-lsn'}) : () } $fake->confirmed;
	is(keys %lsn, 20, 'each message names one');
	is($standby->safe_psql('blog', 'SELECT count(*) FROM audit'), 0, 'a standby that lags shows none of the rows');
	$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
	my $last = $lsn{ $ids[-1] };
	poll_until("the standby to replay $last", sub {
		return $standby->safe_psql('postgres', "SELECT pg_last_wal_replay_lsn() >= '$last'") eq 't';
	});
	is($standby->safe_psql('blog', 'SELECT count(*) FROM audit'), 20, 'one that has replayed it shows them all');
	is($standby->relay->{state}, 'not running', 'no relay runs on a standby');
};

subtest 'F32: promoted under load' => sub {
	$primary->safe_psql('postgres', q(ALTER SYSTEM SET synchronous_standby_names = '*'));
	$primary->reload;
	poll_until('the standby to be synchronous', sub {
		return $primary->safe_psql('postgres', 'SELECT sync_state FROM pg_stat_replication') eq 'sync';
	});
	$audit->write(transactions => 800);
	poll_until('writers to be at work', sub { $audit->written > 300 });
	$primary->stop('immediate');
	$audit->finish(crash => 1);
	# All that the primary acknowledged; its own table is the truth no longer.
	$standby->promote;
	my $row = $standby->wait_relay([ 'idle', 'publishing' ]);
	ok($row->{pid}, 'its relay starts by itself');
	$audit->{node} = $standby;
	# On the new primary nobody need be waited for.
	$audit->write(transactions => 100);
	$audit->finish;
	$audit->wait_delivered;
	$audit->add_messages($fake->confirmed);
	$audit->check('F32');
	is($standby->safe_psql('blog', 'SELECT count(*) FROM outbox.instance'), 1, 'it needed no adoption');
};

subtest 'a clone of the cluster' => sub {
	$standby->safe_psql('blog', q(SELECT outbox.pause()));
	$standby->wait_relay('paused');
	$standby->safe_psql('blog', q(SELECT outbox.publish('audit', '"pending while it was cloned"')));
	$standby->safe_psql('blog', q(UPDATE outbox.instance SET paused_at = NULL));
	$standby->backup('clone');
	my $clone = Outbox::Postgres->new('clone', port => free_port());
	# The way of a point-in-time recovery: not a standby, its own timeline.
	$clone->init_from_backup($standby, 'clone');
	$clone->start;
	my $error = $clone->wait_relay_error(qr/run_on/)->{last_error};
	is($clone->relay->{state}, 'not running', "$error");
	is($clone->pending, 1, 'it has the pending event');
	$clone->safe_psql('blog', q(SELECT outbox.publish('audit', '"of the clone"')));

	$standby->safe_psql('blog', q(SELECT outbox.resume()));
	$standby->wait_published;
	is(scalar(grep { $_->{body} =~ /pending while/ } $fake->confirmed), 1, 'which the original publishes, once');
	is(scalar(grep { $_->{body} =~ /of the clone/ } $fake->confirmed), 0, 'the clone publishes nothing');

	# Made a cluster of its own on purpose.
	$clone->safe_psql('postgres', q(ALTER SYSTEM SET outbox.run_on = 'clone'));
	$clone->safe_psql('blog', 'SELECT outbox.adopt()');
	$clone->reload;
	$clone->wait_relay('idle');
	$clone->safe_psql('blog', q(SELECT outbox.publish('audit', '"adopted"')));
	$clone->wait_published;
	is_deeply([ map { $_->{body} =~ /(of the clone|adopted)/ ? $1 : () } $fake->confirmed ], ['adopted'],
		'adopted it publishes what comes then, and nothing before');
	isnt($clone->safe_psql('blog', 'SELECT id FROM outbox.instance'),
		$standby->safe_psql('blog', 'SELECT id FROM outbox.instance'), 'under another name');
	$clone->stop;
};

unlike(slurp_file($_->logfile), qr/PANIC|TRAP|terminated by signal/, 'no crash in the log') for $primary, $standby;
$standby->stop;
done_testing();
