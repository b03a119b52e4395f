# Loss audit of parking: writers publish numbered messages to queues and exchanges while these are unbound,
# deleted, full, forbidden, and broker, server and relay are killed. At the end everything is repaired and drained:
# each committed message was received or discarded by hand, none that was rolled back was, and where nothing
# was refused while later ones were under way each session's messages came in order.
#
# A round depends on its seed but for the machine's timing. One that failed says its seed; alone, by hand:
#
#     OUTBOX_TEST_SEED=12345 make test T=t/083_parking_audit.pl

use strict;
use warnings;
use IPC::Run ();
use Outbox::Pipeline;
use Outbox::RabbitMQ;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

use constant {
	WRITERS => 3,
	ACTS    => 40,
	BACKLOG => 9_000,    # messages recorded while paused, to be refused in several windows at once
};

my @vanishing = qw(gone.1 gone.2 gone.3);
my @small = qw(small.1 small.2);
my @queues = ('steady', @vanishing, @small, 'behind.exchange', 'behind.forbidden', 'cache-invalidation');
my %strict = map { $_ => 1 } 'steady', 'behind.forbidden';

my $dir = Outbox::Pipeline::work_folder();
my $broker = Outbox::RabbitMQ->new(dir => "$dir/rabbitmq")->launch;
my $node = Outbox::Postgres->create('pg', amqp_url => $broker->url(user => 'relay', password => 'secret'));
$node->start;
$node->create_blog;
$broker->wait_ready;
$broker->ctl('add_user', 'relay', 'secret');
permit('.*');
create_writers();

my @writers;
my $given = $ENV{OUTBOX_TEST_SEED};
my $first = $given // time;
my $rounds = defined $given ? 1 : $ENV{OUTBOX_TEST_ROUNDS} // 1;
run_round($_) for $first .. $first + $rounds - 1;

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal (?!9)|ERROR:.*outbox relay/, 'no crash');
$node->stop('immediate');
$broker->discard;
done_testing();

sub sql { return $node->safe_psql('blog', $_[0]) }

# For what may fail because a server is away.
sub try_sql { my ($rc, $out) = $node->psql('blog', $_[0]); return $rc == 0 ? $out : undef }

sub permit { return $broker->ctl('set_permissions', 'relay', '.*', $_[0], '.*') }

# ---- writers -------------------------------------------------------------------------------------

# What is said is noted in a plain table within the same transaction or savepoint.
sub create_writers
{
	sql(q(
		CREATE TABLE said (n bigint PRIMARY KEY, writer int, destination text);
		CREATE TABLE discarded (n bigint);
		CREATE TABLE stop ();
		CREATE SEQUENCE numbers;
		CREATE FUNCTION say(writer int, destination text) RETURNS void LANGUAGE plpgsql AS $$
		DECLARE
			n bigint := nextval('numbers');
			message jsonb := jsonb_build_object('n', n);
		BEGIN
			INSERT INTO said VALUES (n, writer, destination);
			CASE destination
			WHEN 'cache-invalidation' THEN PERFORM outbox.invalidate(n::text);
			WHEN 'gone.1', 'gone.2', 'gone.3' THEN PERFORM outbox.publish_to('gate', destination, message);
			WHEN 'behind.exchange' THEN PERFORM outbox.publish_to('exchange', '', message);
			WHEN 'behind.forbidden' THEN PERFORM outbox.publish_to('forbidden', '', message);
			ELSE PERFORM outbox.publish(destination, message);
			END CASE;
		END $$;
		CREATE PROCEDURE write(writer int, seed double precision, destinations text[]) LANGUAGE plpgsql AS $$
		DECLARE
			destination text;
		BEGIN
			PERFORM setseed(seed);
			WHILE NOT EXISTS (SELECT FROM stop) LOOP
				FOR i IN 0 .. 5 * random() LOOP
					destination := destinations[1 + floor(random() * cardinality(destinations))];
					IF random() < 0.3 THEN
						BEGIN
							PERFORM say(writer, destination);
							IF random() < 0.5 THEN
								RAISE EXCEPTION 'back to the savepoint';
							END IF;
						EXCEPTION WHEN raise_exception THEN NULL;
						END;
					ELSE
						PERFORM say(writer, destination);
					END IF;
				END LOOP;
				IF random() < 0.2 THEN
					ROLLBACK;
				ELSE
					COMMIT;
				END IF;
				PERFORM pg_sleep(0.1 * random());
				COMMIT;
			END LOOP;
		END $$;
	));
	return;
}

