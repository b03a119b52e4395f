# The SQL of the documents runs, in the order in which it stands there, and every name of ours in every
# document is one that there is. (docs/recording.md is 046; the runbooks of operations.md 161 and 162;
# README and the quick start 160.)

use strict;
use warnings;
use FindBin;
use Outbox::Page;
use Outbox::Pipeline;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/..";
my $pipe = Outbox::Pipeline->start(worker => 0);
my ($node, $broker) = map { $pipe->$_ } qw(node broker);
my $made = 0;

# A database of its own with the extension.
sub make_database
{
	my $name = 'page' . ++$made;
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->safe_psql($name, 'CREATE EXTENSION pg_outbox');
	return $name;
}

# Runs blocks of SQL in one session; gives what they answered.
sub runs
{
	my ($what, $database, @blocks) = @_;
	my $sql = join '', map { $_->{text} } @blocks;
	# Once is enough here.
	$sql =~ s/ *\\watch \d+$/;/mg;
	my ($status, $out, $err) = $node->psql($database, $sql, on_error_stop => 1);
	is($status, 0, "$what: its SQL runs") or diag($err);
	return $out;
}

# ---- pages whose every block can run as it stands ----

my (%answers, %database_of);
for my $path (grep { !/operations|recording/ } map { s{^\Q$root\E/}{}r } glob "\Q$root\E/docs/*.md")
{
	my $page = Outbox::Page->read($root, $path);
	next if $path =~ /quick-start/;
	my @blocks = $page->blocks('sql') or next;
	$database_of{$path} = make_database();
	$answers{$path} = runs($path, $database_of{$path}, @blocks);
}
cmp_ok(scalar keys %answers, '>', 2, 'pages with SQL');
like($answers{'docs/recipes.md'}, qr/^products:newest\nproduct:1\nproducts:in:food\nproducts:in:drinks$/m,
	'recipes: explain answers what the page says');
like($answers{'docs/recipes.md'}, qr/^blogs:all\nblog:42\nauthor:7:blogs$/m, 'recipes: ... and for the blog');

# ---- operations.md: what is no runbook ----

my $operations = Outbox::Page->read($root, 'docs/operations.md');
my $database = make_database();
$node->safe_psql($database, q(CREATE TABLE blogs (id int); SELECT outbox.watch('blogs', 'blog:{id}')));
for my $heading ('Fail-over', 'Pause', 'A new password, another broker')
{
	runs("operations.md, $heading", $database, $operations->blocks('sql', $heading));
}
my ($update) = $operations->blocks('sql', 'Upgrade');
like(runs('operations.md, Upgrade', $database, $update), qr/^1\./m, 'the version');
my ($adopt) = $operations->blocks('sql', 'pg_upgrade');
runs('operations.md, pg_upgrade', $database, $adopt);
runs('operations.md, Removing it', $database, $operations->blocks('sql', 'Removing it'));
is($node->safe_psql($database, q(SELECT count(*) FROM pg_extension WHERE extname = 'pg_outbox')), 0, '... and it is gone');

# ---- security.md: the roles can do what the page says, and no more ----

my $secured = $database_of{'docs/security.md'};
$node->safe_psql($secured, 'CREATE TABLE theirs (id int); ALTER TABLE theirs OWNER TO migrations; GRANT ALL ON theirs TO app');

# Whether a role may.
sub may
{
	my ($role, $sql) = @_;
	my ($status, undef, $err) = $node->psql($secured, "SET ROLE $role; BEGIN; $sql; ROLLBACK", on_error_stop => 1);
	die "$role: $sql: $err" if $status && $err !~ /permission denied|must be owner/;
	return $status == 0;
}

