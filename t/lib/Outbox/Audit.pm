# Audit.pm
#    Loss audit: writers whose every transaction is known by name, and the comparison of what they
#    committed with what was delivered.
#
# A writer is a psql that commits, rolls back, and rolls back to savepoints. Each transaction has an
# id, which it writes into table audit and gives to outbox.publish and outbox.invalidate: so the table
# is the truth about what was committed, also where a crash left the writer without an answer. Its
# answers make three classes: ok, fail (rolled back), unknown.
#
#     my $audit = Outbox::Audit->new(node => $node, dir => $dir);
#     $audit->write(writers => 2, transactions => 500);      # goes on in the background
#     ... the fault ...
#     $audit->finish;
#     $audit->add_queue($broker);                            # or add_messages($fake->confirmed)
#     $audit->check('F2');
#
# Invariants: each committed id was delivered, as a message and as a key (L=0); no other was (X=0);
# messages of one writer came in its order (of each the first copy). Copies are counted.

package Outbox::Audit;

use strict;
use warnings;
use Carp;
use IPC::Run ();
use JSON::PP ();
use Outbox::Wait;
use Test::More ();

use constant QUEUE       => 'audit';
use constant KEYS_QUEUE  => 'cache-invalidation';
use constant SHOWN       => 5;    # ids named in a failure

# Named arguments: node, dir (for scripts), database; in_order => 0 where refused messages may be
# overtaken.
sub new
{
	my ($class, %arg) = @_;
	my $self = bless { database => 'blog', in_order => 1, generation => 0, %arg }, $class;
	$self->{node}->safe_psql($self->{database}, 'CREATE TABLE audit (id text PRIMARY KEY)');
	$self->forget;
	return $self;
}

# What was delivered so far counts no more (nor what was written).
sub forget
{
	my ($self) = @_;
	$self->{messages} = [];
	$self->{keys} = {};
	$self->{answers} = {};
	$self->{node}->safe_psql($self->{database}, 'TRUNCATE audit');
	return;
}

