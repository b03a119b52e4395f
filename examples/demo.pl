#!/usr/bin/perl
#
# demo.pl
#    From nothing to a running pipeline, in front of your eyes: `make demo`.
#
# Starts PostgreSQL, RabbitMQ and Redis on private ports in one temporary folder, and the blog, and
# shows what happens when posts are edited: on a good day, after a rollback, and while Redis or
# RabbitMQ is away. Everything it says it has checked; if something is not as said, it tells and
# exits with status 1. However it ends, it leaves no process and no file behind; with KEEP=1 it leaves
# everything running and tells how to connect, and how to stop it.

use strict;
use warnings;
use utf8;
use Cwd ();
use File::Basename ();

my $checkout;

BEGIN
{
	$checkout = File::Basename::dirname(File::Basename::dirname(Cwd::abs_path(__FILE__)));
	unshift @INC, "$checkout/t/lib", "$checkout/examples/demo";
}

use Demo::Keep;
use Demo::Show;
use Demo::Stage;
use Demo::Steps;
use POSIX ();

my $stage;
my $main = $$;

# Runs before the END of Outbox::Process, which would kill what this one stops in good order.
END
{
	if ($$ == $main && $stage)
	{
		my $status = $?;
		$SIG{$_} = 'IGNORE' for qw(INT TERM HUP);
		print "\nstopping, and removing the temporary folder\n" if $status > 1;
		$stage->down;
		$? = $status;
	}
}

exit main();

sub main
{
	print <<"WORDS";
pg_outbox: what changes in PostgreSQL disappears from the cache

  blog ---UPDATE---> PostgreSQL ---keys---> RabbitMQ ---> outbox-worker ---UNLINK---> Redis

WORDS
	my @figures = eval {
		$stage = Demo::Stage->new($checkout);
		tell('All servers of the demo live in ' . $stage->path . ', on ports of their own.');
		my $posts = $stage->up;
		my $foreign = $stage->database->query("SELECT count(*) FROM blogs WHERE octet_length(body) > length(body)");
		tell('The blog has ' . count_words($posts) . ' posts, from texts found on this machine; '
			. count_words($foreign) . ' of them go beyond ASCII.');
		Demo::Steps::show($stage);
	};
	return complain($@) if $@;

	heading('In short');
	figure(splice @figures, 0, 2) while @figures;
	tell(sprintf '%d claims checked, all of them hold. The demo took %.0f s.',
		Demo::Show::checks_made(), Demo::Show::elapsed_s());
	Demo::Keep::leave_running($stage, $checkout) if $ENV{KEEP};
	return 0;
}

# What went wrong, with what the servers' logs say last. Returns the exit status.
sub complain
{
	my ($error) = @_;
	print "\n";
	print STDOUT $stage->logs, "\n" if $stage;
	my $free_mb = $stage ? Demo::Stage::free_mb($stage->path) : undef;
	print "The disk of ", $stage->path, " is full.\n" if defined $free_mb && $free_mb < 10;
	print "demo failed: $error";
	return 1;
}
