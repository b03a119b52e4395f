# A broker that is away, or refuses us, delays no commit, and outbox.relay says why in its words.

use strict;
use warnings;
use Outbox::Pipeline;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $pipe = Outbox::Pipeline->start;
my ($redis, $broker, $node) = ($pipe->redis, $pipe->broker, $pipe->node);

# Takes over another URL, as a superuser would.
sub use_url
{
	my ($url) = @_;
	$node->adjust_conf('postgresql.conf', 'outbox.amqp_url', "'$url'");
	$node->reload;
	return;
}

# No time is compared: a commit that waited for the broker would never come back.
sub changes_pass
{
	my ($what) = @_;
	my $before = $node->pending;
	$pipe->sql(q(INSERT INTO blogs SELECT coalesce(max(id), 0) + 1, 1, 'x' FROM blogs)) for 1 .. 3;
	is($node->pending, $before + 3, "$what: commits go on, their events wait");
	return;
}

$node->wait_relay('idle');
$redis->set_keys(map { "blog:$_" } 1 .. 100);
$broker->stop;
$node->wait_relay([ 'waiting to reconnect', 'connecting' ]);
changes_pass('broker stopped');
my $row = $node->wait_relay_error(qr/./);
like($row->{last_error}, qr/refused|closed|CONNECTION_FORCED/i, 'unreachable: last_error says so');
isnt($row->{last_error_at}, undef, 'and when');
my $lag = $node->lag;
isnt($lag->{pending_since}, undef, 'outbox.lag says since when events are pending');
isnt($lag->{lag}, '00:00:00', 'and the lag is not zero');

$broker->start;
ok($redis->wait_gone('blog:1', 'blog:2', 'blog:3'), 'once the broker is back the keys are gone');
is($redis->exists('blog:4'), 1, 'those of no change stay');
$node->wait_relay('idle');
is($node->pending, 0, 'nothing is pending');
is($node->lag->{lag}, '00:00:00', 'the lag is zero');
cmp_ok($node->relay->{reconnects}, '>=', 1, 'reconnects are counted');

use_url($broker->url(user => 'guest', password => 'wr0ng-s3cret'));
$node->wait_relay_error(qr/ACCESS_REFUSED/);
changes_pass('wrong password');
unlike(JSON::PP::encode_json($node->relay), qr/wr0ng-s3cret/, 'outbox.relay shows no password');

use_url($broker->url(vhost => 'nowhere'));
$row = $node->wait_relay_error(qr/nowhere/);
like($row->{last_error}, qr/vhost|NOT_ALLOWED/, 'unknown vhost: the broker\'s words are shown');
changes_pass('unknown vhost');

use_url('amqp://guest:s3cond-s3cret@127.0.0.1:1/%2f');
$node->wait_relay_error(qr/refused/);
changes_pass('nobody listens');
unlike(JSON::PP::encode_json($node->relay), qr/s3cret/, 'outbox.relay shows no password');

my $log = slurp_file($node->logfile);
# The server itself logs a changed setting at a reload; our own lines must not hold it.
my @told = grep { /s3cret/ && !/parameter "outbox.amqp_url" changed/ } split /\n/, $log;
is("@told", '', 'nor does the log');

use_url($broker->url);
ok($redis->wait_gone(map { "blog:$_" } 4 .. 12), 'all drains once the URL is right again');
$node->wait_relay('idle');
is($node->pending, 0, 'nothing is pending');

# The broker dies without a word and another one is there again: nothing is lost with the queue's
# messages on its disk.
$pipe->worker->kill9;
$redis->set_keys('blog:101');
$pipe->sql(q(INSERT INTO blogs VALUES (101, 1, 'x')));
$node->wait_published;
$broker->stop;
$broker->start;
$pipe->worker->start;
ok($redis->wait_gone('blog:101'), 'a confirmed message outlives the broker\'s restart');

$pipe->finish;
