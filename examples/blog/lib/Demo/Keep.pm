# Keep.pm
#    KEEP=1: the demo ends and its servers stay. How to reach them, and how to end them.

package Demo::Keep;

use strict;
use warnings;
use Demo::Show;
use File::Copy ();
use File::Path ();
use POSIX      ();

# Does not return: whatever would end the servers with this process is passed by.
sub leave_running
{
	my ($stage, $checkout) = @_;
	my $stop          = write_stop($stage, $checkout);
	my $database      = $stage->database;
	my $redis_port    = $stage->redis->port;
	my $socket        = $database->socket_folder;
	my $database_port = $database->port;
	my $broker_url    = $stage->broker->url;
	my $worker_log    = $stage->path . '/outbox-worker.log';

	heading('Left running (KEEP=1)');
	print <<"WORDS";
    in a browser      @{[ $stage->url('/') ]}
    psql              psql -h $socket -p $database_port -U postgres blog
    redis-cli         redis-cli -p $redis_port --scan
                      redis-cli -p $redis_port monitor
    RabbitMQ          $broker_url
    the worker's log  tail -f $worker_log

  In psql, for instance:
    UPDATE blogs SET title = 'Hello' WHERE id = 1;
    TABLE outbox.lag;
    TABLE outbox.relay;

  To stop it all and remove its folder:
    $stop
WORDS
	close STDOUT;
	POSIX::_exit(0);
}

# A program in the folder itself, which needs the checkout no longer.
sub write_stop
{
	my ($stage, $checkout) = @_;
	my $path = $stage->path;
	File::Path::make_path("$path/lib/Outbox");
	for my $module (qw(Temp.pm Wait.pm))
	{
		File::Copy::copy("$checkout/t/lib/Outbox/$module", "$path/lib/Outbox/$module")
		  or die "cannot write $path/lib/Outbox/$module: $!\n";
	}
	open(my $file, '>', "$path/stop") or die "$path/stop: $!\n";
	print $file <<"PERL";
#!/usr/bin/perl
# Ends everything that the demo left running, and removes its folder.
use strict;
use warnings;
use lib '$path/lib';
use Outbox::Temp;
use Outbox::Wait;

# PostgreSQL is asked first: killed, it would leave shared memory behind.
if (open my \$file, '<', '$path/postgres/data/postmaster.pid')
{
	chomp(my \$pid = <\$file>);
	kill 'QUIT', \$pid;
	poll_until('PostgreSQL to end', sub { !kill 0, \$pid }, 30);
}
Outbox::Temp->open('$path')->end;
PERL
	close $file or die "$path/stop: $!\n";
	chmod 0755, "$path/stop";
	return "$path/stop";
}

1;
