# Runbook.pm
#    Follows a runbook of docs/operations.md: its blocks of SQL and of shell, as they are printed, on a
#    test's servers.
#
# A block is named by its heading and its number there. What was not run is asked for at the end, so
# that no block of a runbook goes untried.

package Outbox::Runbook;

use strict;
use warnings;
use Outbox::Page;
use Outbox::StandIns;
use Test::More ();

use constant PAGE => 'docs/operations.md';

# Named arguments: root (of the checkout), pipe (an Outbox::Pipeline).
sub new
{
	my ($class, %arg) = @_;
	my $pipe = $arg{pipe};
	my $self = bless { page => Outbox::Page->read($arg{root}, PAGE), pipe => $pipe, run => {} }, $class;
	my $worker = $pipe->worker;
	my $program = $ENV{OUTBOX_WORKER} // 'outbox-worker';
	$self->{stand_ins} = Outbox::StandIns->new(
		dir      => "$pipe->{dir}/bin",
		env      => { OUTBOX_AMQP_URL => $pipe->broker->url, OUTBOX_REDIS_URL => $pipe->redis->url },
		programs => {
			'outbox-worker' => "exec '$program' \"\$@\"\n",
			'redis-cli'     => "exec /usr/bin/redis-cli -p ${\ $pipe->redis->port } \"\$@\"\n",
			# --grep PATTERN is all of it that the page uses.
			'journalctl' => "while [ \"\$1\" != --grep ]; do shift; done\nexec grep -e \"\$2\" '${\ $worker->log_file }'\n",
			# ... of the server's log, which is elsewhere here.
			'grep' => <<"SH",
for last; do :; done
case \$last in
/var/log/postgresql/*) exec /usr/bin/grep -h -A 2 outbox '${\ $pipe->node->logfile }' ;;
esac
exec /usr/bin/grep "\$@"
SH
		});
	$self->{stand_ins}->add_rabbitmq($pipe->broker);
	return $self;
}

# The text of a block. %replace: what stands there for something else, as 4711 for an event's id.
sub block
{
	my ($self, $language, $heading, $number, %replace) = @_;
	my @blocks = $self->{page}->blocks($language, $heading);
	my $block = $blocks[$number] or die "no $language block $number below \"$heading\"\n";
	$self->{run}{"$heading: $language $number"} = 1;
	my $text = $block->{text};
	$text =~ s/\b\Q$_\E\b/$replace{$_}/g for keys %replace;
	return $text;
}

# Runs a block of SQL in the blog's database; gives what it answered, column names included. Dies where
# it fails: for those that are asked again and again.
sub ask
{
	my ($self, $heading, $number, %replace) = @_;
	my ($status, $out, $err) = $self->{pipe}->node->psql('blog', $self->block('sql', $heading, $number, %replace),
		on_error_stop => 1, extra_params => [ '-P', 'tuples_only=off', '-P', 'expanded=on', '-P', 'format=aligned' ]);
	die "$heading: SQL ${\ ($number + 1) }: $err\n" if $status != 0;
	return $out;
}

# The same, as a test.
sub sql
{
	my ($self, $heading, $number, %replace) = @_;
	my $out = eval { $self->ask($heading, $number, %replace) };
	Test::More::ok(defined $out, "$heading: SQL ${\ ($number + 1) } runs") or Test::More::diag($@);
	return $out // '';
}

# Runs a block of shell; gives what it said.
sub sh
{
	my ($self, $heading, $number, %replace) = @_;
	my ($status, $said) = $self->{stand_ins}->run($self->block('sh', $heading, $number, %replace));
	Test::More::is($status, 0, "$heading: shell ${\ ($number + 1) } runs") or Test::More::diag($said);
	return $said;
}

# The blocks below these headings that were not run.
sub not_run
{
	my ($self, @headings) = @_;
	my @left;
	for my $heading (@headings)
	{
		for my $language ('sql', 'sh')
		{
			my @blocks = $self->{page}->blocks($language, $heading);
			push @left, grep { !$self->{run}{$_} } map { "$heading: $language $_" } 0 .. $#blocks;
		}
	}
	return @left;
}

1;
