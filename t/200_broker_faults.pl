# Rows F1 to F9, F14 and F15: RabbitMQ away, killed, stopped, frozen, out of memory or disk, with
# another password, without the vhost. Commits go on, outbox.relay says what is the matter, and once
# the broker is well nothing was lost, nothing made up.

use strict;
use warnings;
use Outbox::Audit;
use Outbox::File;
use Outbox::Pipeline;
use Outbox::Postgres;
use Outbox::RabbitMQ;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

use constant HEARTBEAT_S => 2;

my $dir = Outbox::Pipeline::work_folder();
my $broker = Outbox::RabbitMQ->new(dir => "$dir/rabbitmq");
my $node = Outbox::Postgres->create('pg',
	amqp_url => $broker->url(query => 'heartbeat=' . HEARTBEAT_S));
$node->start;
$node->create_blog;
my $audit = Outbox::Audit->new(node => $node, dir => $dir);

# Writers are at work while this happens; afterwards all is delivered.
sub survives
{
	my ($row, $happens) = @_;
	$audit->forget;
	$audit->write(transactions => 400);
	poll_until('writers to be at work', sub { $audit->written > 20 });
	$happens->();
	$audit->finish;
	$broker->wait_ready;
	$audit->wait_delivered;
	$audit->add_queue($broker);
	$audit->check($row);
	return;
}

subtest 'F1: away when the server starts' => sub {
	$node->wait_relay([ 'connecting', 'waiting to reconnect' ]);
	$node->safe_psql('blog', "SELECT outbox.invalidate('k:$_')") for 1 .. 3;
	is($node->pending, 3, 'commits go on');
	like($node->wait_relay_error(qr/refused/)->{last_error}, qr/Connection refused/, 'last_error says why');
	my $before = $node->relay->{reconnects};
	my $began = monotonic_s();
	$broker->launch;
	$broker->wait_ready;
	# 0.1 s, twice as long each time, 5 s at the most.
	cmp_ok($node->relay->{reconnects} - $before, '<', 8 + (monotonic_s() - $began), 'it tries more and more rarely');
	$node->wait_published;
	is($broker->wait_message(Outbox::Audit::KEYS_QUEUE)->{json}{keys}[0], 'k:1', 'what waited is there');
	$broker->declare_queue(Outbox::Audit::QUEUE);
};

subtest 'F2: killed' => sub {
	survives('F2', sub { $broker->kill9; $broker->start });
};

subtest 'F3: stopped in good order' => sub {
	survives('F3', sub {
		$broker->ctl('stop_app');
		$node->wait_relay_error(qr/CONNECTION_FORCED|refused/);
		$broker->ctl('start_app');
	});
	like(slurp_file($node->logfile), qr/CONNECTION_FORCED/, 'its words are in the log');
};

subtest 'F4: frozen' => sub {
	$node->wait_relay('idle');
	my $began = monotonic_s();
	survives('F4', sub {
		$broker->freeze;
		$began = monotonic_s();
		$node->wait_relay_error(qr/silent for two heartbeats/);
		# What was received last may be a heartbeat old.
		cmp_ok(monotonic_s() - $began, '<', 2 * HEARTBEAT_S + 3, 'noticed after two heartbeats');
		$broker->thaw;
	});
};

subtest 'F6: out of memory' => sub {
	survives('F6', sub {
		$broker->ctl('set_vm_memory_high_watermark', 'absolute', '1MB');
		# The broker says so to who publishes.
		$node->safe_psql('blog', q(SELECT outbox.invalidate('waits')));
		like($node->wait_relay('blocked')->{last_error}, qr/low on memory/, 'blocked, and why');
		$broker->ctl('set_vm_memory_high_watermark', '0.6');
	});
	is($node->wait_relay('idle')->{state}, 'idle', 'it goes on by itself');
};

