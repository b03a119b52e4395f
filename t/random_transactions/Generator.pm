# Generator.pm
#    Random transactions as SQL, each together with its model. A seed tells all of them.
#
# Steps are drawn by weight. What a step does to the database it does to the model in the same
# function, so that the two cannot drift apart. Statements that fail are among them: in a savepoint
# they cost that savepoint, outside they doom the transaction. plpgsql blocks nest, with loops of
# EXCEPTION blocks; transactions end in every way there is, and prepared ones may end later.

package Generator;

use strict;
use warnings;
use Model;

use constant {
	IDS             => 24,    # of the watched table's rows
	KEYS            => 30,    # few, so that duplicates happen
	MAX_STEPS       => 14,
	MAX_DEPTH       => 12,    # of savepoints
	MAX_BLOCK_DEPTH => 3,     # of plpgsql blocks in each other
	MAX_BULK        => 60,
	MAX_LOOP        => 40,
	MAX_LATER       => 4,     # prepared transactions on their way at once
	GIDS            => 'random',
};

my @limits = (16, 16, 17, 25, 60, 10_000);
my @savepoints = qw(s u v);

# The schema: a watched table, a table with a deferred trigger, and which transaction is which.
sub schema
{
	return q(
CREATE TABLE t (id int PRIMARY KEY, a text, b int NOT NULL);
SELECT outbox.watch('t', 't:all', 't:{id}', 'a:{a}');
CREATE TABLE log (number int, xid xid8);
CREATE TABLE later (key text, fails boolean);
CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM outbox.invalidate(NEW.key);
	IF NEW.fails THEN
		RAISE EXCEPTION 'fails at commit';
	END IF;
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON later DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION later();
);
}

sub new
{
	my ($class, $seed) = @_;
	srand($seed);
	return bless { number => 0, values => 0, rows => {}, later => [], done => [], sql => '' }, $class;
}

# SQL of all transactions so far, and the models of those that ended. (The transaction that is being
# written keeps its own part of the SQL, to be shown if it went wrong.)
sub sql    { return $_[0]{sql} }
sub models { return @{ $_[0]{done} } }
sub rows   { return $_[0]{rows} }

sub below  { my ($count) = @_; return int(rand($count)) }
sub chance { my ($percent) = @_; return rand(100) < $percent }
sub one_of { return $_[ below(scalar @_) ] }

# A name that was not there before.
sub fresh { my ($self) = @_; return ++$self->{values} }

sub say_sql
{
	my ($self, $line) = @_;
	$self->{sql} .= "$line\n";
	$self->{model}{sql} .= "$line\n" if $self->{model};
	return;
}

# ---- transactions --------------------------------------------------------------------------------

sub generate
{
	my ($self, $count) = @_;
	while ($self->{number} < $count)
	{
		chance(8) ? $self->block_with_commits : $self->transaction('BEGIN;');
		$self->end_later;
	}
	$self->end_later while @{ $self->{later} };
	return;
}

sub start_model
{
	my ($self, $limit) = @_;
	$self->{model} = Model->new(number => ++$self->{number}, limit => $limit, rows => $self->{rows});
	return $self->{model};
}

sub log_line
{
	my ($model) = @_;
	return "INSERT INTO log VALUES ($model->{number}, pg_current_xact_id());";
}

sub transaction
{
	my ($self, $begin) = @_;
	my $limit = one_of(@limits);
	my $model = $self->start_model($limit);
	$self->say_sql($begin) if $begin;
	$self->say_sql("SET LOCAL outbox.max_pending_keys = $limit;");
	$self->say_sql(log_line($model));
	$self->step for 1 .. 1 + below(MAX_STEPS);
	$self->end_transaction;
	return;
}

sub settle
{
	my ($self, $model, $committed) = @_;
	$model->{committed} = $committed;
	$self->{rows} = $model->{rows} if $committed;
	push @{ $self->{done} }, $model;
	return;
}

