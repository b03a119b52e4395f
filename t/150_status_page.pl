# The status page over HTTP: what it weighs, what it may load, what it does not tell; and that the
# database is asked only while somebody looks. How it looks is t/browser's subject.

use strict;
use warnings;
use Digest::SHA 'sha256_base64';
use HTTP::Tiny;
use JSON::PP ();
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::Redis;
use Outbox::Wait;
use Outbox::Worker;
use PostgreSQL::Test::Utils;
use Test::More;

use constant MAX_PAGE_BYTES => 60_000;

my $port = free_port();
my $pipe = Outbox::Pipeline->start(worker => 0, relay_conf => "track_functions = all\n");
my $node = $pipe->node;
my $http = HTTP::Tiny->new(timeout => 20, keep_alive => 0);

$node->safe_psql('blog', <<'SQL');
CREATE ROLE reporter LOGIN PASSWORD 'dbsecret';
GRANT USAGE ON SCHEMA outbox TO reporter;
GRANT EXECUTE ON FUNCTION outbox.report_consumer, outbox.pipeline TO reporter;
SQL
$pipe->redis->cli('ACL', 'SETUSER', 'cache', 'on', '>redissecret', '~*', '+@all');
$pipe->broker->ctl('add_user', 'worker', 'amqpsecret');
$pipe->broker->ctl('set_permissions', 'worker', '.*', '.*', '.*');
$pipe->{worker} = Outbox::Worker->new(
	dir    => $pipe->dir,
	broker => $pipe->broker->url(user => 'worker', password => 'amqpsecret'),
	redis  => 'redis://cache:redissecret@127.0.0.1:' . $pipe->redis->port . '/0',
	options => [ "--metrics-listen=127.0.0.1:$port", '--name=cache-1',
		'--report-to=' . $node->connstr('blog') . ' user=reporter password=dbsecret' ])->start;

