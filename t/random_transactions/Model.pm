# Model.pm
#    What one transaction should record, said by someone who knows nothing of journals or spills.
#
# Everything recorded goes to the end of one list. A savepoint remembers how long the list was, what
# the watched table held, and which deferred triggers were waiting; rolling back to it restores
# them. What is left at commit is what must be in the outbox: keys and patterns as sets, messages
# one by one and in order. A key may be recorded again once the transaction's limit was reached, but
# never twice in one row of the outbox.

package Model;

use strict;
use warnings;

# limit: outbox.max_pending_keys; rows: what the watched table holds, id -> [a, b].
sub new
{
	my ($class, %arg) = @_;
	return bless {
		number   => $arg{number},
		limit    => $arg{limit},
		rows     => { %{ $arg{rows} } },
		entries  => [],
		deferred => [],
		frames   => [],
		calls    => 0,       # entries that were ever there: no spill while below the limit
		touched  => 0,       # holds locks that others may wait for
		doomed   => 0,       # failed as a whole
		sql      => '',
	}, $class;
}

# ---- recording -----------------------------------------------------------------------------------

sub keys_of
{
	my ($id, $row) = @_;
	return ('t:all', "t:$id", defined $row->[0] ? "a:$row->[0]" : ());
}

sub record
{
	my ($self, $kind, @values) = @_;
	push @{ $self->{entries} }, map { [ $kind, $_ ] } @values;
	$self->{calls} += @values;
	return;
}

# An INSERT, UPDATE or DELETE: undef where there is no old or new row. The same row is silent.
sub change
{
	my ($self, $old_id, $new_id, $new) = @_;
	my $old = defined $old_id ? $self->{rows}{$old_id} : undef;
	$self->{touched} = 1;
	return if $old && $new && $old_id == $new_id && same($old, $new);
	$self->record('key', keys_of($old_id, $old)) if $old;
	delete $self->{rows}{$old_id} if $old;
	$self->record('key', keys_of($new_id, $new)) if $new;
	$self->{rows}{$new_id} = $new if $new;
	return;
}

sub same
{
	my ($old, $new) = @_;
	return ($old->[0] // '(null)') eq ($new->[0] // '(null)') && $old->[1] == $new->[1];
}

# A deferred trigger will record this key, or fail, at commit.
sub defer
{
	my ($self, $key, $fails) = @_;
	push @{ $self->{deferred} }, { key => $key, fails => $fails };
	$self->{touched} = 1;
	return;
}

# false: one of them fails. Here and nowhere else: the statement that fires them fails with it.
sub fire_deferred
{
	my ($self) = @_;
	return 0 if grep { $_->{fails} } @{ $self->{deferred} };
	$self->record('key', map { $_->{key} } @{ $self->{deferred} });
	$self->{deferred} = [];
	return 1;
}

# ---- savepoints ----------------------------------------------------------------------------------

sub begin
{
	my ($self, $name) = @_;
	push @{ $self->{frames} }, {
		name     => $name,
		length   => scalar @{ $self->{entries} },
		rows     => { %{ $self->{rows} } },
		deferred => [ @{ $self->{deferred} } ],
	};
	return;
}

sub depth { return scalar @{ $_[0]{frames} } }

# Index of the innermost savepoint of this name.
sub find
{
	my ($self, $name) = @_;
	my $frames = $self->{frames};
	for my $index (reverse 0 .. $#$frames)
	{
		return $index if $frames->[$index]{name} eq $name;
	}
	die "no savepoint $name\n";
}

# Those within it end with it.
sub release
{
	my ($self, $index) = @_;
	splice @{ $self->{frames} }, $index;
	return;
}

# It stays, to be rolled back to again.
sub rollback_to
{
	my ($self, $index) = @_;
	my $frame = $self->{frames}[$index];
	splice @{ $self->{entries} }, $frame->{length};
	$self->{rows} = { %{ $frame->{rows} } };
	$self->{deferred} = [ @{ $frame->{deferred} } ];
	splice @{ $self->{frames} }, $index + 1;
	return;
}

# ---- the end -------------------------------------------------------------------------------------

# false: it fails at commit.
sub commit
{
	my ($self) = @_;
	$self->{frames} = [];
	$self->{doomed} = 1 unless $self->{doomed} || $self->fire_deferred;
	return !$self->{doomed};
}

sub values_of
{
	my ($self, $kind) = @_;
	return map { $_->[1] } grep { $_->[0] eq $kind } @{ $self->{entries} };
}

# What is wrong with the transaction's rows of the outbox, in words; nothing if they are right.
# Rows are hashes: keys, patterns (arrays or undef), message.
sub problems
{
	my ($self, @rows) = @_;
	my @problems = ($self->problems_of_set('key', map { $_->{keys} // [] } @rows),
		$self->problems_of_set('pattern', map { $_->{patterns} // [] } @rows));
	my $expected = join ' ', $self->values_of('message');
	my $recorded = join ' ', map { $_->{message} // () } @rows;
	push @problems, "messages: expected [$expected], recorded [$recorded]" if $expected ne $recorded;
	my $batches = grep { $_->{keys} || $_->{patterns} } @rows;
	push @problems, "$batches rows of keys, but nothing was to spill"
	  if $batches > 1 && $self->{calls} < $self->{limit};
	return @problems;
}

sub problems_of_set
{
	my ($self, $kind, @batches) = @_;
	my %expected = map { $_ => 1 } $self->values_of($kind);
	my %recorded;
	my @problems;
	for my $batch (@batches)
	{
		my %here;
		$here{$_}++, $recorded{$_}++ for @$batch;
		my @twice = sort grep { $here{$_} > 1 } keys %here;
		push @problems, "${kind}s twice in one row: @twice" if @twice;
	}
	my @missing = sort grep { !$recorded{$_} } keys %expected;
	my @foreign = sort grep { !$expected{$_} } keys %recorded;
	push @problems, "missing ${kind}s: @missing" if @missing;
	push @problems, "${kind}s of a part that was rolled back: @foreign" if @foreign;
	return @problems;
}

1;
