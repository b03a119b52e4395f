# Steps.pm
#    What the demo shows, in the order in which it shows it. Each step tells, does, measures, and
#    checks what it told.

package Demo::Steps;

use strict;
use warnings;
use utf8;
use Demo::Show;
use Outbox::Wait;

use constant OUTAGE_EDITS   => 20;
use constant MEASURED_EDITS => 200;
use constant COMMENTS       => 100_000;
use constant LONGEST_EDIT_S => 2;         # what waits for a server that is away waits far longer
use constant DRAIN_LIMIT_S  => 120;
use constant LAG_EVERY_S    => 1;

# All steps on a stage that is up. Returns the figures for the summary: pairs of what and value.
sub show
{
	my ($stage) = @_;
	my $post = pick_post($stage);
	show_read($stage, $post);
	my @figures = show_edit($stage, $post);
	show_rollback($stage, $post);
	show_other_writers($stage);
	show_emails($stage, $post);
	my $normal = show_normal_edits($stage);
	push @figures, show_redis_away($stage, $normal);
	push @figures, show_broker_away($stage, $normal);
	push @figures, show_delays($stage);
	push @figures, show_big_update($stage);
	return @figures;
}

# A post whose text goes beyond ASCII.
sub pick_post
{
	my ($stage) = @_;
	my $row = $stage->database->row(
		q(SELECT id, author_id, title FROM blogs
		ORDER BY octet_length(title) = length(title), octet_length(body) = length(body),
		    md5(id::text) LIMIT 1)
	);
	return { %$row, keys => [ "blog:$row->{id}", "author:$row->{author_id}:blogs", 'blogs:all' ] };
}

# ---- a read, an edit ----------------------------------------------------------------------------

sub show_read
{
	my ($stage, $post) = @_;
	heading('1. A read fills the cache');
	tell(
		'The blog reads a post from PostgreSQL once and keeps a copy in Redis. The',
		'header X-Cache of its',
		"answer tells where the post came from. Post $post->{id} is “$post->{title}”.");
	my $first  = $stage->get("/blogs/$post->{id}");
	my $second = $stage->get("/blogs/$post->{id}");
	figure("GET /blogs/$post->{id}", milliseconds($first->{s}), "X-Cache: $first->{from}");
	figure(
		"GET /blogs/$post->{id} once more",
		milliseconds($second->{s}),
		"X-Cache: $second->{from}");
	$stage->get($_) for '/blogs', "/authors/$post->{author_id}/blogs";
	check(
		'the first read came from the database, the second from the cache',
		$first->{from} eq 'miss' && $second->{from} eq 'hit',
		"$first->{from}, $second->{from}");
	check("Redis now holds @{ $post->{keys} }", $stage->redis->exists(@{ $post->{keys} }) == 3);
}

sub show_edit
{
	my ($stage, $post) = @_;
	heading('2. An edit deletes the copies');
	tell(
		'The service only does an UPDATE. A trigger notes which keys are old, in the',
		'same transaction; after',
		'the commit the relay sends them to RabbitMQ, and the worker deletes them from Redis.');
	my $title  = "$post->{title} (edited)";
	my $edit   = $stage->put("/blogs/$post->{id}", { title => $title });
	my $gone_s = $stage->seconds_until_gone(now_s(), @{ $post->{keys} });
	my $next   = $stage->get("/blogs/$post->{id}");
	figure("PUT /blogs/$post->{id}",                         milliseconds($edit->{s}));
	figure('from the answer until all three keys were gone', milliseconds($gone_s));
	figure("GET /blogs/$post->{id}", milliseconds($next->{s}), "X-Cache: $next->{from}");
	check(
		'the next read came from the database and has the new title',
		$next->{from} eq 'miss' && $next->{data}{title} eq $title,
		"$next->{from}, $next->{data}{title}");
	$post->{title} = $title;
	return ();
}