my @table = (
	#  statement                                                    who may
	[ q(SELECT outbox.invalidate('a')),                             'app' ],
	[ q(SELECT outbox.publish('q', '1')),                           'app' ],
	[ q(SELECT outbox.publish_to('e', 'k', '1')),                   '' ],
	[ q(SELECT send_email('a')),                                    'app' ],
	[ q(INSERT INTO theirs VALUES (1)),                             'app migrations' ],
	[ q(SELECT outbox.watch('theirs', 'a:{id}')),                   'migrations' ],
	[ q(SELECT outbox.unwatch('theirs')),                           'migrations' ],
	[ q(SELECT * FROM outbox.watched),                              'migrations operator' ],
	[ q(SELECT outbox.pause('x')),                                  'operator' ],
	[ q(SELECT outbox.resume()),                                    'operator' ],
	[ q(SELECT outbox.retry_dead_letters('', 'q')),                 'operator' ],
	[ q(SELECT outbox.adopt()),                                     '' ],
	[ q(TABLE outbox.lag),                                          'operator' ],
	[ q(SELECT keys FROM outbox.event),                             '' ],
	[ q(SELECT payload FROM outbox.dead_letter),                    '' ],
	[ q(SELECT outbox.report_consumer('n', 's', 0, 0, 0, 0, 0, '')), 'reporter' ],
	[ q(SET outbox.amqp_url = 'amqp://elsewhere'),                  '' ],
	[ q(SET outbox.traceparent = 'x'),                              'app migrations operator reporter' ]);
$node->safe_psql($secured, q(SELECT outbox.watch('theirs', 'b:{id}')));
for my $row (@table)
{
	my ($sql, $who) = @$row;
	is(join(' ', grep { may($_, $sql) } qw(app migrations operator reporter)), $who, "security.md: who may $sql");
}