# Starts writers. Named arguments: writers, transactions (of each), settings (SQL at their start).
sub write
{
	my ($self, %arg) = @_;
	my $generation = ++$self->{generation};
	for my $writer (1 .. $arg{writers} // 2)
	{
		my $path = "$self->{dir}/audit.$generation.$writer.sql";
		open(my $file, '>', $path) or croak "$path: $!\n";
		print $file $arg{settings} // '', "\n";
		print $file transaction("$generation.$writer.$_", $_) for 1 .. $arg{transactions} // 500;
		close $file or croak "$path: $!\n";
		my %psql = (name => "$generation.$writer", answers => '', errors => '');
		$psql{handle} = IPC::Run::start(
			[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $self->{node}->connstr($self->{database}), '-f', $path ],
			'<', '/dev/null', '>', \$psql{answers}, '2>', \$psql{errors});
		push @{ $self->{writers} }, \%psql;
	}
	return;
}

# One request each, so that a writer is as fast as a commit.
sub transaction
{
	my ($id, $n) = @_;
	my $work = "INSERT INTO audit VALUES ('$id')\\; "
	  . "SELECT outbox.publish('${\ QUEUE }', '\"$id\"'), outbox.invalidate('$id')";
	my $undone = "SELECT outbox.publish('${\ QUEUE }', '\"$id!\"'), outbox.invalidate('$id!')";
	my $sql =
	    $n % 7 == 0 ? "BEGIN\\; $work\\; ROLLBACK;"
	  : $n % 5 == 0 ? "BEGIN\\; SAVEPOINT s\\; $undone\\; ROLLBACK TO s\\; $work\\; COMMIT;"
	  : $n % 3 == 0 ? "BEGIN\\; $work\\; SAVEPOINT s\\; $undone\\; ROLLBACK TO s\\; COMMIT;"
	  :               "BEGIN\\; $work\\; COMMIT;";
	my $class = $n % 7 == 0 ? 'fail' : 'ok';
	return "\\echo try $id\n\\o /dev/null\n$sql\n\\o\n\\echo $class $id\n";
}

# Writers that have not ended.
sub busy
{
	my ($self) = @_;
	my @handles = map { $_->{handle} } @{ $self->{writers} || [] };
	return scalar grep { $_->pump_nb if $_->pumpable; $_->pumpable } @handles;
}

# Transactions that the table shows now.
sub written
{
	my ($self) = @_;
	return $self->{node}->safe_psql($self->{database}, 'SELECT count(*) FROM audit');
}

# Waits for the writers. crash => 1: the server went away, which they may have noticed.
sub finish
{
	my ($self, %arg) = @_;
	for my $psql (@{ $self->{writers} || [] })
	{
		eval { $psql->{handle}->finish };
		croak "writer $psql->{name}: $psql->{errors}" if !$arg{crash} && $psql->{errors} ne '';
		$self->{answers}{$2} = $1 eq 'try' ? 'unknown' : $1
		  while $psql->{answers} =~ /^(try|ok|fail) (\S+)$/mg;
	}
	$self->{writers} = [];
	return;
}

# Waits until the broker has all that was committed; what it refused, too.
sub wait_delivered
{
	my ($self) = @_;
	$self->{node}->wait_published($self->{database});
	poll_until('nothing to be parked', sub {
		return $self->{node}->safe_psql($self->{database}, 'SELECT count(*) FROM outbox.dead_letter') eq '0';
	});
	return;
}

# What a broker's queues hold: takes it.
sub add_queue
{
	my ($self, $broker) = @_;
	# The fault may have ended our connection too.
	$broker->reconnect;
	for my $queue (QUEUE, KEYS_QUEUE)
	{
		while (my $message = $broker->get_message($queue))
		{
			$self->add_messages($message);
		}
	}
	return;
}

sub add_messages
{
	my ($self, @messages) = @_;
	for my $message (@messages)
	{
		my $content = JSON::PP->new->utf8->allow_nonref->decode($message->{body});
		push @{ $self->{messages} }, $content if $message->{routing_key} eq QUEUE;
		$self->{keys}{$_}++ for ref $content ? @{ $content->{keys} || [] } : ();
	}
	return;
}

# One test: nothing lost, nothing made up, in order. Says how many copies there were.
sub check
{
	my ($self, $what) = @_;
	my %committed = map { $_ => 1 }
	  split /\n/, $self->{node}->safe_psql($self->{database}, 'SELECT id FROM audit');
	my (%seen, %last, @wrong);
	for my $id (@{ $self->{messages} })
	{
		next if $seen{$id}++;
		my ($writer, $n) = $id =~ /^(\d+\.\d+)\.(\d+)$/ or next;
		push @wrong, "out of order: $id after $writer.$last{$writer}"
		  if $self->{in_order} && ($last{$writer} // 0) > $n;
		$last{$writer} = $n;
	}
	push @wrong, named('lost messages', grep { !$seen{$_} } keys %committed);
	push @wrong, named('lost keys', grep { !$self->{keys}{$_} } keys %committed);
	push @wrong, named('messages of nobody', grep { !$committed{$_} } keys %seen);
	push @wrong, named('keys of nobody',
		grep { !$committed{$_} && /^\d+\.\d+\.\d+!?$/ } keys %{ $self->{keys} });
	my %class = (ok => 0, fail => 0, unknown => 0);
	for my $id (keys %{ $self->{answers} })
	{
		$class{ $self->{answers}{$id} }++;
		push @wrong, "said ok and is not committed: $id"
		  if $self->{answers}{$id} eq 'ok' && !$committed{$id} && !$self->{may_forget};
		push @wrong, "rolled back and committed: $id" if $self->{answers}{$id} eq 'fail' && $committed{$id};
	}
	push @wrong, 'nothing was written' unless %committed;
	my $copies = @{ $self->{messages} } - keys %seen;
	Test::More::is(join("\n", @wrong[ 0 .. ($#wrong < SHOWN ? $#wrong : SHOWN) ]), '',
		"$what: nothing is lost, nothing made up");
	Test::More::note(sprintf '%s: %d committed (ok %d, fail %d, unknown %d), %d copies', $what,
		scalar(keys %committed), @class{qw(ok fail unknown)}, $copies);
	return $copies;
}

sub named
{
	my ($what, @ids) = @_;
	return () unless @ids;
	@ids = sort @ids;
	my $count = @ids;
	splice @ids, SHOWN if @ids > SHOWN;
	return "$count $what: @ids";
}

1;
