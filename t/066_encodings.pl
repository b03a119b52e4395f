# Keys and messages arrive as UTF-8, byte for byte, whatever the database's encoding.

use strict;
use warnings;
use Encode ();
use Outbox::Pipeline;
use PostgreSQL::Test::Utils;
use Test::More;

my $pipe = Outbox::Pipeline->start(worker => 0);
my ($broker, $node) = ($pipe->broker, $pipe->node);
my @encodings = qw(UTF8 LATIN1 EUC_JP SQL_ASCII);

# Characters beyond ASCII that each of them has; client_encoding is UTF8, so that SQL_ASCII stores
# these bytes as they are.
my %word = (
	UTF8      => "gr\x{f6}\x{df}e \x{65e5}\x{1f600}",
	LATIN1    => "gr\x{f6}\x{df}e",
	EUC_JP    => "\x{65e5}\x{672c}",
	SQL_ASCII => "gr\x{f6}\x{df}e \x{65e5}\x{1f600}");
my $odd = "line\nbreak\ttab {x} *?[a]\\ \"q\" 'a' \x01 ";

sub utf8 { return Encode::encode('UTF-8', $_[0]) }

for my $encoding (@encodings)
{
	my $name = lc "db_$encoding";
	my $word = $word{$encoding};
	$node->safe_psql('postgres',
		"CREATE DATABASE $name TEMPLATE template0 ENCODING '$encoding' LOCALE 'C'");
	$node->safe_psql($name, "ALTER DATABASE $name SET outbox.queue = 'q_$name'");
	$node->safe_psql($name, 'CREATE EXTENSION pg_outbox');
	$node->wait_relay('idle', $name);
	$broker->declare_queue("m_$name");
	$node->safe_psql($name, utf8(qq(
		SET client_encoding = UTF8;
		BEGIN;
		CREATE TABLE words (id int, "$word" text, doc jsonb);
		SELECT outbox.watch('words', '$word:{"$word"}', 'md5:{"$word"|md5}', 'doc:{doc."$word"}');
		CREATE TRIGGER tell AFTER INSERT ON words FOR EACH ROW EXECUTE FUNCTION outbox.publish_row('m_$name');
		INSERT INTO words VALUES (1, '$word', jsonb_build_object('$word', '$word'));
		SELECT outbox.invalidate('odd:' || \$\$$odd\$\$);
		SELECT outbox.invalidate_pattern('$word*');
		COMMIT;)));
	my $keys = $broker->wait_message("q_$name")->{json};
	my $md5 = do { require Digest::MD5; Digest::MD5::md5_hex(utf8($word)) };
	is_deeply($keys->{keys}, [ "$word:$word", "md5:$md5", "doc:$word", "odd:$odd" ],
		"$encoding: keys arrive as UTF-8, |md5 is of that form");
	is_deeply($keys->{patterns}, ["$word*"], "$encoding: so do patterns");
	is_deeply(
		$broker->wait_message("m_$name")->{json},
		{
			table => 'public.words',
			op    => 'INSERT',
			old   => undef,
			new   => { id => 1, $word => $word, doc => { $word => $word } }
		},
		"$encoding: and messages");
}

# What has no UTF-8 form is refused at the call.
for my $call (
	q(outbox.invalidate(convert_from('\xff', 'SQL_ASCII'))),
	q(outbox.invalidate_pattern(convert_from('\xc3', 'SQL_ASCII') || '*')),
	q(outbox.publish(convert_from('\xff', 'SQL_ASCII'), '1')),
	q(outbox.publish('q', to_jsonb(convert_from('\xff', 'SQL_ASCII')))),
	q(outbox.publish('q', '1', jsonb_build_object('h', convert_from('\xff', 'SQL_ASCII')))))
{
	my (undef, undef, $errors) = $node->psql('db_sql_ascii', "\\set VERBOSITY verbose\nSELECT $call");
	like($errors, qr/ERROR:  22021: invalid byte sequence for encoding "UTF8"/, "$call is refused");
}

# A length limit counts bytes as they go out: 4097 letters of one byte here, two there.
my (undef, undef, $errors) = $node->psql('db_latin1', q(SELECT outbox.invalidate(repeat(chr(228), 4097))));
like($errors, qr/It has 8194 bytes/, 'a key is measured in UTF-8');

$pipe->finish;