sub show_rollback
{
	my ($stage, $post) = @_;
	heading('3. A transaction that is rolled back deletes nothing');
	my $id  = $post->{id};
	my $key = "blog:$id";
	tell(
		"BEGIN; UPDATE blogs SET title = 'never' WHERE id = $id; ROLLBACK;",
		'Then another post is edited: what was sent before it would have arrived before it.');
	my $other =
	  $stage->database->query("SELECT min(id) FROM blogs WHERE author_id <> $post->{author_id}");
	$stage->get("/blogs/$_") for $id, $other;
	$stage->database->query("BEGIN; UPDATE blogs SET title = 'never' WHERE id = $id; ROLLBACK");
	my $edited_s = now_s();
	$stage->put("/blogs/$other", { title => 'Edited after the rollback' });
	$stage->seconds_until_gone($edited_s, "blog:$other");
	my $next = $stage->get("/blogs/$id");
	check(
		"blog:$other is gone, $key is still there",
		$next->{from} eq 'hit' && $next->{data}{title} eq $post->{title},
		"X-Cache: $next->{from}");
}

# Writers that no controller knows of: psql, and another table.
sub show_other_writers
{
	my ($stage) = @_;
	heading('4. Whoever writes, the trigger sees it');
	my ($author, $posts) = split /\t/,
	  $stage->database->query(
		'SELECT author_id, count(*) FROM blogs GROUP BY 1 ORDER BY abs(count(*) - 40), 1 LIMIT 1');
	my @ids = split /\n/,
	  $stage->database->query("SELECT id FROM blogs WHERE author_id = $author ORDER BY id");
	my @keys = map { "blog:$_" } @ids;
	tell(
		"Somebody renames author $author in psql. The name stands in the copies of all",
		"$posts posts; a trigger",
		'of five lines in schema.sql knows that.');
	$stage->get("/blogs/$_") for @ids;
	check("all $posts posts are cached", $stage->redis->exists(@keys) == @ids);
	$stage->database->query("UPDATE authors SET name = name || ' the Second' WHERE id = $author");
	my $gone_s = $stage->seconds_until_gone(now_s(), @keys);
	figure("from psql's end until all $posts copies were gone", milliseconds($gone_s));
	my $next = $stage->get("/blogs/$ids[0]");
	check(
		'the next read has the new name',
		$next->{data}{author}{name} =~ /the Second$/,
		$next->{data}{author}{name});
}