sub ask { my ($path, $method) = @_; return $http->request($method // 'GET', "http://127.0.0.1:$port$path") }

sub status
{
	my ($since) = @_;
	my $answer = ask('/status.json' . (defined $since ? "?since=$since" : ''));
	return JSON::PP->new->utf8->decode($answer->{content});
}

sub asked_database
{
	return $node->safe_psql('blog',
		q(SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions WHERE schemaname = 'outbox' AND funcname = 'pipeline'));
}

sub reports
{
	return $node->safe_psql('blog',
		q(SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions WHERE funcname = 'report_consumer'));
}

poll_until('the worker to be ready', sub { ask('/readyz')->{status} == 200 });

# ---- nobody looks ----

my $had = reports();
poll_until('two more reports', sub { reports() >= $had + 2 });
is(asked_database(), 0, 'while nobody looks the database is not asked');

# ---- the page ----

my $page = ask('/');
is($page->{status}, 200, 'the page');
is($page->{headers}{'content-type'}, 'text/html; charset=utf-8', 'its type');
cmp_ok(length $page->{content}, '<', MAX_PAGE_BYTES, "its weight: ${\ length $page->{content} } bytes");
is(ask('/', 'HEAD')->{status}, 200, 'HEAD');
is(ask('/', 'HEAD')->{content} // '', '', '... has no body');
is(ask('/', 'POST')->{status}, 405, 'POST is not allowed');
is(ask('/status.json', 'DELETE')->{status}, 405, 'nor is DELETE of its figures');
is(ask('/page.js')->{status}, 404, 'there is no other file');
is(ask('/../etc/passwd')->{status}, 404, '... at all');

my ($style) = $page->{content} =~ m{<style>(.*?)</style>}s;
my ($script) = $page->{content} =~ m{<script>(.*?)</script>}s;
my $policy = $page->{headers}{'content-security-policy'};
sub padded_hash { my $hash = sha256_base64($_[0]); return $hash . '=' x (-length($hash) % 4) }
is($policy,
	"default-src 'none'; style-src 'sha256-${\ padded_hash($style) }'; script-src 'sha256-${\ padded_hash($script) }'; "
	. "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	'the policy allows its own style and program by their hashes, and nothing else');
(my $rest = $page->{content}) =~ s{<style>.*?</style>|<script>.*?</script>}{}gs;
unlike($rest, qr/\son\w+=|\sstyle=|javascript:/i, 'no handler and no style in an attribute');
unlike($page->{content}, qr{https?://(?!www\.w3\.org/2000/svg)|innerHTML|insertAdjacentHTML|document\.write|\beval\(},
	'nothing from elsewhere, and text is never taken for markup');
for my $path ('/', '/status.json', '/metrics', '/readyz', '/nothing')
{
	my $headers = ask($path)->{headers};
	is_deeply([ @$headers{qw(x-content-type-options cache-control referrer-policy access-control-allow-origin)} ],
		[ 'nosniff', 'no-store', 'no-referrer', undef ], "headers of $path");
	like($headers->{'content-security-policy'}, qr/^default-src 'none'/, "... and its policy");
}

# ---- its figures ----

poll_until('what the database says', sub { status()->{database}{state} eq 'good' });
my $status = status();
is($status->{database}{pipeline}{database}, 'blog', 'the database is known');
cmp_ok($status->{database}{age_s}, '<', 60, '... of just now');
ok((grep { $_->{check} eq 'relay' } @{ $status->{database}{pipeline}{health} }), '... and how its checks are');
is($status->{worker}{state}, 'consuming', 'the worker\'s state');
my $program = $ENV{OUTBOX_WORKER} // 'outbox-worker';
is("outbox-worker $status->{worker}{version}\n", scalar qx('$program' --version), '... and its release');
ok($status->{broker}{up} && $status->{redis}{up}, 'both sides are up');
is_deeply([ $status->{broker}{trouble}, $status->{redis}{trouble} ], [ '', '' ], '... without trouble');

$pipe->redis->set_keys('secret-key:1', 'blogs:all');
$pipe->sql(q(SELECT outbox.invalidate('secret-key:1')));
$pipe->redis->wait_gone('secret-key:1');
poll_until('the message in the history', sub {
	my $history = status()->{history};
	my %at = map { $history->{names}[$_] => $_ } 0 .. $#{ $history->{names} };
	return grep { $_->[ $at{messages} ] > 0 && $_->[ $at{keys_deleted} ] == 1 && defined $_->[ $at{delay_p50_us} ] }
	  @{ $history->{samples} };
});
pass('a message is in the second in which it was settled');
my $next = status()->{history}{next};
my $newer = status($next)->{history};
cmp_ok(scalar @{ $newer->{samples} }, '<=', 5, 'only what is new is told');
is(status(-5)->{history}{first}, 0, 'a number that is none gets all');
is(status('x')->{history}{first}, 0, '... so does no number');

$pipe->redis->stop;
poll_until('the page to know that Redis is away', sub { status()->{redis}{trouble} ne '' });
my $there = asked_database();
my $all = join ' ', map { ask($_)->{content} } qw(/ /status.json /metrics /readyz);
unlike($all, qr/amqpsecret|redissecret|dbsecret/, 'no password on any of them');
unlike($all, qr/secret-key/, '... and no key');
$pipe->broker->publish('cache-invalidation', '{"keys":["a"]}') for 1 .. 3;
poll_until('the queue\'s length while Redis is away', sub { (status()->{queue}{messages} // 0) >= 3 });
pass('the queue\'s length is known while nothing is consumed');
$pipe->redis->start;
$pipe->redis->cli('ACL', 'SETUSER', 'cache', 'on', '>redissecret', '~*', '+@all');
poll_until('the worker to be ready', sub { ask('/readyz')->{status} == 200 });
poll_until('the database to be asked again', sub { status(); asked_database() > $there });
pass('while somebody looks the database is asked again and again');

# A right that is taken away is told as such, and reports go on.
$node->safe_psql('blog', 'REVOKE EXECUTE ON FUNCTION outbox.pipeline FROM reporter');
poll_until('the refusal', sub { status()->{database}{state} eq 'refused' });
is(status()->{database}{reason}, 'permission denied for function pipeline', 'the refusal in the server\'s words');
$had = reports();
poll_until('a report', sub { reports() > $had });
pass('reports go on');

# Frozen: it says so itself, and says what it knew.
$node->safe_psql('blog', 'GRANT EXECUTE ON FUNCTION outbox.pipeline TO reporter');
poll_until('what the database says', sub { status()->{database}{state} eq 'good' });
my $pid = $node->safe_psql('blog', q(SELECT pid FROM pg_stat_activity WHERE usename = 'reporter'));
kill 'STOP', $pid;
poll_until('the silence of the database', sub { status()->{database}{state} eq 'away' });
is(status()->{database}{pipeline}{database}, 'blog', 'what it said before is still there');
cmp_ok(status()->{database}{age_s}, '>=', 2, '... with its age');
kill 'CONT', $pid;
poll_until('what the database says', sub { status()->{database}{state} eq 'good' });

$pipe->finish;