# The relay's user at the broker.
my $permissions = slurp_file("$root/docs/security.md");
my @permissions = $permissions =~ /^    rabbitmqctl set_permissions (.*)$/mg;
is(scalar @permissions, 2, 'two sets of permissions');
$broker->ctl('add_user', 'relay', 'secret');
$node->safe_psql('postgres', q(ALTER SYSTEM SET outbox.amqp_url = ') . $broker->url(user => 'relay', password => 'secret') . q('));
for my $line (@permissions)
{
	$broker->ctl('set_permissions', map { s/^'|'$//gr } $line =~ /('[^']*'|\S+)/g);
	$broker->delete_queue('cache-invalidation'), $broker->delete_queue('cache-invalidation.dead') if $line eq $permissions[0];
	$node->reload;
	$node->wait_relay('idle');
	$pipe->sql('SELECT outbox.restart_relay()');
	$pipe->sql(q(SELECT outbox.invalidate('by relay')));
	$node->wait_published;
	is($broker->wait_message('cache-invalidation')->{json}{keys}[0], 'by relay', "the relay's user may publish: $line");
	is($pipe->sql(q(SELECT count(*) FROM outbox.destination WHERE state = 'parked')), 0, '... and nothing is parked');
	unlike(slurp_file($node->logfile), qr/could not declare/, '... nor is anything amiss');
}

# ---- names ----

my %function = map { $_ => 1 } split /\n/, $pipe->sql(q(SELECT proname FROM pg_proc WHERE pronamespace = 'outbox'::regnamespace));
my %relation = map { $_ => 1 } split /\n/, $pipe->sql(q(SELECT relname FROM pg_class WHERE relnamespace = 'outbox'::regnamespace));
my %column = map { $_ => 1 } split /\n/, $pipe->sql(q(SELECT relname || '.' || attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
	WHERE relnamespace = 'outbox'::regnamespace AND attnum > 0));
my %default = map { /^([^=]*)=(.*)$/ } split /\n/, $pipe->sql(q(SELECT substr(name, 8) || '=' || CASE WHEN unit = 'B'
	THEN replace(pg_size_pretty(boot_val::bigint), ' ', '') ELSE boot_val END FROM pg_settings WHERE name LIKE 'outbox.%'));
$_ =~ s/^1024kB$/1MB/ for values %default;
cmp_ok(scalar keys %default, '>', 10, 'settings');

my @unknown;
my @paths = map { s{^\Q$root\E/}{}r } map { glob "\Q$root\E/$_" } '*.md', 'docs/*.md', '*/README.md', 'examples/*/*.md', 'docs/man/*.7';
for my $path (@paths)
{
	my $text = slurp_file("$root/$path");
	# Not file names, nor the objects of a program.
	while ($text =~ /(?<![\w\/.-])outbox\.(\w+)(?:\.(\w+))?(?!\.?\w*\()/g)
	{
		my ($name, $member) = ($1, $2);
		# A file's name; what stands for a name; the type of a message on the wire.
		next if $name =~ /^(?:c|h|sql|md|js|pm|pl|NAME|message)$/;
		my $known = defined $member && $relation{$name} ? $column{"$name.$member"}
		  : $function{$name} || $relation{$name} || defined $default{$name};
		push @unknown, "$path: outbox.$name" . (defined $member ? ".$member" : '') unless $known;
	}
	push @unknown, map { "$path: outbox.$_()" } grep { !$function{$_} && !$relation{$_} } $text =~ /(?<![\w\/.-])outbox\.(\w+)\(/g;
}
is(join("\n", @unknown), '', 'every outbox.name in the documents is one that there is');

# ---- reference.md and pg_outbox(7) have all of them ----

my $reference = Outbox::Page->read($root, 'docs/reference.md');
# Behind views, triggers of our own, and the last step of CREATE EXTENSION.
my $internal = qr/_status$|^(?:discard|installed|trigger_details|rotation_blockers)$/;
my @calls = split /\n/, $pipe->sql(q(SELECT proname || '(' || coalesce(pg_get_function_arguments(oid), '') || ')'
	FROM pg_proc WHERE pronamespace = 'outbox'::regnamespace));
my @public = grep { /^(\w+)/; $1 !~ $internal } @calls;
my %described = map { $_->[0] =~ /^`outbox\.(.*)`$/ ? ($1 =~ s/DEFAULT (NULL|'10 s')/DEFAULT $1/r => 1) : () }
  map { $reference->rows($_) } 'Recording', 'Looking', 'Operating';
sub plain { return $_[0] =~ s/::\w+(?: precision)?//gr =~ s/'00:00:10'/'10 s'/gr =~ s/OUT .*//r }
is(join("\n", sort grep { !/^explain/ && !$described{$_} } map { plain($_) } @public), '', 'reference.md has every call as it is');
ok((grep { /^explain\(relation regclass, old jsonb, new jsonb\)/ } keys %described), '... explain as well');
is_deeply([ sort grep { my $call = $_; !grep { plain($_) =~ /^\Q$call\E/ || ($call =~ /^explain/ && /^explain/) } @public } keys %described ],
	[], '... and no other');

my %view = map { $_->[0] =~ /^`outbox\.(\w+)`$/ ? ($1 => $_->[2]) : () } $reference->rows('Views');
my @views = split /\n/, $pipe->sql(q(SELECT relname FROM pg_class WHERE relnamespace = 'outbox'::regnamespace AND relkind = 'v' ORDER BY 1));
is_deeply([ sort keys %view ], \@views, 'reference.md has every view');
for my $name (@views)
{
	my ($listed) = ($view{$name} // '') =~ s/ \([^)]*\)//gr =~ /^((?:`\w+`(?:, )?)+)/;
	my @listed = ($listed // '') =~ /(?:^|, )`(\w+)`/g;
	my @columns = split /\n/, $pipe->sql(qq(SELECT attname FROM pg_attribute WHERE attrelid = 'outbox.$name'::regclass AND attnum > 0 ORDER BY attnum));
	is("@listed", "@columns", "... and the columns of outbox.$name");
}

my %setting = map { $_->[0] =~ /^`outbox\.(\w+)`$/ ? ("$1" => $_->[1] =~ s/^empty$//r =~ s/`//gr) : () } $reference->rows('Settings');
is_deeply(\%setting, \%default, 'reference.md has every setting with its default');

my $manual = slurp_file("$root/docs/man/pg_outbox.7");
is_deeply([ sort grep { $manual !~ /outbox\.\Q$_\E\b/ } keys %default, @views,
	grep { !/$internal/ } keys %function ], [], 'pg_outbox(7) has every setting, view and call');

$pipe->finish;