sub end_transaction
{
	my ($self) = @_;
	my $model = $self->{model};
	# What was recorded before stays; a deferred trigger could record nothing any more.
	$self->say_sql('SET TRANSACTION READ ONLY;')
	  if chance(5) && !$model->depth && !@{ $model->{deferred} };
	return $self->end_prepared if chance(25);

	my $commits = chance(80);
	# Nothing is chained to a commit that fails.
	my $chains = chance(25) && !grep { $_->{fails} } @{ $model->{deferred} };
	$self->say_sql(($commits ? 'COMMIT' : 'ROLLBACK') . ($chains ? ' AND CHAIN;' : ';'));
	$self->settle($model, $commits && $model->commit);
	# It would be READ ONLY as the one before was.
	$self->transaction('SET TRANSACTION READ WRITE;') if $chains;
	return;
}

sub end_prepared
{
	my ($self) = @_;
	my $model = $self->{model};
	my $gid = join '_', GIDS, $model->{number};
	my $later = !$model->{touched} && @{ $self->{later} } < MAX_LATER && chance(50);
	$self->say_sql("PREPARE TRANSACTION '$gid';");
	return $self->settle($model, 0) unless $model->commit;
	my $end = { gid => $gid, model => $model, commits => chance(70) };
	return push @{ $self->{later} }, $end if $later;
	$self->finish_prepared($end);
	return;
}