sub show_emails
{
	my ($stage, $post) = @_;
	heading('5. Messages of your own, as part of the transaction');
	tell(
		'emails.js is ten lines of Node.js: it declares the queue "emails" and prints what',
		'arrives. One transaction',
		'publishes and is rolled back; the next one commits.');
	my $emails  = $stage->start_emails;
	my $publish = sub {
		my ($to, $end) = @_;
		$stage->database->query(
			"BEGIN;
			UPDATE blogs SET updated_at = now() WHERE id = $post->{id};
			SELECT outbox.publish('emails',
			    jsonb_build_object('to', '$to', 'subject', 'Your post was edited: ' || title))
			  FROM blogs WHERE id = $post->{id};
			$end");
	};
	$publish->('nobody@example.org', 'ROLLBACK');
	$publish->('author@example.org', 'COMMIT');
	my $log    = $stage->wait_log($emails, qr/^email to author.*\n/m);
	my @emails = $log =~ /^(email to .*)\n/mg;
	tell($emails[0]);
	check(
		'the message of the committed transaction arrived, and only that one',
		@emails == 1
		  && index($emails[0], "author\@example.org: Your post was edited: $post->{title}") > 0,
		"@emails");
	$emails->stop;
}

# ---- servers that are away ----------------------------------------------------------------------

# The time that an edit takes while all is well, and posts to edit in the steps that follow.
sub show_normal_edits
{
	my ($stage) = @_;
	heading('6. For comparison: ' . OUTAGE_EDITS . ' edits while everything runs');
	my @ids = split /\n/,
	  $stage->database->query(
		'SELECT id FROM blogs ORDER BY md5(id::text) DESC LIMIT ' . OUTAGE_EDITS);
	my $normal = { ids => \@ids, keys => [ map { "blog:$_" } @ids ] };
	$stage->get("/blogs/$_") for @ids;
	my $start_s = now_s();
	$normal->{times} = edit_all($stage, $normal, 'edited');
	$stage->seconds_until_gone($start_s, @{ $normal->{keys} });
	show_times(normal => $normal->{times});
	return $normal;
}

# Edits each of the posts through the service; after each calls $after with the number so far.
# Returns the seconds each took.
sub edit_all
{
	my ($stage, $posts, $mark, $after) = @_;
	my @times;
	for my $id (@{ $posts->{ids} })
	{
		push @times, $stage->put("/blogs/$id", { title => "Post $id, $mark" })->{s};
		$after->(scalar @times) if $after;
	}
	return \@times;
}

sub show_times
{
	my (@sets) = @_;
	my @rows = ([ 'edits', 'median', 'slowest' ]);
	while (my ($name, $times) = splice @sets, 0, 2)
	{
		push @rows,
		  [ $name, milliseconds(median(@$times)), milliseconds((sort { $b <=> $a } @$times)[0]) ];
	}
	table(@rows);
}

sub check_no_wait
{
	my ($times)   = @_;
	my ($slowest) = sort { $b <=> $a } @$times;
	check(
		'all ' . @$times . ' edits were answered without waiting',
		$slowest < LONGEST_EDIT_S,
		seconds($slowest));
}

sub check_fresh
{
	my ($stage, $posts, $mark) = @_;
	my @stale =
	  grep { $stage->get("/blogs/$_")->{data}{title} ne "Post $_, $mark" } @{ $posts->{ids} };
	check('all ' . @{ $posts->{ids} } . ' posts are read as they were edited',
		!@stale, "stale: @stale");
}

sub fill_cache
{
	my ($stage, $posts) = @_;
	$stage->get("/blogs/$_") for @{ $posts->{ids} };
	my $cached = $stage->redis->exists(@{ $posts->{keys} });
	check("$cached posts are cached", $cached == @{ $posts->{ids} });
}

sub show_redis_away
{
	my ($stage, $normal) = @_;
	heading('7. Redis is away');
	tell(
		'The posts are read, so that copies of them are in Redis. Redis is stopped; it',
		'has written the copies to',
		'its disk and will come back with them. Now the posts are edited.');
	fill_cache($stage, $normal);
	$stage->redis->stop;
	my $times = edit_all($stage, $normal, 'while Redis was away');
	show_times(normal => $normal->{times}, 'Redis away' => $times);
	check_no_wait($times);
	my $read = $stage->get("/blogs/$normal->{ids}[0]");
	check(
		'the blog answers from the database meanwhile',
		$read->{from} eq 'off',
		"X-Cache: $read->{from}");
	figure('messages that wait in RabbitMQ', waiting_messages($stage));

	wait_with_words('starting Redis again', sub { $stage->redis->start });
	my $start_s = now_s();
	my $old     = $stage->redis->exists(@{ $normal->{keys} });
	figure('old copies found on the first look', $old) if $old;
	my $gone_s = $stage->seconds_until_gone($start_s, @{ $normal->{keys} });
	figure('from the first answer of Redis until all copies were gone', seconds($gone_s));

	# The service, too, has to notice that Redis is back.
	poll_until('the blog to use Redis again',
		sub { $stage->get("/blogs/$normal->{ids}[0]")->{from} eq 'hit' });
	check_fresh($stage, $normal, 'while Redis was away');
	return ('Redis back until the copies of ' . OUTAGE_EDITS . ' edits are gone', seconds($gone_s));
}

# Of the invalidation queue: those that nobody has, and those that the worker holds.
sub waiting_messages
{
	my ($stage) = @_;
	my ($count) =
	  $stage->broker->ctl('list_queues', 'name', 'messages') =~ /^cache-invalidation\s+(\d+)/m;
	check('messages wait', $count > 0, $count);
	return $count;
}

sub show_broker_away
{
	my ($stage, $normal) = @_;
	heading('8. RabbitMQ is away');
	tell(
		'The copies are in Redis again. RabbitMQ is stopped, and the posts are edited.',
		'What cannot be sent waits',
		'in the outbox, and the view outbox.lag tells how much and since when.');
	fill_cache($stage, $normal);
	wait_with_words('stopping RabbitMQ', sub { $stage->broker->stop });
	my $times = edit_all($stage, $normal, 'while RabbitMQ was away', lag_printer($stage));
	show_times(normal => $normal->{times}, 'RabbitMQ away' => $times);
	check_no_wait($times);
	my $lag = lag($stage);
	check(
		"outbox.lag counts the $lag->{pending_events} edits",
		$lag->{pending_events} == OUTAGE_EDITS,
		$lag->{pending_events});
	check('the old copies are still served',
		$stage->redis->exists(@{ $normal->{keys} }) == OUTAGE_EDITS);

	tell('RabbitMQ is started again. Nobody tells the relay; it looks.');
	my $back_s = drain($stage);
	my $gone_s = $stage->seconds_until_gone($back_s, @{ $normal->{keys} });
	figure('from the first answer of RabbitMQ until all copies were gone', seconds($gone_s));
	check('outbox.lag is back to 0', lag($stage)->{pending_events} == 0);
	check_fresh($stage, $normal, 'while RabbitMQ was away');
	return ('RabbitMQ back until the copies of ' . OUTAGE_EDITS . ' edits are gone',
		seconds($gone_s));
}

sub lag
{
	my ($stage) = @_;
	return $stage->database->row(
		'SELECT pending_events, extract(epoch FROM lag)::float AS lag_s, relay_state
		   FROM outbox.lag'
	);
}

sub print_lag
{
	my ($stage, $when) = @_;
	my $lag = lag($stage);
	printf "    %-22s pending_events %3d   lag %6.1f s   relay_state %s\n", $when,
	  @$lag{qw(pending_events lag_s relay_state)};
	return $lag;
}

# Prints the lag after a quarter of the edits, and each further one.
sub lag_printer
{
	my ($stage) = @_;
	return sub {
		my ($edits) = @_;
		print_lag($stage, "after $edits edits") if $edits % (OUTAGE_EDITS / 4) == 0;
	};
}

# Starts RabbitMQ and prints the lag until nothing is pending; when RabbitMQ first answered.
sub drain
{
	my ($stage) = @_;
	my $start_s = now_s();
	my $answered_s;
	my $next_s = 0;
	$stage->broker->launch;
	while (1)
	{
		$answered_s //= now_s() if eval { $stage->broker->reconnect };
		my $waited_s = now_s() - $start_s;
		if ($waited_s >= $next_s)
		{
			print_lag($stage, sprintf '%.0f s after the start', $waited_s);
			$next_s = $waited_s + LAG_EVERY_S;
		}
		last if $answered_s && lag($stage)->{pending_events} == 0;
		fail('What was pending is not sent ' . DRAIN_LIMIT_S . ' s after RabbitMQ was started')
		  if $waited_s > DRAIN_LIMIT_S;
		Time::HiRes::sleep(0.02);
	}
	print_lag($stage, 'at last');
	return $answered_s;
}

# ---- figures ------------------------------------------------------------------------------------

sub show_delays
{
	my ($stage) = @_;
	heading('9. How long a copy lives on after the commit');
	tell(
		MEASURED_EDITS
		  . ' single edits, one after the other. The clock starts when PostgreSQL has',
		'acknowledged the',
		'commit, and stops when Redis has deleted the key.');
	my $result = wait_with_words('measuring', sub { $stage->measure('edits', MEASURED_EDITS) });
	figure('UPDATE and commit, median',       sprintf('%.2f ms', $result->{commit_median_ms}));
	figure('from commit to key gone, median', sprintf('%.2f ms', $result->{gone_median_ms}));
	figure('99 of 100 within',                sprintf('%.2f ms', $result->{gone_p99_ms}));
	check('every key was deleted', $result->{edits} == MEASURED_EDITS);
	return ('commit to key gone, median of ' . MEASURED_EDITS . ' edits',
		sprintf('%.2f ms', $result->{gone_median_ms}));
}

sub show_big_update
{
	my ($stage) = @_;
	my $count = count_words(COMMENTS);
	heading("10. One UPDATE of $count rows");
	tell(
		"A table of $count comments, each cached under a key of its own.",
		'One UPDATE approves them all.'
	);
	wait_with_words(
		"writing $count comments",
		sub {
			$stage->database->query(sprintf <<'SQL', COMMENTS);
			CREATE TABLE comments (id bigint PRIMARY KEY, blog_id bigint NOT NULL,
			    words text NOT NULL, approved boolean NOT NULL DEFAULT false);
			INSERT INTO comments
			    SELECT i, 1 + i %% 1000, 'comment ' || i FROM generate_series(1, %d) i;
			SELECT outbox.watch('comments', 'comment:{id}');
SQL
		});
	my $result = wait_with_words('measuring', sub { $stage->measure('update', COMMENTS) });
	figure("UPDATE and commit of $count rows",            seconds($result->{update_s}));
	figure("from commit until all $count keys were gone", seconds($result->{gone_s}));
	check(
		"none of the $count keys is left",
		$result->{rows} == COMMENTS && $result->{left} == 0,
		$result->{left});
	return ("$count keys of one UPDATE gone, after its commit", seconds($result->{gone_s}));
}

1;
