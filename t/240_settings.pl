# Settings taken over while the relay runs: good ones by a new relay, bad ones not at all; one that
# cannot work is said once and tried again at the next reload. No password is written or shown.

use strict;
use warnings;
use Outbox::FakeBroker;
use Outbox::File;
use Outbox::Pipeline;
use Outbox::Postgres;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = Outbox::Pipeline::work_folder();
my $fake = Outbox::FakeBroker->start(dir => $dir);
my $other = Outbox::FakeBroker->start(dir => $dir, name => 'other');
my $node = Outbox::Postgres->create('pg', amqp_url => $fake->url);    # and cluster_name pg
$node->start;
$node->create_blog;

# Changes postgresql.conf (the last line counts) and reloads.
sub conf
{
	my ($name, $value) = @_;
	$node->append_conf('postgresql.conf', "$name = '$value'");
	$node->reload;
	return;
}

# Something is published; by the broker that is asked.
sub goes_to
{
	my ($broker, $key) = @_;
	$node->safe_psql('blog', "SELECT outbox.invalidate('$key')");
	$node->wait_published;
	return is(($broker->confirmed)[-1]{body}, qq({"keys":["$key"]}), "$key is published");
}

subtest 'a reload that changes nothing' => sub {
	my $pid = $node->wait_relay('idle')->{pid};
	$node->reload for 1 .. 3;
	goes_to($fake, 'unchanged');
	is($node->relay->{pid}, $pid, 'leaves the relay alone');
};

