# Ways.pm
#    The ways from a commit to the deleted key: what each needs running, and how it is asked.
#
# One broker, one Redis and one PostgreSQL server serve all of them; what else a way needs is started
# for its turn and stopped after it, so that nobody pays for another's polling. pg_outbox's relay is
# part of the server and stays; idle it looks once a minute.
#
#     none     a table without a trigger
#     ours     outbox.watch() with three templates, the relay, outbox-worker
#     direct   no trigger; a C program publishes the keys after each commit and waits for the confirm
#     poll     the lean plpgsql outbox, published by peers/relay.c, which looks each 100 ms
#     listen   the same, and a NOTIFY for each commit, which wakes it
#     pgq      PgQ's trigger in C, pgqd with ticks of 100 ms, and a consumer (peers/relay.c)
#     node, node_publish, node_confirm    the tutorial's way: an application in Node (peers/app.js) that
#              does nothing, or publishes after its commits, without and with confirms; and the tutorial's
#              worker
#     pto_poll, pto_log   npm's pg-transactional-outbox, polling and by logical replication
#              (peers/transactional_outbox.js), on a server of its own with wal_level = logical, since
#              that costs every writer of a server
#
# All but the tutorial's have outbox-worker at the end: what differs is the way to the queue.

package Bench::Ways;

use strict;
use warnings;
use Bench::Frame;
use JSON::PP ();
use List::Util qw(sum);
use Outbox::Wait;

use constant {
	QUEUE         => 'cache-invalidation',
	BATCH         => 500,       # rows that a polling relay takes at once
	INTERVAL_MS   => 100,       # between its looks while there is nothing, and between PgQ's ticks
	START_LIMIT_S => 60,
	DRAIN_LIMIT_S => 300,
	DELAY_MS      => 10,        # of the slow broker, in each direction
	MB            => 1024 * 1024,
};

my %ways = (
	none   => { title => 'no invalidation', table => 'bench.plain' },
	ours   => { title => 'pg_outbox', table => 'bench.watched', start => 'start_ours' },
	direct => { title => 'C, publishing after its commits', table => 'bench.plain', publishes => 1 },
	poll   => { title => 'plpgsql outbox, polled', table => 'bench.lean', outbox => 'bench.lean_outbox',
		start => 'start_poll', slow => 1 },
	listen => { title => 'plpgsql outbox, LISTEN/NOTIFY', table => 'bench.listen',
		outbox => 'bench.listen_outbox', start => 'start_listen' },
	pgq    => { title => 'PgQ', table => 'bench.pgq', start => 'start_pgq', slow => 1 },
	node   => { title => 'Node, no invalidation', app => 'none', baseline => 'node' },
	node_publish => { title => 'Node, publishing after its commits', app => 'publish', baseline => 'node',
		start => 'start_tutorial' },
	node_confirm => { title => 'Node, the same with confirms', app => 'confirm', baseline => 'node',
		start => 'start_tutorial' },
	pto_none => { title => 'no invalidation, wal_level logical', table => 'bench.plain', logical => 1,
		baseline => 'pto_none' },
	pto_poll => { title => 'pg-transactional-outbox, polling', table => 'bench.pto', logical => 1,
		outbox => 'public.outbox', baseline => 'pto_none', start => 'start_pto_poll', slow => 1 },
	pto_log  => { title => 'pg-transactional-outbox, replication', table => 'bench.pto', logical => 1,
		outbox => 'public.outbox', baseline => 'pto_none', start => 'start_pto_log' });
# For part `limits` alone: what a trigger costs at least, and ours without what follows it.
my %floors = (
	nothing => { title => 'a trigger in C that does nothing', table => 'bench.nothing', start => 'start_floor' },
	row     => { title => 'a trigger in C that inserts one row', table => 'bench.row', outbox => 'bench.row_outbox',
		start => 'start_floor' },
	paused  => { title => 'pg_outbox, its relay paused', table => 'bench.watched', start => 'start_paused' });
%ways = (%ways, %floors);
my @order = qw(none ours direct poll listen pgq node node_publish node_confirm pto_none pto_poll pto_log);