sub start_writer
{
	my ($number) = @_;
	my $seed = rand;
	my $names = join ',', @queues;
	$writers[$number] = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('blog'), '-c', "CALL write($number, $seed, '{$names}')" ],
		'<', '/dev/null', '>', '/dev/null', '2>', \my $error);
	return;
}

# Those that ended with the server.
sub start_dead_writers
{
	for my $number (0 .. WRITERS - 1)
	{
		next if $writers[$number] && $writers[$number]->pumpable;
		$writers[$number]->finish if $writers[$number];
		start_writer($number);
	}
	return;
}

# ---- the broker's side ---------------------------------------------------------------------------

# number of the message -> how often it came; first receipts are noted in their order.
my (%count, %order);

sub receive
{
	my ($queue, $message) = @_;
	for my $n ($queue eq 'cache-invalidation' ? @{ $message->{json}{keys} } : $message->{json}{n})
	{
		push @{ $order{$queue} }, $n if !$count{$queue}{$n}++;
	}
	return;
}

sub drain
{
	my ($queue, $most) = @_;
	my $got = 0;
	while (!defined $most || $got < $most)
	{
		my $message = $broker->get_message($queue) or last;
		receive($queue, $message);
		$got++;
	}
	return $got;
}

sub declare
{
	my ($queue) = @_;
	my $small = grep { $_ eq $queue } @small;
	$broker->declare_queue($queue,
		$small ? (arguments => { 'x-max-length' => 5, 'x-overflow' => 'reject-publish' }) : ());
	return;
}

# Queues behind the exchange "gate" are bound and unbound. (One that is deleted may take along what the broker
# accepts in that moment.)
sub bind_queue { return $broker->bind_queue($_[0], 'gate', $_[0]) }
sub unbind_queue { return $broker->unbind_queue($_[0], 'gate', $_[0]) }

sub declare_exchange
{
	my ($exchange) = @_;
	$broker->declare_exchange($exchange, 'fanout');
	$broker->bind_queue("behind.$exchange", $exchange, '');
	return;
}

# ---- the adversary -------------------------------------------------------------------------------

# The acts of a round, the slow ones once each.
sub acts
{
	my @quick = (
		(map { my $queue = $_; (sub { unbind_queue($queue) }, sub { bind_queue($queue) }) } @vanishing),
		(map { my $queue = $_; sub { drain($queue, 1 + int rand 8) } } @small),
		sub { $broker->delete_exchange('exchange') },
		sub { declare_exchange('exchange') },
		\&retry_one, \&retry_one, \&discard_one, \&retry_all);
	my @acts = map { $quick[ rand @quick ] } 1 .. ACTS;
	my @slow = (
		sub { $broker->kill9; $broker->start },
		sub { $node->stop('immediate'); $node->start; start_dead_writers() },
		sub { try_sql('SELECT outbox.restart_relay()') },
		sub { permit('^(?!forbidden$)'); try_sql('SELECT outbox.restart_relay()') },
		sub { permit('.*') });
	my @places = sort { $a <=> $b } map { int rand ACTS } @slow;
	splice @acts, pop @places, 0, pop @slow while @slow;
	return @acts;
}

sub random_parked
{
	return sql(q(SELECT event_id, payload ->> 'n' FROM outbox.dead_letter WHERE payload IS NOT NULL
		ORDER BY md5(event_id::text || ') . rand() . q(') LIMIT 1));
}

# By now it may have been accepted.
sub retry_one
{
	my ($id) = split /\|/, random_parked() or return;
	try_sql("SELECT outbox.retry_dead_letter($id)");
	return;
}

sub discard_one
{
	my ($id, $n) = split /\|/, random_parked() or return;
	try_sql("BEGIN; SELECT outbox.discard_dead_letter($id); INSERT INTO discarded VALUES ($n); COMMIT");
	return;
}

sub retry_all
{
	return sql(q(SELECT sum(outbox.retry_dead_letters(exchange, routing_key))
		FROM (SELECT DISTINCT exchange, routing_key FROM outbox.dead_letter) AS d));
}