subtest 'a URL that cannot be' => sub {
	# What ALTER DATABASE sets here is no setting of ours; but with the next reload it makes a new relay.
	for my $change (q(SET work_mem = '5MB'), 'RESET work_mem')
	{
		my $old = $node->relay->{pid};
		$node->safe_psql('postgres', "ALTER DATABASE blog $change");
		$node->reload;
		poll_until('another relay', sub { my $now = $node->relay; ($now->{pid} // $old) != $old && $now->{state} eq 'idle' });
	}
	goes_to($fake, 'before');
	my $pid = $node->relay->{pid};
	my $before = -s $node->logfile;
	for my $url ('http://app:s3cret@127.0.0.1/', 'amqp://app:s3cret@127.0.0.1:99999/', 'amqp://app:s3cret@127.0.0.1/%zz')
	{
		conf('outbox.amqp_url', $url);
		poll_until('the server to notice', sub { slurp_file($node->logfile, $before) =~ /invalid value for parameter "outbox.amqp_url"/ });
		$before = -s $node->logfile;
		goes_to($fake, 'kept');
		is($node->relay->{pid}, $pid, 'the old one stays, and so does the relay');
		is($node->safe_psql('blog', 'SHOW outbox.amqp_url'), $fake->url, 'as SHOW says');
	}
	conf('outbox.amqp_url', $fake->url);
};

subtest 'good ones' => sub {
	conf('outbox.amqp_url', $other->url);
	$other->wait_count(ready => 1);
	goes_to($other, 'from the file');
	$node->safe_psql('postgres', "ALTER DATABASE blog SET outbox.amqp_url = '${\ $fake->url }'");
	$node->reload;
	poll_until('the connection to go', sub { $other->count('open') == 0 });
	goes_to($fake, 'of the database');
	$node->safe_psql('postgres', 'ALTER DATABASE blog RESET outbox.amqp_url');
	$node->safe_psql('blog', 'SELECT outbox.restart_relay()');
	poll_until('the connection to go', sub { $fake->count('open') == 0 });
	goes_to($other, 'after restart_relay');
	# One broker away: the next of the list.
	conf('outbox.amqp_url', "amqp://127.0.0.1:1,${\ $fake->url }");
	$fake->wait_count(ready => 1);
	goes_to($fake, 'of the second in the list');
	conf('outbox.max_keys_per_message', 2);
	$node->safe_psql('blog', q(SELECT outbox.invalidate('a', 'b', 'c')));
	$node->wait_published;
	poll_until('messages of two keys', sub {
		$node->safe_psql('blog', q(SELECT outbox.invalidate('a', 'b', 'c')));
		$node->wait_published;
		return ($fake->confirmed)[-1]{body} eq '{"keys":["c"]}';
	});
	pass('a smaller message');
};

subtest 'outbox.queue, with an invalidation parked under the old one' => sub {
	# Which would have a say in an UPDATE or DELETE of the outbox's tables, were there any.
	$node->safe_psql('blog', 'CREATE PUBLICATION everything FOR ALL TABLES');
	$fake->play(confirm => 'shuffled', nack => 1);
	$node->safe_psql('blog', q(SELECT outbox.invalidate('parked')));
	poll_until('it to be parked', sub { $node->safe_psql('blog', 'SELECT count(*) FROM outbox.dead_letter') eq '1' });
	my $pid = $node->relay->{pid};
	conf('outbox.queue', 'elsewhere');
	poll_until('another relay', sub { my $now = $node->relay; ($now->{pid} // $pid) != $pid && $now->{state} eq 'idle' });
	is($node->safe_psql('blog', 'SELECT routing_key FROM outbox.dead_letter'), 'elsewhere', 'it is bound for the new one');
	$fake->play(confirm => undef, nack => undef);
	poll_until('nothing to be parked', sub { $node->safe_psql('blog', 'SELECT count(*) FROM outbox.dead_letter') eq '0' });
	my ($message) = grep { $_->{body} =~ /parked/ } $fake->confirmed;
	is($message->{routing_key}, 'elsewhere', 'and goes there');
	goes_to($fake, 'new');
};

subtest 'outbox.run_on' => sub {
	my $pid = $node->wait_relay('idle')->{pid};
	conf('outbox.run_on', 'elsewhere');
	$node->wait_relay_error(qr/run_on/);
	my $row = $node->wait_relay('not running');
	like($row->{last_error}, qr/run_on/, 'another cluster: no relay, and why');
	is($row->{pid}, undef, '... really none');
	my $before = -s $node->logfile;
	for (1 .. 3)
	{
		$node->reload;
		$node->safe_psql('blog', 'SELECT outbox.restart_relay()');
	}
	$node->safe_psql('blog', q(SELECT outbox.invalidate('waits')));
	is($node->safe_psql('blog', q(SELECT outbox.wait_published('1 s'))), 'f', 'nothing is published');
	unlike(slurp_file($node->logfile, $before), qr/outbox relay/, 'and nothing said again');
	conf('outbox.run_on', 'pg');
	$node->wait_published;
	is(($fake->confirmed)[-1]{body}, '{"keys":["waits"]}', 'this one: what waited is published');
	conf('outbox.run_on', 'elsewhere');
	poll_until('it to be said', sub { slurp_file($node->logfile, $before) =~ /outbox.run_on names another/ });
	$node->wait_relay('not running');
	my $told = () = slurp_file($node->logfile, $before) =~ /outbox.run_on names another/g;
	is($told, 1, 'the next time it is said again, for the database that has the extension alone');
	conf('outbox.run_on', '');
};

subtest 'a file that cannot be read' => sub {
	my $file = "$dir/password";
	conf('outbox.amqp_password_file', $file);
	$node->wait_relay_error(qr/could not open.*No such file/);
	is($node->wait_relay('not running')->{pid}, undef, 'missing: said, and no relay');
	write_file($file, '');
	$node->reload;
	like($node->wait_relay_error(qr/is empty/)->{last_error}, qr/\Q$file\E/, 'empty: said, and which');
	write_file($file, "s3cret of the file\n");
	$node->safe_psql('blog', 'SELECT outbox.restart_relay()');
	goes_to($fake, 'with a password');

	my $pid = $node->relay->{pid};
	$node->reload;
	goes_to($fake, 'after a reload without news');
	is($node->relay->{pid}, $pid, 'by the same relay');
	write_file($file, "an0ther s3cret\n");
	$node->reload;
	poll_until('another relay', sub { ($node->relay->{pid} // $pid) != $pid });
	goes_to($fake, 'with another password in the same file');

	# Reloads in quick succession, while relays come and go: the last one counts.
	for my $round (1 .. 10)
	{
		conf('outbox.amqp_password_file', "$dir/nowhere");
		conf('outbox.amqp_password_file', $file);
	}
	$node->wait_relay([ 'idle', 'publishing' ]);
	goes_to($fake, 'after many reloads');
};

subtest 'a password in the URL' => sub {
	conf('outbox.amqp_password_file', '');
	# Or that reload would find the next setting already, and say what it thinks of it.
	poll_until('the server to take it over', sub { $node->safe_psql('postgres', 'SHOW outbox.amqp_password_file') eq '' });
	my $before = -s $node->logfile;
	conf('outbox.amqp_url', $fake->url =~ s{//}{//app:plain@}r);
	goes_to($fake, 'with it');
	my $said = slurp_file($node->logfile, $before);
	my $told = () = $said =~ /WARNING:  parameter "outbox\.amqp_url" holds a password/g;
	is($told, 1, 'draws a warning, once, whatever processes there are');
	like($said, qr/HINT:  Put the password into a file and name it in outbox\.amqp_password_file/, 'which says what to do');
	$before = -s $node->logfile;
	conf('outbox.amqp_url', $fake->url(user => 'app'));
	goes_to($fake, 'without');
	unlike(slurp_file($node->logfile, $before), qr/holds a password/, 'that of guest, or none, draws none');
};

# What people see who are not superusers; and everybody, of what was written down.
$node->safe_psql('postgres', 'CREATE ROLE reader LOGIN');
my ($status, undef, $error) = $node->psql('blog', 'SHOW outbox.amqp_url', extra_params => [ '-U', 'reader' ]);
like($error, qr/must be superuser|permission denied/, 'the URL is for superusers');
unlike($node->safe_psql('blog', q(SET ROLE reader; SELECT string_agg(setting, ' ') FROM pg_settings)), qr/amqp:/, 'in pg_settings too');
# The lines that the server writes about its own file name it and the setting.
my $log = slurp_file($node->logfile);
unlike($log, qr/s3cret/, 'no password in the log');
unlike(join(' ', map { $node->safe_psql('blog', $_) } 'TABLE outbox.relay', 'TABLE outbox.lag', 'SELECT query FROM pg_stat_activity'),
	qr/s3cret/, 'nor in a view');
unlike($log, qr/PANIC|TRAP|terminated by signal|ERROR:  (?!must be superuser|permission)/, 'nothing worse');
$node->stop;
done_testing();
