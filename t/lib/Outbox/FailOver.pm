# FailOver.pm
#    A worker before a Sentinel group, keys that are deleted while the master changes, and the audit: what was
#    published is gone from the new master, nothing else is.

package Outbox::FailOver;

use strict;
use warnings;
use Outbox::Amqp;
use Outbox::Wait;
use POSIX ();

use constant KEYS_PER_MESSAGE => 10;
use constant CHANGE_LIMIT_S   => 90;    # elections fail and are held again on a busy machine

# Named arguments: group, broker (objects), queue, keys (how many there are for each change).
sub new
{
	my ($class, %arg) = @_;
	return bless { queue => 'cache-invalidation', keys => 60_000, round => 0, %arg }, $class;
}

# Publishes the keys of this round, message by message, until told to stop or at their end. In a process of
# its own; the pipe tells how many keys were published in the end.
sub start_publishing
{
	my ($self) = @_;
	pipe(my $from, my $to) or die "pipe: $!\n";
	my $pid = fork() // die "fork: $!\n";
	if ($pid == 0)
	{
		close $from;
		my $stopped = 0;
		local $SIG{USR1} = sub { $stopped = 1 };
		my $published = eval { $self->publish_all(\$stopped) } // -1;
		print STDERR $@ if $@;
		syswrite $to, "$published\n";
		POSIX::_exit(0);
	}
	close $to;
	@$self{qw(publisher from)} = ($pid, $from);
	return;
}

sub publish_all
{
	my ($self, $stopped) = @_;
	my $client = Outbox::Amqp->connect(port => $self->{broker}->port);
	my $n = 0;
	while ($n < $self->{keys} && !$$stopped)
	{
		my $body = join ',', map { '"' . $self->key($n + $_) . '"' } 0 .. KEYS_PER_MESSAGE - 1;
		$client->publish(routing_key => $self->{queue}, body => qq({"keys":[$body]}), delivery_mode => 2);
		$n += KEYS_PER_MESSAGE;
	}
	return $n;
}

sub stop_publishing
{
	my ($self) = @_;
	kill 'USR1', $self->{publisher};
	my $count = readline $self->{from};
	waitpid $self->{publisher}, 0;
	return $count;
}

sub key { my ($self, $n) = @_; return "r$self->{round}:$n" }

# One change of the master while keys are deleted. $change->($master) brings it about. Returns what came of it: a
# hash of elected_s (until a new master is one), deleting_s (from then on, until keys are deleted in it), published
# (keys), left (those of them that are still there), untouched (those that nobody published and that are there).
sub change
{
	my ($self, $change) = @_;
	my $group = $self->{group};
	my $old = $group->master;
	$self->{round}++;
	$old->cli('FLUSHALL');
	$old->set_keys(map { $self->key($_) } 0 .. $self->{keys} - 1);
	poll_until('replicas to have them', sub { $old->cli('WAIT', $group->servers - 1, 1000) >= $group->servers - 1 });
	$self->start_publishing;
	poll_until('deletions to be under way', sub { $old->size < $self->{keys} - 500 });
	my $begun = monotonic_s();
	$change->($old);
	my ($new, $elected, $deleting) = $self->watch_change($old);
	# Some more, so that there is something on both sides of it; if it took long, none are left.
	my $before = $new->size;
	poll_until('more deletions', sub { my $size = $new->size; $size < $before - 500 || $size == 0 });
	my $published = $self->stop_publishing;
	$self->wait_quiet;
	my $left = 0;
	for (my $n = 0; $n < $published; $n += 1000)
	{
		my $last = $n + 999 < $published ? $n + 999 : $published - 1;
		$left += $new->exists(map { $self->key($_) } $n .. $last);
	}
	return {
		new        => $new,
		elected_s  => $elected - $begun,
		deleting_s => $deleting - $elected,
		published  => $published,
		left       => $left,
		untouched  => $new->size - $left == $self->{keys} - $published,
	};
}

# The first server but the old one that is a master, when that was seen, and when a client first deleted there.
sub watch_change
{
	my ($self, $old) = @_;
	my @others = grep { $_ != $old } $self->{group}->servers;
	my ($new, $elected);
	my $deleting = poll_until('deletions in a new master', sub {
		for my $server (@others)
		{
			my ($role, $clients) = eval { $server->pipeline(['ROLE'], ['CLIENT', 'LIST', 'TYPE', 'normal']) } or next;
			next unless $role->[0] eq 'master';
			$elected //= monotonic_s();
			$new = $server;
			return monotonic_s() if $clients =~ /cmd=unlink/;
		}
		return 0;
	}, CHANGE_LIMIT_S);
	return ($new, $elected, $deleting);
}

# Nothing waits in the queue, and nothing is unacknowledged.
sub wait_quiet
{
	my ($self) = @_;
	poll_until('an empty queue', sub { $self->{broker}->queue_length($self->{queue}) == 0 }, CHANGE_LIMIT_S);
	poll_until('everything to be acknowledged', sub { $self->{in_flight}->() == 0 }, CHANGE_LIMIT_S);
	return;
}

1;