sub finish_prepared
{
	my ($self, $end) = @_;
	$self->{model} = $end->{model};
	$self->say_sql(($end->{commits} ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$end->{gid}';");
	# One that ends later has not touched the table.
	$end->{model}{rows} = $self->{rows} unless $end->{model}{touched};
	$self->settle($end->{model}, $end->{commits});
	return;
}

sub end_later
{
	my ($self) = @_;
	return unless @{ $self->{later} } && chance(50);
	$self->finish_prepared(splice(@{ $self->{later} }, below(scalar @{ $self->{later} }), 1));
	return;
}

# Procedures and anonymous blocks may commit, outside of EXCEPTION blocks.
sub block_with_commits
{
	my ($self) = @_;
	my @lines;
	my @models;
	for (0 .. 1 + below(4))
	{
		# The session's limit: SET LOCAL ends with each of them.
		my $model = $self->start_model(10_000);
		push @models, $model;
		push @lines, log_line($model), map { $self->plpgsql_step(1) } 0 .. below(4);
		my $commits = chance(75) && $model->commit;
		push @lines, $commits ? 'COMMIT;' : 'ROLLBACK;';
		$self->settle($model, $commits);
	}
	my $block = join "\n", 'DO $$ BEGIN', @lines, 'END $$;';
	$_->{sql} = "$block\n" for @models;
	$self->{sql} .= "$block\n";
	return;
}

# ---- steps ---------------------------------------------------------------------------------------

my @steps = (
	[ 6, 'plain' ],  [ 6, 'savepoint' ], [ 4, 'rollback_to' ], [ 3, 'release' ],
	[ 2, 'bulk' ],   [ 4, 'block' ],     [ 1, 'failure' ],     [ 1, 'deferred' ],
	[ 1, 'immediate' ], [ 1, 'new_caches' ]);
my @wheel = map { ($_->[1]) x $_->[0] } @steps;

sub step
{
	my ($self) = @_;
	my $name = one_of(@wheel);
	# A doomed transaction only needs to be seen to go on failing.
	return $self->say_sql("SELECT outbox.invalidate('doomed');") if $self->{model}{doomed};
	my $method = $self->can("step_$name");
	$self->$method;
	return;
}

sub step_plain { my ($self) = @_; return $self->say_sql($self->plain('SELECT')) }

# A statement that may stand in SQL (SELECT) and in plpgsql (PERFORM).
sub plain
{
	my ($self, $select) = @_;
	my $kind = below(10);
	return $kind < 3 ? $self->keys_by_hand($select)
	  : $kind < 4    ? $self->pattern($select)
	  : $kind < 6    ? $self->message($select)
	  :                $self->row_change;
}

sub keys_by_hand
{
	my ($self, $select) = @_;
	my @keys = map { 'k:' . below(KEYS) } 0 .. below(5);
	$self->{model}->record('key', @keys);
	return "$select outbox.invalidate(" . join(', ', map { "'$_'" } @keys) . ');';
}

sub pattern
{
	my ($self, $select) = @_;
	my $pattern = 'k:' . below(5) . '*';
	$self->{model}->record('pattern', $pattern);
	return "$select outbox.invalidate_pattern('$pattern');";
}

sub message
{
	my ($self, $select) = @_;
	my $name = 'm' . $self->fresh;
	$self->{model}->record('message', $name);
	return "$select " . one_of(
		"outbox.publish('q', '\"$name\"');",
		"outbox.publish_to('x', 'r', '\"$name\"', '{\"a\": 1}');",
		"outbox.publish_bytes('x', 'r', '$name', 'text/plain');");
}

sub quoted { my ($value) = @_; return defined $value ? "'$value'" : 'NULL' }

sub random_value { return one_of(undef, map { "v$_" } 1 .. 6) }

sub row_change
{
	my ($self) = @_;
	my $model = $self->{model};
	my $rows = $model->{rows};
	my ($id, $value) = (1 + below(IDS), random_value());
	my $row = $rows->{$id};
	my $kind = below(6);
	# Also where no row is there: the table is locked.
	$model->{touched} = 1;

	if ($kind == 0)
	{
		$model->change($id, undef, undef) if $row;
		return "DELETE FROM t WHERE id = $id;";
	}
	if ($kind == 1)
	{
		$model->change($id, $id, [ $value, $row->[1] ]) if $row;
		return "UPDATE t SET a = ${\ quoted($value) } WHERE id = $id;";
	}
	if ($kind == 2)
	{
		my $last = $id + below(IDS);
		$model->change($_, $_, [ $rows->{$_}[0], $rows->{$_}[1] + 1 ])
		  for grep { $_ >= $id && $_ <= $last } sort { $a <=> $b } keys %$rows;
		return "UPDATE t SET b = b + 1 WHERE id BETWEEN $id AND $last;";
	}
	if ($kind == 3)
	{
		my ($free) = grep { !$rows->{$_} } 1 .. IDS;
		return "UPDATE t SET a = a, b = b WHERE id = $id;" unless $row && $free;
		$model->change($id, $free, $row);
		return "UPDATE t SET id = $free WHERE id = $id;";
	}
	$model->change($row ? $id : undef, $id, [ $value, $row ? $row->[1] : 0 ]);
	return "INSERT INTO t VALUES ($id, ${\ quoted($value) }, 0) "
	  . 'ON CONFLICT (id) DO UPDATE SET a = excluded.a;';
}

# More at once than a small limit takes.
sub step_bulk
{
	my ($self) = @_;
	my $from = $self->fresh;
	my $to = $from + below(MAX_BULK);
	$self->{model}->record('key', map { "bulk:$_" } $from .. $to);
	$self->say_sql("SELECT outbox.invalidate('bulk:' || n) FROM generate_series($from, $to) AS n;");
	return;
}

sub step_deferred
{
	my ($self) = @_;
	my $key = 'later:' . $self->fresh;
	my $fails = chance(10) ? 1 : 0;
	$self->{model}->defer($key, $fails);
	$self->say_sql("INSERT INTO later VALUES ('$key', ${\ ($fails ? 'true' : 'false') });");
	return;
}

# Fires what was deferred until now; what is deferred afterwards fires at the end of its statement.
sub step_immediate
{
	my ($self) = @_;
	my $model = $self->{model};
	$self->say_sql('SET CONSTRAINTS ALL IMMEDIATE;');
	return $self->recover unless $model->fire_deferred;
	$self->say_sql('SET CONSTRAINTS ALL DEFERRED;');
	return;
}

# What the extension keeps of a table goes stale in the middle of a transaction.
sub step_new_caches
{
	my ($self) = @_;
	$self->{model}{touched} = 1;
	$self->say_sql(one_of(
		"ALTER TABLE t SET (autovacuum_vacuum_threshold = ${\ $self->fresh });",
		'ALTER TABLE outbox.event_1 SET (autovacuum_enabled = off);',
		"SELECT outbox.watch('t', 't:all', 't:{id}', 'a:{a}');"));
	return;
}

# ---- savepoints ----------------------------------------------------------------------------------

sub step_savepoint
{
	my ($self) = @_;
	return if $self->{model}->depth >= MAX_DEPTH;
	my $name = one_of(@savepoints);
	$self->{model}->begin($name);
	$self->say_sql("SAVEPOINT $name;");
	return;
}

# A name that is there; the innermost of that name is meant.
sub some_savepoint
{
	my ($self) = @_;
	return one_of(map { $_->{name} } @{ $self->{model}{frames} });
}

sub step_rollback_to
{
	my ($self) = @_;
	my $model = $self->{model};
	return unless $model->depth;
	my $name = $self->some_savepoint;
	$model->rollback_to($model->find($name));
	$self->say_sql("ROLLBACK TO SAVEPOINT $name;");
	return;
}

sub step_release
{
	my ($self) = @_;
	my $model = $self->{model};
	return unless $model->depth;
	my $name = $self->some_savepoint;
	$model->release($model->find($name));
	$self->say_sql("RELEASE SAVEPOINT $name;");
	return;
}

# After an error: back to a savepoint, or nowhere.
sub recover
{
	my ($self) = @_;
	$self->{model}{doomed} = 1 unless $self->{model}->depth;
	$self->step_rollback_to;
	return;
}

sub step_failure
{
	my ($self) = @_;
	# Without a savepoint that is the transaction's end: not too often.
	return if !$self->{model}->depth && chance(60);
	my $count = 2 + below(40);
	$self->say_sql(one_of(
		'SELECT 1 / 0;',
		"SELECT outbox.invalidate('');",
		'INSERT INTO t SELECT 1, NULL, n FROM generate_series(1, 2) AS n;',
		"SELECT outbox.invalidate('lost:' || n), 1 / ($count - n) FROM generate_series(1, $count) n;",
		"SELECT outbox.publish('q', '\"lost\"'), 1 / ($count - n) FROM generate_series(1, $count) n;"));
	$self->recover;
	return;
}

# ---- plpgsql -------------------------------------------------------------------------------------

sub step_block
{
	my ($self) = @_;
	$self->say_sql(join "\n", 'DO $$ BEGIN', (map { $self->plpgsql_step(1) } 0 .. below(4)), 'END $$;');
	return;
}

sub plpgsql_step
{
	my ($self, $depth) = @_;
	my $kind = below(10);
	return $self->plain('PERFORM') if $kind < 6 || $depth > MAX_BLOCK_DEPTH;
	return $self->loop if $kind < 8;
	return $self->exception_block($depth);
}

sub exception_block
{
	my ($self, $depth) = @_;
	my $model = $self->{model};
	my $raises = chance(50);
	my $level = $model->depth;
	$model->begin('block');
	my @inside = map { $self->plpgsql_step($depth + 1) } 0 .. below(4);
	$model->rollback_to($level) if $raises;
	$model->release($level);
	# What the handler does is no part of the block that failed.
	my @handler = $raises ? map { $self->plpgsql_step($depth + 1) } 0 .. below(2) : 'NULL;';
	return join "\n", 'BEGIN', @inside, $raises ? q(RAISE EXCEPTION 'x';) : (),
	  'EXCEPTION WHEN raise_exception THEN', @handler, 'END;';
}

# A loop of EXCEPTION blocks, some of which fail, and whose handler records too.
sub loop
{
	my ($self) = @_;
	my $model = $self->{model};
	my $from = $self->fresh;
	my $to = $from + below(MAX_LOOP);
	my $every = 2 + below(5);
	$self->{values} = $to;
	for my $i ($from .. $to)
	{
		my $level = $model->depth;
		$model->begin('block');
		$model->record('key', "l:$i", 'k:' . $i % KEYS);
		$model->record('message', "l$i") if $i % 7 == 0;
		$model->rollback_to($level) if $i % $every == 0;
		$model->release($level);
		$model->record('key', "h:$i") if $i % $every == 0;
	}
	return <<"SQL";
FOR i IN $from .. $to LOOP
	BEGIN
		PERFORM outbox.invalidate('l:' || i, 'k:' || i % ${\ KEYS });
		IF i % 7 = 0 THEN PERFORM outbox.publish('q', to_jsonb('l' || i)); END IF;
		IF i % $every = 0 THEN RAISE EXCEPTION 'x'; END IF;
	EXCEPTION WHEN raise_exception THEN
		PERFORM outbox.invalidate('h:' || i);
	END;
END LOOP;
SQL
}

1;
