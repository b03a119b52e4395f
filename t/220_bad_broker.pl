# Rows F16 to F20: a broker that breaks off, lies, is silent, confirms in any order. Whatever it
# says or does not say: no crash, the reason in outbox.relay, the same process connects again, and
# nothing is lost.

use strict;
use warnings;
use Outbox::Amqp;
use Outbox::Audit;
use Outbox::FakeBroker;
use Outbox::Pipeline;
use Outbox::Postgres;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

# Two of them are what a busy machine may be away for.
use constant HEARTBEAT_S => 2;

my $rounds = $ENV{OUTBOX_TEST_ROUNDS} // 1;
my $dir = Outbox::Pipeline::work_folder();
my $fake = Outbox::FakeBroker->start(dir => $dir);
my $mean = Outbox::FakeBroker->start(dir => $dir, name => 'mean');
my $node = Outbox::Postgres->create('pg', amqp_url => $fake->url(query => 'heartbeat=' . HEARTBEAT_S));
$node->start;
$node->create_blog;
my $relay = $node->wait_relay('idle');
my $audit = Outbox::Audit->new(node => $node, dir => $dir);

# F16 takes half a minute: it begins here, and ends last.
$mean->play(confirm => 'none');
$node->create_blog('slow');
$node->safe_psql('postgres', "ALTER DATABASE slow SET outbox.amqp_url = '${\ $mean->url }'");
$node->reload;
$mean->wait_count(ready => 1);
$node->safe_psql('slow', q(SELECT outbox.invalidate('unconfirmed')));
$mean->wait_count(received => 1);

sub frame { my ($type, $channel, $payload) = @_; return pack('CnN', $type, $channel, length $payload) . "$payload\xCE" }
sub method { my ($channel, $class, $method, $arguments) = @_; return frame(1, $channel, pack('nn', $class, $method) . $arguments) }

# Connected again, and of use; it is the same process as before.
sub is_back
{
	my ($what, $pid) = @_;
	$node->safe_psql('blog', "SELECT outbox.invalidate('back')");
	$node->wait_published;
	my $row = $node->relay;
	is($row->{pid}, $pid, $what);
	return $row;
}

subtest 'F20: it breaks off in the login' => sub {
	for my $step (qw(accept header start_ok open channel declare confirm))
	{
		for my $how (qw(close reset refuse))
		{
			my $connections = $fake->count('connections');
			$fake->play(at => $step, do => $how, times => 1);
			$fake->drop('close');
			$fake->wait_count(connections => $connections + 2);
			$fake->wait_count(ready => 1);
			my $row = is_back("$how at $step", $relay->{pid});
			my $reason = $how eq 'refuse' ? qr/ACCESS_REFUSED - faked/ : qr/closed by the peer|reset by peer/i;
			like($row->{last_error}, $reason, '... last_error says why');
		}
	}
	$fake->play(at => undef, do => undef, times => undef);
};

subtest 'F20: what listens there is no broker' => sub {
	my %noise = (
		'HTTP'            => "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
		'TLS alert'       => "\x15\x03\x01\x00\x02\x02\x46",
		'another version' => "AMQP\x03\x01\x00\x00",
		'zeros'           => "\0" x 64,
		'one byte'        => "\xFF",
		'noise'           => join('', map { chr(($_ * 167 + 13) % 256) } 1 .. 20_000));
	for my $what (sort keys %noise)
	{
		my $connections = $fake->count('connections');
		$fake->play(at => 'accept', do => 'bytes', bytes => unpack('H*', $noise{$what}), times => 1);
		$fake->drop('close');
		$fake->wait_count(connections => $connections + 1);
		$fake->wait_count(ready => 1);
		my $row = is_back($what, $relay->{pid});
		like($row->{last_error}, qr/does not speak AMQP/, "... $row->{last_error}");
	}
	$fake->play(at => undef, do => undef, times => undef, bytes => undef);
};