subtest 'F7, F8: out of disk, and the server is stopped meanwhile' => sub {
	my $pid = $node->relay->{pid};
	survives('F7, F8', sub {
		$broker->ctl('set_disk_free_limit', '999GB');
		$node->safe_psql('blog', q(SELECT outbox.invalidate('waits')));
		my $row = $node->wait_relay('blocked');
		like($row->{last_error}, qr/low on disk/, 'blocked, and why');
		is($row->{pid}, $pid, 'by the same process');
		# It may just be looking for events.
		ok(poll_until('it to hold nothing', sub {
			$node->safe_psql('postgres', "SELECT concat(backend_xmin, backend_xid) FROM pg_stat_activity WHERE pid = $pid") eq '' }),
			'no snapshot is held');
		$audit->finish;
		my $began = monotonic_s();
		$node->stop('fast');
		cmp_ok(monotonic_s() - $began, '<', 5, 'a fast stop');
		$node->start;
		$broker->ctl('set_disk_free_limit', '10MB');
	});
};

# A tenant with a user and a vhost of its own.
subtest 'F14: another password' => sub {
	$broker->ctl('add_vhost', 'tenant');
	$broker->ctl('add_user', 'app', 'f1rst-s3cret');
	$broker->ctl('set_permissions', '-p', 'tenant', 'app', '.*', '.*', '.*');
	my $file = "$dir/password";
	write_file($file, "f1rst-s3cret\n");
	$node->create_blog('tenant');
	$node->safe_psql('postgres', "ALTER DATABASE tenant SET outbox.amqp_password_file = '$file'");
	$node->safe_psql('postgres', "ALTER DATABASE tenant SET outbox.amqp_url = 'amqp://app\@127.0.0.1:${\ $broker->port }/tenant'");
	$node->reload;
	$node->wait_relay('idle', 'tenant');
	$node->safe_psql('tenant', q(SELECT outbox.invalidate('one')));
	$node->wait_published('tenant');
	pass('the password comes from its file');

	$broker->ctl('change_password', 'app', 's3cond-s3cret');
	$node->safe_psql('tenant', 'SELECT outbox.restart_relay()');
	$node->wait_relay_error(qr/ACCESS_REFUSED/, 'tenant');
	my $before = $node->relay('tenant')->{reconnects};
	$node->safe_psql('tenant', q(SELECT outbox.invalidate('two')));
	my $began = monotonic_s();
	is($node->safe_psql('tenant', q(SELECT outbox.wait_published('3 s'))), 'f', 'nothing goes out with the old one');
	cmp_ok($node->relay('tenant')->{reconnects} - $before, '<=', 6, 'it tries with pauses');
	write_file($file, "s3cond-s3cret\n");
	$node->safe_psql('tenant', 'SELECT outbox.restart_relay()');
	$node->wait_published('tenant');
	pass('with the new one it goes on');
};

subtest 'F15: the vhost is deleted' => sub {
	$broker->ctl('delete_vhost', 'tenant');
	$node->wait_relay_error(qr/vhost|CONNECTION_FORCED|NOT_ALLOWED/, 'tenant');
	$node->safe_psql('tenant', q(SELECT outbox.invalidate('three')));
	like($node->wait_relay_error(qr/NOT_ALLOWED/, 'tenant')->{last_error}, qr/tenant/, 'last_error names it');
	$broker->ctl('add_vhost', 'tenant');
	$broker->ctl('set_permissions', '-p', 'tenant', 'app', '.*', '.*', '.*');
	$node->wait_published('tenant');
	pass('once it is there again what waited is published');
};

my $log = slurp_file($node->logfile);
unlike($log, qr/s3cret/, 'no password in the log');
my $shown = join ' ', map { $node->safe_psql('tenant', $_) } 'TABLE outbox.relay',
  'SELECT query, application_name FROM pg_stat_activity', 'SELECT setting FROM pg_settings',
  'SELECT setconfig FROM pg_db_role_setting';
unlike($shown, qr/s3cret/, 'nor in any view');
unlike($log, qr/PANIC|TRAP|terminated by signal|ERROR:/, 'no crash and no error in the log');
$node->stop;
$broker->discard;
done_testing();
