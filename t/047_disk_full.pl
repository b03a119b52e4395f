# What cannot be written at commit takes its transaction back, with the reason; the session and everyone
# else go on. The disk is full for one backend: a limit on the size of its files stands in for it.

use strict;
use warnings;
use Outbox::Postgres;
use PostgreSQL::Test::Utils;
use Test::More;

use constant LIMIT_BYTES => 20 * 1024 * 1024;    # more than a WAL segment, which must not fail

my $node = Outbox::Postgres->create('pg', conf => "outbox.run_on = 'nowhere'");
$node->start;
$node->create_blog;
$node->safe_psql('blog', q(
	CREATE FUNCTION noise(kilobytes int) RETURNS bytea LANGUAGE sql AS $$
		SELECT string_agg(uuid_send(gen_random_uuid()), '') FROM generate_series(1, kilobytes * 64) $$;
	DO $$BEGIN
		FOR i IN 1..21 LOOP
			PERFORM outbox.publish_bytes('', 'q', noise(900), NULL);
			COMMIT;
		END LOOP;
	END$$;
));

my $limit = LIMIT_BYTES;
my ($status, $output, $errors) = $node->psql('blog', qq(
	\\set ON_ERROR_STOP off
	\\set VERBOSITY verbose
	SELECT pg_backend_pid() AS pid \\gset
	\\setenv BACKEND :pid
	\\! prlimit --pid \$BACKEND --fsize=$limit:
	BEGIN;
	INSERT INTO blogs VALUES (1, 1, 'lost');
	SELECT outbox.publish_bytes('', 'q', noise(1000), NULL), outbox.publish_bytes('', 'q', noise(1000), NULL);
	COMMIT;
	SELECT count(*) FROM blogs;
	INSERT INTO blogs VALUES (2, 1, 'a small event fits');
	\\! prlimit --pid \$BACKEND --fsize=unlimited:
	BEGIN;
	INSERT INTO blogs VALUES (3, 1, 'room again');
	SELECT outbox.publish_bytes('', 'q', noise(1000), NULL);
	COMMIT;
), extra_params => [ '-t', '-A', '-q' ]);
like($errors, qr/ERROR:  \S+: could not \w+ file .*File too large/, 'COMMIT fails with the reason');
like($errors, qr/CONTEXT:  writing what this transaction recorded for pg_outbox/, 'and says what was being written');
is($node->safe_psql('blog', 'SELECT string_agg(id::text, $$,$$ ORDER BY id) FROM blogs'), '2,3',
	'that transaction is taken back, the session goes on');
is($node->safe_psql('blog', q(SELECT string_agg(keys::text, ' ' ORDER BY id) FROM outbox.event WHERE keys IS NOT NULL)),
	'{blogs:all,blog:2,author:1:blogs} {blogs:all,blog:3,author:1:blogs}',
	'its keys are not there, those of others are');
is($node->safe_psql('blog', 'SELECT count(*) FROM outbox.event WHERE body IS NOT NULL'), 22,
	'nor are its messages');

# No more ids: a failure at commit that no disk has a part in.
($status, $output, $errors) = $node->psql('blog', q(
	BEGIN;
	ALTER SEQUENCE outbox.event_id_seq MAXVALUE 1000 RESTART 1000;
	SELECT outbox.invalidate('last');
	SELECT count(outbox.publish('q', '1')) FROM generate_series(1, 1000);
	COMMIT;
));
like($errors, qr/ERROR:  setval: value \d+ is out of bounds for sequence "event_id_seq"/, 'nor is anything half written');
is($node->safe_psql('blog', q(SELECT count(*) FROM outbox.event WHERE keys = '{last}')), 0, 'all or nothing');

$node->stop;
done_testing();