subtest 'bad frames end the connection, not the process' => sub {
	my $returned = method(1, 60, 50, pack('n', 312) . ("\x01x" x 3));
	my %bad = (
		'a frame without an end'     => [ pack('CnN', 1, 1, 4) . ("\0" x 5), qr/without an end/ ],
		'a frame of 2 GB'            => [ pack('CnN', 1, 1, 0x7fffffff), qr/too large/ ],
		'one byte over the limit'    => [ pack('CnN', 1, 1, 131_065), qr/too large/ ],
		'an unknown type'            => [ frame(9, 1, 'x'), qr/unknown type 9/ ],
		'a channel of nobody'        => [ method(77, 60, 80, pack('Q>C', 1, 0)), qr/channel 77/ ],
		'a method of two bytes'      => [ frame(1, 1, 'xx'), qr/without an id/ ],
		'an unknown method'          => [ method(1, 60, 999, ''), qr/malformed|unknown/ ],
		'half an ack'                => [ method(1, 60, 80, 'xx'), qr/malformed/ ],
		'a second login'             => [ method(0, 10, 30, pack('nNn', 1, 4096, 0)), qr/unexpected/ ],
		'an answer to nothing'       => [ method(1, 20, 11, pack('N', 0)), qr/unexpected/ ],
		'a header of nothing'        => [ frame(2, 1, pack('nnQ>n', 60, 0, 1, 0)), qr/unexpected content header/ ],
		'a body of nothing'          => [ frame(3, 1, 'body'), qr/unexpected message body/ ],
		'a header that is cut'       => [ $returned . frame(2, 1, 'short'), qr/unexpected content header/ ],
		'properties that are cut'    => [ $returned . frame(2, 1, pack('nnQ>n', 60, 0, 1, 0x2000)), qr/malformed properties/ ],
		'a body longer than it said' => [ $returned . frame(2, 1, pack('nnQ>n', 60, 0, 1, 0)) . frame(3, 1, 'xx'), qr/unexpected message body/ ]);
	for my $what (sort keys %bad)
	{
		my ($bytes, $reason) = @{ $bad{$what} };
		my $connections = $fake->count('connections');
		$fake->bytes($bytes);
		$fake->wait_count(connections => $connections + 1);
		$fake->wait_count(ready => 1);
		my $row = is_back($what, $relay->{pid});
		like($row->{last_error}, $reason, "... $row->{last_error}");
	}
};

subtest 'what is odd and allowed' => sub {
	my $before = $node->relay;
	my $returned = method(1, 60, 50, pack('n', 312) . ("\x01x" x 3));
	$fake->bytes(method(1, 60, 80, pack('Q>C', 0, 1)));
	$fake->bytes(method(1, 60, 80, pack('Q>C', 2**62, 0)) . method(1, 60, 120, pack('Q>C', 12_345, 0)));
	$fake->bytes($returned . frame(2, 1, pack('nnQ>n', 60, 0, 0, 0)));
	$fake->bytes(frame(8, 0, '') x 50);
	# A message that nobody sent comes back and announces more bytes than there are in the world.
	$fake->bytes($returned . frame(2, 1, pack('nnQ>n', 60, 0, 2**62, 0)) . frame(3, 1, 'x' x 60_000) x 3);
	$node->safe_psql('blog', q(SELECT outbox.invalidate('odd')));
	$node->wait_published;
	my $row = $node->relay;
	is($row->{pid}, $before->{pid}, 'acks and nacks of unknown tags, returns of strangers');
	is($row->{$_}, $before->{$_}, "... count for nothing: $_") for qw(reconnects returned nacked);
	is($row->{confirmed}, $before->{confirmed} + 1, '... nor as confirmed');
	$fake->drop;
};

subtest 'login: limits that the broker asks for' => sub {
	my $big = 300_000;
	for my $case ([ 'frame_max 4096', 0, 4096, 0 ], [ 'frame_max 0', 0, 0, 60 ], [ 'channel_max 1, heartbeat 0', 1, 131_072, 0 ])
	{
		my ($what, @tune) = @$case;
		my $connections = $fake->count('connections');
		$fake->play(tune => \@tune);
		$fake->drop;
		$fake->wait_count(connections => $connections + 1);
		$node->safe_psql('blog', "SELECT outbox.publish_bytes('', 'audit-not', convert_to(repeat('x', $big), 'UTF8'), 'text/plain')");
		$node->wait_published;
		is(($fake->confirmed)[-1]{size}, $big, "$what: a large message arrives");
		if ($tune[1] == 4096)
		{
			my $largest = $fake->count('largest_frame');
			cmp_ok($largest, '<=', 4096, "... in frames of at most $largest bytes");
		}
	}
	$fake->play(tune => [ 0, 100, 0 ]);
	$fake->drop;
	like($node->wait_relay_error(qr/frames of 100 bytes/)->{last_error}, qr/fewer than AMQP allows/,
		'frame_max 100 is refused');
	$fake->play(tune => undef);
	is_back('and once it is sensible all is well', $relay->{pid});
};