sub floors   { return sort keys %floors }
sub names    { return @{ $_[0]{names} } }
sub title    { return $ways{ $_[1] }{title} }
sub baseline { return $ways{ $_[1] }{baseline} // 'none' }
sub is_slow  { return $ways{ $_[1] }{slow} }
sub has_table { return defined $ways{ $_[1] }{table} }
sub deletes  { my ($self, $way) = @_; return $way !~ /none$/ && $way ne 'node' }
sub records  { return $_[1] =~ /^(?:ours|poll|pgq|pto_poll|pto_log)$/ }

# More than so many would take minutes.
sub most_events { return $_[1] =~ /^pto/ ? 10_000 : ~0 }
sub counts_published { return $_[1] =~ /^(?:ours|poll)$/ }

# ---- servers -------------------------------------------------------------------------------------

# Starts what all have in common; @names: ways to compare, all that are possible here by default.
sub start
{
	my ($class, $frame, @names) = @_;
	require Outbox::RabbitMQ;
	require Outbox::Redis;
	require Outbox::Worker;
	for my $name (@names) { die "no way \"$name\"; there are: @order\n" unless grep { $_ eq $name } @order }
	my $self = bless { frame => $frame, parts => {} }, $class;
	# In three minutes there is no time for a second server.
	my %wanted = map { $_ => 1 } @names ? @names : grep { !$ENV{QUICK} || !$ways{$_}{logical} } @order;
	my $has_pgq = $self->has_pgq;
	print "PgQ is not installed: see packages-bench.txt\n" if $wanted{pgq} && !$has_pgq;
	delete $wanted{pgq} unless $has_pgq;
	if (!$frame->has_node)
	{
		print "without the ways in Node: ", $frame->node_error // "left out\n" if grep { /node|pto/ } keys %wanted;
		delete @wanted{ grep { /node|pto/ } keys %wanted };
	}
	$self->{names} = [ grep { $wanted{$_} } @order ];

	my $work = $frame->folder . '/work';
	$self->{broker} = Outbox::RabbitMQ->new(dir => "$work/rabbitmq")->start;
	$self->{redis} = Outbox::Redis->new(dir => "$work/redis", options => [ '--appendonly', 'no' ])->start;
	$ENV{BENCH_AMQP_PORT} = $self->{broker}->port;
	$ENV{BENCH_REDIS_PORT} = $self->{redis}->port;
	$ENV{BENCH_REDIS_URL} = $self->{redis}->url;
	$ENV{BENCH_AMQP_URL} = $self->{broker}->url;
	$self->start_servers($has_pgq);
	$self->use_server('bench');
	$self->start_worker;
	$frame->introduce($self->{server});
	return $self;
}

sub start_servers
{
	my ($self, $has_pgq) = @_;
	my $frame = $self->{frame};
	my @files = map { $frame->file($_) } 'recording.sql', 'plpgsql.sql', $has_pgq ? 'pgq.sql' : ();
	my $server = $frame->start_server('serve_ways', $self->{broker}->url, @files, $frame->file('ways.sql'));
	$frame->{common}{versions} = {
		postgresql => $server->{version} =~ /^PostgreSQL (\S+)/,
		rabbitmq   => package_version('rabbitmq-server'),
		redis      => package_version('redis-server'),
		pgq        => package_version('postgresql-15-pgq3'),
		node       => program_version('node', '--version'),
		linux      => program_version('uname', '-r') };
	$self->{servers}{bench} = $server;
	return unless grep { $ways{$_}{logical} } $self->names;
	$self->{servers}{logical} = $frame->start_server('serve_logical', map { $frame->file($_) }
		'recording.sql', 'transactional_outbox.sql');
	$self->use_server('logical');
	local %ENV = (%ENV, $self->node_env);
	Outbox::Tree::run('node', $frame->file('transactional_outbox.js'), 'setup');
	return;
}

# What Node's client goes by.
sub node_env
{
	my ($self) = @_;
	return (
		PGHOST     => $self->{server}{host},
		PGPORT     => $self->{server}{port},
		PGDATABASE => 'bench',
		PGUSER     => scalar getpwuid($>),
		NODE_PATH  => $self->{frame}->folder . '/files/node_modules');
}

sub use_server
{
	my ($self, $name) = @_;
	return if ($self->{server_name} // '') eq $name;
	$self->{server_name} = $name;
	$self->{server} = $self->{servers}{$name};
	$ENV{BENCH_PG} = $self->{server}{postgres};
	my ($postmaster) = Bench::Frame::slurp("$self->{server}{data}/postmaster.pid") =~ /^(\d+)/;
	$self->{parts}{'wal writers'} = [ split ' ', $self->sql(q(SELECT string_agg(pid::text, ' ')
		FROM pg_stat_activity WHERE backend_type IN ('walwriter', 'background writer', 'checkpointer'))) ];
	return;
}

sub has_pgq
{
	my ($self) = @_;
	return $self->{frame}->has_extension('pgq') && program_version('pgqd', '-V');
}

sub package_version
{
	my ($package) = @_;
	my $version = eval { Outbox::Tree::output('dpkg-query', '-W', '-f', '${Version}', $package) };
	return $version // 'unknown';
}

sub program_version
{
	my $version = eval { Outbox::Tree::output(@_) } // return undef;
	chomp $version;
	return $version;
}

sub stop
{
	my ($self) = @_;
	$self->{worker}->kill9;
	$_->{process}->stop for values %{ $self->{servers} };
	$self->{broker}->discard;
	$self->{redis}->kill9;
	return;
}

sub start_worker
{
	my ($self) = @_;
	$self->{worker} = Outbox::Worker->new(dir => $self->{frame}->folder . '/work', broker => $self->{broker},
		redis => $self->{redis}, program => $self->{frame}->worker)->start;
	$self->{worker}->wait_log(qr/info consuming/);
	$self->{parts}{worker} = [ $self->{worker}->pid ];
	$self->{parts}{broker} = [ $self->{broker}->pid ];
	$self->{parts}{redis} = [ $self->{redis}->pid ];
	return;
}

sub sql
{
	my ($self, $statement) = @_;
	my $output = Outbox::Tree::output('psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d',
		$self->{server}{postgres}, '-c', $statement);
	chomp $output;
	return $output;
}

# ---- turns ---------------------------------------------------------------------------------------

# Starts what the way needs, calls the function, stops, and empties what is left: everybody begins with
# an empty outbox, an empty queue, and a page image for each page to come.
sub turn
{
	my ($self, $way, $function) = @_;
	$self->begin($way);
	$self->sql('CHECKPOINT');
	my $result = $function->();
	$self->end($way);
	return $result;
}

sub begin
{
	my ($self, $way) = @_;
	$self->use_server($ways{$way}{logical} ? 'logical' : 'bench');
	my $start = $ways{$way}{start} or return;
	$self->$start;
	return;
}

sub end
{
	my ($self, $way) = @_;
	$self->sql('SELECT outbox.resume()') if $way eq 'paused';
	if ($way =~ /^(?:ours|paused)$/)
	{
		$self->sql("SELECT outbox.wait_published('${\ DRAIN_LIMIT_S } s')") eq 't' or die "it does not drain\n";
	}
	$_->kill9 for reverse @{ delete $self->{processes} // [] };
	delete @{ $self->{parts} }{ grep { !/^(?:worker|broker|redis|wal)/ } keys %{ $self->{parts} } };
	$self->start_worker if !$self->{worker}->alive;
	$self->{broker}->purge_queue(QUEUE);
	my $outbox = $ways{$way}{outbox};
	$self->sql("TRUNCATE $outbox") if $outbox;
	$self->sql('SELECT bench.new_queue()') if $way eq 'pgq';
	$self->drop_slot if $way eq 'pto_log';
	return;
}

# Its sender may take a moment to notice that the listener is gone.
sub drop_slot
{
	my ($self) = @_;
	poll_until('the slot to be free', sub {
		$self->sql(q(SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots));
		return 1;
	});
	return;
}

# A program that says "ready". Its connections to the server are known by their name.
sub start_part
{
	my ($self, $part, @command) = @_;
	my $work = $self->{frame}->folder . '/work';
	my $log = "$work/" . ($part =~ tr/ /_/r) . '.log';
	unlink $log;
	my $process = Outbox::Process->start(name => $part, dir => $work, log => $log, command => \@command,
		env => { PGAPPNAME => "peer $part", $self->node_env });
	push @{ $self->{processes} }, $process;
	poll_until("$part to be ready", sub {
		die $process->log_tail unless $process->alive;
		return Bench::Frame::slurp($log) =~ /^ready/m;
	}, START_LIMIT_S);
	$self->{parts}{$part} = [ $process->pid, split ' ', $self->sql("SELECT string_agg(pid::text, ' ')
		FROM pg_stat_activity WHERE application_name = 'peer $part'") ];
	return $process;
}

sub start_ours
{
	my ($self) = @_;
	$self->{parts}{relay} = [ $self->sql('SELECT pid FROM outbox.relay') ];
	return;
}

sub start_paused
{
	my ($self) = @_;
	$self->sql('SELECT outbox.pause()');
	poll_until('the relay to pause', sub { $self->sql('SELECT state FROM outbox.relay') eq 'paused' });
	return;
}

sub start_floor
{
	my ($self) = @_;
	$self->sql(<<"SQL");
		CREATE TABLE IF NOT EXISTS bench.row_outbox (id bigint, xid xid8, created_at timestamptz, keys text)
			WITH (autovacuum_enabled = off);
		CREATE INDEX IF NOT EXISTS row_outbox_xid_id ON bench.row_outbox (xid, id);
		CREATE OR REPLACE FUNCTION bench.no_row() RETURNS trigger LANGUAGE c AS '${\ $self->{frame}->program('one_row') }', 'no_row';
		CREATE OR REPLACE FUNCTION bench.one_row() RETURNS trigger LANGUAGE c AS '${\ $self->{frame}->program('one_row') }', 'one_row';
		CREATE OR REPLACE TRIGGER record AFTER UPDATE ON bench.nothing FOR EACH ROW EXECUTE FUNCTION bench.no_row();
		CREATE OR REPLACE TRIGGER record AFTER UPDATE ON bench.row FOR EACH ROW EXECUTE FUNCTION bench.one_row();
SQL
	return;
}

sub start_poll
{
	my ($self) = @_;
	$self->start_part('relay', $self->{frame}->program('peers/relay'), 'poll', 'bench.lean_outbox', BATCH,
		INTERVAL_MS);
	return;
}

sub start_listen
{
	my ($self) = @_;
	$self->start_part('relay', $self->{frame}->program('peers/relay'), 'listen', 'bench.listen_outbox', BATCH);
	return;
}

sub start_pgq
{
	my ($self) = @_;
	$self->start_ticker;
	$self->start_part('relay', $self->{frame}->program('peers/relay'), 'pgq', 'bench', INTERVAL_MS);
	return;
}

# pgqd says nothing about being ready: its first tick does.
sub start_ticker
{
	my ($self) = @_;
	my $work = $self->{frame}->folder . '/work';
	open(my $file, '>', "$work/pgqd.ini") or die "pgqd.ini: $!\n";
	print $file "[pgqd]\nbase_connstr = host=$self->{server}{host} port=$self->{server}{port}\n",
	  "initial_database = bench\ndatabase_list = bench\nsyslog = 0\nticker_period = ", INTERVAL_MS / 1000, "\n";
	close $file;
	my $tick = $self->sql('SELECT last_tick_id FROM pgq.get_queue_info()');
	my $process = Outbox::Process->start(name => 'pgqd', dir => $work, log => "$work/pgqd.log",
		command => [ 'pgqd', '-q', "$work/pgqd.ini" ], env => { PGAPPNAME => 'peer ticker' });
	push @{ $self->{processes} }, $process;
	poll_until('a tick', sub {
		die $process->log_tail unless $process->alive;
		return $self->sql('SELECT last_tick_id FROM pgq.get_queue_info()') > $tick;
	}, START_LIMIT_S);
	$self->{parts}{ticker} = [ $process->pid, split ' ', $self->sql(q(SELECT string_agg(pid::text, ' ')
		FROM pg_stat_activity WHERE application_name IN ('peer ticker', 'pgqd'))) ];
	return;
}

sub start_tutorial
{
	my ($self) = @_;
	$self->{worker}->kill9;
	local $ENV{OUTBOX_AMQP_URL} = $self->{broker}->url;
	local $ENV{OUTBOX_REDIS_URL} = $self->{redis}->url;
	local $ENV{OUTBOX_QUEUE} = QUEUE;
	$self->start_part('tutorial worker', 'node', $self->{frame}->file('tutorial_worker.js'));
	$self->{parts}{worker} = delete $self->{parts}{'tutorial worker'};
	return;
}

sub start_pto_poll { $_[0]->start_pto('poll'); return }
sub start_pto_log  { $_[0]->start_pto('log');  return }

sub start_pto
{
	my ($self, $how) = @_;
	$self->start_part('relay', 'node', $self->{frame}->file('transactional_outbox.js'), $how);
	return;
}

# ---- what each process spends --------------------------------------------------------------------

# CPU time so far, user and system, by part: us.
sub spent
{
	my ($self) = @_;
	return { map { my $part = $_; $part => sum(0, map { cpu_us($_) } @{ $self->{parts}{$part} }) }
		keys %{ $self->{parts} } };
}

# CPU time since then by part, divided by $count: events (us for each), or 1000 (ms).
sub spent_since
{
	my ($self, $before, $count) = @_;
	my $after = $self->spent;
	return { map { $_ => ($after->{$_} - ($before->{$_} // 0)) / $count } keys %$after };
}

# How often it was woken so far.
sub woken
{
	my ($self) = @_;
	return { map { my $part = $_; $part => sum(0, map { wake_ups($_) } @{ $self->{parts}{$part} }) }
		keys %{ $self->{parts} } };
}

sub pids_to_profile
{
	my ($self) = @_;
	my ($postmaster) = Bench::Frame::slurp("$self->{server}{data}/postmaster.pid") =~ /^(\d+)/;
	return ($postmaster, $self->{worker}->pid);
}

# Memory of its own, by part: kB. Of a program with nothing of the server's the most it ever had; of the
# server's processes what is theirs alone now.
sub memory_kb
{
	my ($self) = @_;
	return { map { my $part = $_; $part => sum(0, map { memory_of($_) } @{ $self->{parts}{$part} }) }
		grep { !/^wal/ } keys %{ $self->{parts} } };
}

sub memory_of
{
	my ($pid) = @_;
	my $status = Bench::Frame::slurp("/proc/$pid/status");
	my ($shared) = $status =~ /^RssShmem:\s*(\d+)/m;
	my ($size) = $shared ? $status =~ /^RssAnon:\s*(\d+)/m : $status =~ /^VmHWM:\s*(\d+)/m;
	return $size // 0;
}

sub cpu_us
{
	my ($pid) = @_;
	return sum(0, map { Bench::Frame::slurp($_) =~ /^(\d+)/ ? $1 / 1000 : 0 } glob "/proc/$pid/task/*/schedstat");
}

sub wake_ups
{
	my ($pid) = @_;
	return sum(0, map { Bench::Frame::slurp($_) =~ /^voluntary_ctxt_switches:\s*(\d+)/m ? $1 : 0 }
		glob "/proc/$pid/task/*/status");
}

# ---- what is asked of a way ----------------------------------------------------------------------

# Transactions of so many clients for some seconds: what bench/writers.c or peers/app.js reports.
sub write
{
	my ($self, $way, $clients, $sync, $seconds) = @_;
	local $ENV{PGOPTIONS} = "-c synchronous_commit=$sync";
	if (my $mode = $ways{$way}{app})
	{
		return $self->app('write', $mode, $clients, $seconds);
	}
	local @ENV{qw(BENCH_PUBLISH)} = (1) if $ways{$way}{publishes};
	return $self->{frame}->ask('writers', $ways{$way}{table}, $clients, $seconds);
}

sub app
{
	my ($self, @arguments) = @_;
	local %ENV = (%ENV, $self->node_env);
	return JSON::PP::decode_json(Outbox::Tree::output('node', $self->{frame}->file('app.js'), @arguments));
}

# The same in the background, at a rate, until it is killed.
sub start_writing
{
	my ($self, $way, $clients, $rate) = @_;
	my $work = $self->{frame}->folder . '/work';
	return Outbox::Process->start(name => 'writers', dir => $work, log => "$work/writers.log",
		command => [ $self->{frame}->program('writers'), $ways{$way}{table}, $clients, 600, int($rate) || 1 ],
		env => $ways{$way}{publishes} ? { BENCH_PUBLISH => 1 } : {});
}

# From the acknowledged commit to the deleted key, one after the other.
sub delays
{
	my ($self, $way, $commits) = @_;
	if (my $mode = $ways{$way}{app})
	{
		return $self->app('delay', $mode, $commits);
	}
	local @ENV{qw(BENCH_PUBLISH)} = (1) if $ways{$way}{publishes};
	return $self->{frame}->ask('latency', 'commits', $ways{$way}{table}, $commits);
}

# Events that are recorded and not in the queue yet.
sub waiting
{
	my ($self, $way) = @_;
	return $self->sql('SELECT pending_events FROM outbox.lag') if $way eq 'ours';
	return $self->sql(q(SELECT pending_events FROM pgq.get_consumer_info('bench', 'relay'))) if $way eq 'pgq';
	return $self->sql("SELECT count(*) FROM $ways{$way}{outbox} WHERE processed_at IS NULL") if $way =~ /^pto_[pl]/;
	return $self->sql("SELECT count(*) FROM $ways{$way}{outbox}") if $ways{$way}{outbox};
	return 0;
}

# Published so far, by a relay that puts several events into one message.
sub messages
{
	my ($self, $way) = @_;
	return $way eq 'ours' ? $self->sql('SELECT messages FROM outbox.relay') : 0;
}

# A backlog of so many transactions that change so many keys, then all that a way has at work. The clock
# runs from the relay's start (or outbox.resume()) to the last key. $ready: called before.
sub drain
{
	my ($self, $way, $events, $distinct, $ready) = @_;
	my $frame = $self->{frame};
	my $redis_port = $self->{redis}->port;
	$self->use_server($ways{$way}{logical} ? 'logical' : 'bench');
	$self->{broker}->purge_queue(QUEUE);
	$self->{redis}->cli('FLUSHALL');
	$frame->ask('worker', 'fill', $redis_port, $distinct);
	$self->start_paused if $way eq 'ours';
	$self->start_ticker if $way eq 'pgq';
	$self->sql(q(SELECT pg_create_logical_replication_slot('bench_slot', 'pgoutput'))) if $way eq 'pto_log';
	my $procedure = 'bench.record_' . ($way eq 'ours' ? 'watched' : $way eq 'poll' ? 'lean' : $way =~ s/_.*//r);
	local $ENV{PGOPTIONS} = "-c bench.keys=$distinct";
	my $recorded = $frame->ask('relay', 'record', 8, $events, $procedure);
	$self->sql('CHECKPOINT');

	$ready->() if $ready;
	my $before = $self->spent;
	my $began_s = monotonic_s();
	if ($way eq 'ours') { $self->sql('SELECT outbox.resume()') }
	elsif ($way eq 'pgq')
	{
		$self->start_part('relay', $frame->program('peers/relay'), 'pgq', 'bench', INTERVAL_MS);
	}
	else { $self->begin($way) }
	if ($distinct == $events)
	{
		$frame->ask('worker', 'drain', $redis_port, $events);
	}
	else
	{
		$self->sql("SELECT outbox.wait_published('${\ DRAIN_LIMIT_S } s')") eq 't' or die "it does not drain\n";
	}
	my $seconds = monotonic_s() - $began_s;
	$self->start_ours if $way eq 'ours';
	my $spent = $self->spent_since($before, $events);
	my $memory = $self->memory_kb;
	$self->end($way);
	return { seconds => $seconds, recorded_s => $recorded->{seconds}, memory_kb => $memory, spent_us => $spent };
}

# A message waits while the worker is started: s, from then to its key's end.
sub start_with_message
{
	my ($self) = @_;
	$self->{worker}->stop;
	$self->fill(1);
	$self->{frame}->ask('worker', 'publish', $self->{broker}->port, QUEUE, 1, 1);
	my $began_s = monotonic_s();
	$self->{worker}->start;
	$self->{frame}->ask('worker', 'drain', $self->{redis}->port, 1);
	my $seconds = monotonic_s() - $began_s;
	$self->{parts}{worker} = [ $self->{worker}->pid ];
	return $seconds;
}

# ---- floors --------------------------------------------------------------------------------------

sub fill
{
	my ($self, $keys) = @_;
	$self->{broker}->purge_queue(QUEUE);
	$self->{redis}->cli('FLUSHALL');
	$self->{frame}->ask('worker', 'fill', $self->{redis}->port, $keys);
	return;
}

sub floor_unlink
{
	my ($self, $keys) = @_;
	$self->fill($keys);
	my $before = $self->spent;
	my $result = $self->{frame}->ask('worker', 'unlink', $self->{redis}->port, $keys);
	return { %$result, redis_us => $self->spent_since($before, $keys)->{redis} };
}

sub floor_drain
{
	my ($self, $keys) = @_;
	$self->fill($keys);
	my $began_s = monotonic_s();
	$self->{frame}->ask('worker', 'publish', $self->{broker}->port, QUEUE, $keys / BATCH, BATCH);
	$self->{frame}->ask('worker', 'drain', $self->{redis}->port, $keys);
	return monotonic_s() - $began_s;
}

# Messages a second that a broker confirms to one connection, nobody consuming.
sub floor_confirms
{
	my ($self, $messages) = @_;
	$self->{worker}->stop;
	my $seconds = $self->{frame}->ask('relay', 'confirms', $messages)->{seconds};
	$self->{broker}->purge_queue(QUEUE);
	$self->start_worker;
	return $messages / $seconds;
}

# ---- large statements, snapshots, the broker's states ---------------------------------------------

sub make_many_rows
{
	my ($self, $rows) = @_;
	$self->use_server('bench');
	$self->sql(<<"SQL");
		CREATE TABLE bench.many (id int PRIMARY KEY, views int NOT NULL DEFAULT 0)
			WITH (fillfactor = 45, autovacuum_enabled = off);
		INSERT INTO bench.many SELECT n FROM generate_series(1, $rows) AS n;
		SELECT outbox.watch('bench.many', 'blog:{id}');
SQL
	return;
}

sub bulk
{
	my ($self, $rows) = @_;
	$self->{redis}->cli('FLUSHALL');
	$self->sql($_) for 'VACUUM bench.many', 'CHECKPOINT';
	$self->start_ours;
	my $before = $self->spent;
	my $result = $self->{frame}->ask('latency', 'bulk', 'bench.many', $rows);
	my $spent = $self->spent_since($before, $rows);
	# Redis was given the keys before.
	return { %$result, spent_us => { map { $_ => $spent->{$_} } qw(relay broker worker) } };
}

# Counts what is published while somebody holds a snapshot.
sub under_snapshot
{
	my ($self, $way, $clients, $seconds, $sample_s) = @_;
	my $work = $self->{frame}->folder . '/work';
	my $holder = Outbox::Process->start(name => 'holder', dir => $work, log => "$work/holder.log",
		command => [ 'psql', '-Xq', '-d', $self->{server}{postgres}, '-c', 'BEGIN ISOLATION LEVEL REPEATABLE READ',
			'-c', 'SELECT count(*) FROM bench.columns', '-c', 'SELECT pg_sleep(3600)' ],
		env => { PGAPPNAME => 'holder' });
	poll_until('a snapshot', sub { $self->sql(
		q(SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holder' AND query LIKE '%sleep%'
			AND state = 'active')) == 1 });
	my $dead = $self->dead_tuples($ways{$way}{outbox});
	local $ENV{PGOPTIONS} = '-c synchronous_commit=off';
	my $writers = Outbox::Process->start(name => 'writers', dir => $work, log => "$work/writers.log",
		command => [ $self->{frame}->program('writers'), $ways{$way}{table}, $clients, $seconds ]);
	my @samples = ([ monotonic_s(), $self->published($way) ]);
	while ($samples[-1][0] < $samples[0][0] + $seconds)
	{
		# Here time itself is what is measured.
		Time::HiRes::sleep($sample_s);
		push @samples, [ monotonic_s(), $self->published($way) ];
	}
	$writers->wait_end($seconds + START_LIMIT_S);
	my ($waiting, $outbox) = ($self->waiting($way), $ways{$way}{outbox});
	$self->sql("SELECT outbox.wait_published('60 s')") if $way eq 'ours';
	my $result = {
		seconds  => $seconds,
		waiting  => $waiting,
		tenths_s => [ tenths(@samples) ],
		dead     => $self->dead_tuples($outbox) - $dead,
		bytes    => $way eq 'ours' ? $self->empty_size : $self->sql("SELECT pg_total_relation_size('$outbox')"),
	};
	$self->sql(q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holder'));
	$holder->wait_end;
	return $result;
}

# As it is once the last rotation has come, within a minute; still under the snapshot.
sub empty_size
{
	my ($self) = @_;
	my $empty = $self->{server}{empty_bytes};
	eval {
		poll_until('the outbox to be as small as when it was new',
			sub { $self->sql('SELECT outbox_bytes FROM outbox.lag') <= $empty }, DRAIN_LIMIT_S);
	};
	return $self->sql('SELECT outbox_bytes FROM outbox.lag');
}

sub published
{
	my ($self, $way) = @_;
	return $self->sql('SELECT events FROM outbox.relay') if $way eq 'ours';
	return $self->sql("SELECT pg_stat_get_tuples_deleted('$ways{$way}{outbox}'::regclass)");
}

sub dead_tuples
{
	my ($self, $outbox) = @_;
	return $self->sql("SELECT pg_stat_get_dead_tuples('$outbox'::regclass)") if $outbox;
	return $self->sql(q(SELECT sum(pg_stat_get_dead_tuples(oid)) FROM pg_class
		WHERE relnamespace = 'outbox'::regnamespace AND relkind = 'r'));
}

# Rates of the tenths of the time that the samples span.
sub tenths
{
	my (@samples) = @_;
	my ($from, $until) = ($samples[0][0], $samples[-1][0]);
	my @counts = map { count_at($from + ($until - $from) * $_ / 10, @samples) } 0 .. 10;
	return map { ($counts[$_] - $counts[ $_ - 1 ]) / (($until - $from) / 10) } 1 .. 10;
}

# Between two samples, in proportion.
sub count_at
{
	my ($time, @samples) = @_;
	for my $i (1 .. $#samples)
	{
		my ($a, $b) = @samples[ $i - 1, $i ];
		next if $b->[0] < $time;
		return $a->[1] + ($b->[1] - $a->[1]) * ($time - $a->[0]) / ($b->[0] - $a->[0]);
	}
	return $samples[-1][1];
}

# The broker as it is, or answering late, or not at all, while the function runs.
sub with_broker
{
	my ($self, $state, $function) = @_;
	return $function->() if $state eq 'healthy';
	if ($state eq 'frozen')
	{
		$self->{broker}->freeze;
		my $result = $function->();
		$self->{broker}->thaw;
		return $result;
	}
	require Outbox::Port;
	my $port = $self->{slow_port} //= Outbox::Port::free_port();
	my $work = $self->{frame}->folder . '/work';
	my $proxy = Outbox::Process->start(name => 'proxy', dir => $work, log => "$work/proxy.log",
		command => [ $^X, $self->{frame}->file('delay_proxy'), $port, $self->{broker}->port, DELAY_MS ]);
	local $ENV{BENCH_AMQP_PORT} = $port;
	$self->relay_to($port);
	my $result = $function->();
	$self->relay_to($self->{broker}->port);
	$proxy->kill9;
	return $result;
}

# Has the relay use another port.
sub relay_to
{
	my ($self, $port) = @_;
	my $url = $self->{broker}->url =~ s/:\d+\//:$port\//r;
	$self->sql("ALTER SYSTEM SET outbox.amqp_url = '$url'");
	$self->sql('SELECT pg_reload_conf()');
	poll_until("the relay to be connected by port $port",
		sub { $self->sql("SELECT state = 'idle' AND broker LIKE '%:$port%' FROM outbox.relay") eq 't' });
	return;
}

1;