# More than one window, each with messages that are refused, all under way together.
sub refuse_backlog
{
	sql('SELECT outbox.pause()');
	$node->wait_relay('paused');
	sql(q(DO $$ BEGIN
		FOR i IN 1 .. ) . BACKLOG / 100 . q( LOOP
			PERFORM say(-1, (ARRAY['gone.1', 'gone.2', 'steady'])[1 + n % 3]) FROM generate_series(1, 100) AS n;
			COMMIT;
		END LOOP;
	END $$));
	unbind_queue($_) for qw(gone.1 gone.2);
	sql('SELECT outbox.resume()');
	$node->wait_published;
	my $waiting = sql(q(SELECT count(*) FROM outbox.dead_letter WHERE routing_key IN ('gone.1', 'gone.2')));
	my $expected = sql(q(SELECT count(*) FROM said WHERE writer = -1 AND destination <> 'steady'));
	return is($waiting, $expected, 'a backlog of many windows is refused: all of it waits');
}

# ---- a round -------------------------------------------------------------------------------------

sub run_round
{
	my ($seed) = @_;
	srand $seed;
	(%count, %order) = ();
	sql('TRUNCATE said, discarded, stop');
	declare($_) for @queues;
	$broker->declare_exchange('gate', 'direct');
	bind_queue($_) for @vanishing;
	declare_exchange($_) for qw(exchange forbidden);
	$node->wait_relay([ 'idle', 'publishing' ]);
	refuse_backlog();

	start_dead_writers();
	for my $act (acts())
	{
		# A queue that is not there cannot be emptied or deleted, nor an exchange.
		eval { $act->(); 1 } or $@ =~ /NOT_FOUND/ or die "seed $seed: $@";
		start_dead_writers();
	}
	stop_writers();
	repair();
	audit($seed);
	return;
}

sub stop_writers
{
	sql('INSERT INTO stop DEFAULT VALUES');
	$_->finish for @writers;
	@writers = ();
	return;
}

# Whatever the adversary left.
sub repair
{
	permit('.*');
	bind_queue($_) for @vanishing;
	declare_exchange($_) for qw(exchange forbidden);
	retry_all();
	poll_until('everything to be accepted', sub {
		drain($_) for @queues;
		return sql('SELECT count(*) FROM outbox.dead_letter') == 0 && $node->pending == 0;
	});
	$node->wait_published;
	drain($_) for @queues;
	poll_until('every destination to be open', sub {
		return sql(q(SELECT count(*) FROM outbox.destination WHERE state <> 'open' OR parked <> 0)) == 0 });
	return;
}

# ---- the audit -----------------------------------------------------------------------------------

sub audit
{
	my ($seed) = @_;
	my %said = map { my ($n, @rest) = split /\|/; $n => \@rest } split /\n/, sql('SELECT * FROM said');
	my %discarded = map { $_ => 1 } split /\n/, sql('SELECT n FROM discarded');
	my (%wrong, $duplicates, $inversions);
	for my $n (sort { $a <=> $b } keys %said)
	{
		push @{ $wrong{lost} }, "$n to $said{$n}[1]" unless $count{ $said{$n}[1] }{$n} || $discarded{$n};
	}
	for my $queue (@queues)
	{
		for my $n (keys %{ $count{$queue} })
		{
			push @{ $wrong{'rolled back, or of another queue'} }, "$n in $queue"
			  unless $said{$n} && $said{$n}[1] eq $queue;
			$duplicates += $count{$queue}{$n} - 1;
		}
		for my $pair (out_of_order($queue, \%said))
		{
			$inversions++;
			push @{ $wrong{'out of order'} }, "$pair in $queue" if $strict{$queue};
		}
	}
	ok(!%wrong, "seed $seed: each of ${\ scalar keys %said } messages was received or discarded, in order");
	note(sprintf '%d came again, %d passed one that was refused, %d discarded', $duplicates // 0, $inversions // 0,
		scalar keys %discarded);
	for my $what (sort keys %wrong)
	{
		my @some = grep { defined } @{ $wrong{$what} }[ 0 .. 9 ];
		diag(sprintf '%s: %d, as %s', $what, scalar @{ $wrong{$what} }, join '; ', @some);
	}
	diag("again: OUTBOX_TEST_SEED=$seed make test T=t/083_parking_audit.pl") if %wrong;
	is(sql('SELECT count(*) FROM outbox.parked'), 0, "seed $seed: nothing is left behind");
	return;
}

# Invalidations are one message for many.
sub out_of_order
{
	my ($queue, $said) = @_;
	my (%last, @pairs);
	return if $queue eq 'cache-invalidation';
	for my $n (@{ $order{$queue} })
	{
		my $writer = $said->{$n} ? $said->{$n}[0] : next;
		push @pairs, "$n behind $last{$writer}" if $n < ($last{$writer} // 0);
		$last{$writer} = $n if $n > ($last{$writer} // 0);
	}
	return @pairs;
}