subtest 'F17: confirms out of order, several at a time, nacks before acks' => sub {
	$audit->forget;
	my $seen = $fake->count('confirmed');
	$fake->play(confirm => 'multiple', group => 7);
	$audit->write(transactions => 300 * $rounds);
	$audit->finish;
	$audit->wait_delivered;
	my @confirmed = $fake->confirmed;
	$audit->add_messages(@confirmed[ $seen .. $#confirmed ]);
	is($audit->check('multiple'), 0, 'no copy');

	$audit->forget;
	$audit->{in_order} = 0;
	$fake->play(confirm => 'shuffled', group => 20, nack => 0.1);
	$audit->write(transactions => 300 * $rounds);
	$audit->finish;
	poll_until('a nack', sub { $node->relay->{nacked} > 0 });
	# Refusals may be answered by waiting longer and longer.
	$fake->play(nack => undef);
	$audit->wait_delivered;
	@confirmed = ($fake->confirmed)[ scalar(@confirmed) .. $fake->count('confirmed') - 1 ];
	$audit->add_messages(@confirmed);
	$audit->check('shuffled, with nacks');
	$fake->play(confirm => undef, group => undef);
	$audit->{in_order} = 1;
};

subtest 'F19: the connection is reset after k bytes' => sub {
	$audit->forget;
	my $seen = $fake->count('confirmed');
	# What arrives is cut in its frames: of the messages here, of the broker's answers below.
	my @cuts = $rounds > 1 ? 1 .. 400 : (1 .. 9, map { 10 + 26 * $_ } 0 .. 13);
	for my $k (@cuts)
	{
		my $connections = $fake->count('connections');
		$fake->play(reset_after => $k);
		$audit->write(writers => 1, transactions => 3);
		$fake->wait_count(connections => $connections + 1);
		# Something goes through, or the relay would wait longer each time.
		my $confirmed = $fake->count('confirmed');
		$fake->play(reset_after => undef);
		$fake->wait_count(confirmed => $confirmed + 1);
		$audit->finish;
	}
	$audit->write(writers => 1, transactions => 400);
	for my $k ($rounds > 1 ? 1 .. 260 : map { 1 + 34 * $_ } 0 .. 7)
	{
		my $connections = $fake->count('connections');
		$fake->play(cut_after => $k);
		$fake->drop;
		$fake->wait_count(connections => $connections + 2);
		is_back("$k bytes of its answers", $relay->{pid});
	}
	$audit->finish;
	$audit->wait_delivered;
	my @confirmed = $fake->confirmed;
	$audit->add_messages(@confirmed[ $seen .. $#confirmed ]);
	$audit->check('F19');
	is($node->relay->{pid}, $relay->{pid}, 'by the same process');
};

subtest 'connection.close and channel.close under load' => sub {
	$audit->forget;
	# Whose message closed the channel is parked, and may be overtaken by what was under way.
	$audit->{in_order} = 0;
	my $seen = $fake->count('confirmed');
	$audit->write(transactions => 400);
	for my $what (map { ('close', 'close_channel') } 1 .. 4)
	{
		my $connections = $fake->count('connections');
		$fake->wait_count(ready => 1);
		$fake->say($what);
		$what eq 'close' ? $fake->wait_count(connections => $connections + 1) : $node->wait_relay_error(qr/NOT_FOUND - faked/);
	}
	$audit->finish;
	$audit->wait_delivered;
	my @confirmed = $fake->confirmed;
	$audit->add_messages(@confirmed[ $seen .. $#confirmed ]);
	$audit->check('closed at any time');
	$audit->{in_order} = 1;
};

subtest 'F18: half of the connection is dead' => sub {
	$fake->play(mute => 1);
	$node->safe_psql('blog', q(SELECT outbox.invalidate('into the silence')));
	my $began = monotonic_s();
	like($node->wait_relay_error(qr/silent/)->{last_error}, qr/silent for two heartbeats/, 'nothing comes back');
	cmp_ok(monotonic_s() - $began, '<', 2 * HEARTBEAT_S + 3, 'noticed after two heartbeats');
	$fake->play(mute => undef);
	$fake->drop;
	$node->wait_published;
	is($node->relay->{pid}, $relay->{pid}, 'and sent again by the same process');
};

subtest 'blocked, and never told otherwise' => sub {
	$fake->wait_count(ready => 1);
	$fake->say('blocked', 'low on everything');
	like($node->wait_relay('blocked')->{last_error}, qr/low on everything/, 'blocked, and why');
	my $received = $fake->count('received');
	$node->safe_psql('blog', q(SELECT outbox.invalidate('waits')));
	is($node->safe_psql('blog', q(SELECT outbox.wait_published('1 s'))), 'f', 'nothing is sent');
	is($fake->count('received'), $received, '... really nothing');
	$fake->drop;
	$node->wait_published;
	pass('the next connection is not blocked');
};

subtest 'F16: a confirm never comes' => sub {
	like($node->wait_relay_error(qr/confirm/, 'slow')->{last_error}, qr/did not confirm a message within 30 s/,
		'after 30 s the connection is given up');
	$mean->wait_count(received => 2);
	pass('and the message sent again');
	$mean->play(confirm => undef);
	$mean->drop;
	$node->wait_published('slow');
	is(scalar(grep { $_->{body} =~ /unconfirmed/ } $mean->confirmed), 1, 'until it is confirmed, once');
};

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal|ERROR:/, 'no crash and no error in the log');
$node->stop;
done_testing();
