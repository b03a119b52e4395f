# Tree.pm
#    A copy of the PostgreSQL server's programs with our extension and worker installed in it.
#
# Tests and the demo must not write into the system's folders, and an extension can only be
# installed where its server looks. The server finds its libraries and shared files relative to its
# own program, so a copy of three folders in their usual layout is a server of its own.

package Outbox::Tree;

use strict;
use warnings;
use Fcntl ':flock';
use File::Path ();

# What make hands down to its children must not reach the makes below.
my @make_variables = qw(MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL MAKEFILES T KEEP);

# Builds the checkout, copies the server that pg_config names to $root and installs there. Dies
# with the output of what failed. Two runs in one checkout build one after the other.
sub build
{
	my ($class, %arg) = @_;
	my $self = bless {
		root      => $arg{root},
		checkout  => $arg{checkout},
		pg_config => $arg{pg_config} || $ENV{PG_CONFIG} || 'pg_config',
	}, $class;

	File::Path::make_path("$arg{checkout}/build");
	open(my $lock, '>', "$arg{checkout}/build/.lock")
	  or die "cannot write in $arg{checkout}/build: $!\n";
	flock($lock, LOCK_EX) or die "lock of $arg{checkout}/build: $!\n";
	# Asked now: once the copy is first in PATH, pg_config would speak of the copy.
	$self->system_folder($_) for qw(bindir pkglibdir sharedir pgxs);
	$self->make("-j$arg{jobs}", 'all', @{ $arg{targets} || [] });
	$self->copy_server;
	$self->make('install', "DESTDIR=$arg{root}", 'BINDIR=/usr/local/bin');
	return $self;
}

sub root { return $_[0]{root} }

# Where one of pg_config's folders is in the copy: bindir, pkglibdir, sharedir.
sub folder
{
	my ($self, $which) = @_;
	return $self->{root} . $self->system_folder($which);
}

sub worker { return "$_[0]{root}/usr/local/bin/outbox-worker" }

sub system_folder
{
	my ($self, $which) = @_;
	return $self->{folders}{$which} //= do
	{
		my $path = output($self->{pg_config}, "--$which");
		chomp $path;
		$path;
	};
}

# PostgreSQL's own test programs: the folder src/test beside pgxs.mk.
sub test_folder
{
	my ($self) = @_;
	my $pgxs = $self->system_folder('pgxs');
	$pgxs =~ s{/makefiles/[^/]+$}{/test} or die "unexpected answer of pg_config --pgxs: $pgxs\n";
	-x "$pgxs/regress/pg_regress" or die "no $pgxs/regress/pg_regress: see packages.txt\n";
	return $pgxs;
}

sub copy_server
{
	my ($self) = @_;
	for my $which (qw(bindir pkglibdir sharedir))
	{
		my $from = $self->system_folder($which);
		my $to = $self->folder($which);
		File::Path::make_path($to);
		# Neither bitcode nor the build system is needed to run; links are followed.
		run('sh', '-c', 'cd "$1" && tar -chf - --exclude=./bitcode --exclude=./pgxs . | tar -xf - -C "$2"',
			'sh', $from, $to);
	}
	return;
}

sub make
{
	my ($self, @targets) = @_;
	local %ENV = %ENV;
	delete @ENV{@make_variables};
	run($ENV{MAKE} || 'make', '-s', '-C', $self->{checkout}, 'with_llvm=no',
		"PG_CONFIG=$self->{pg_config}", @targets);
	return;
}

# Runs a command; its output is shown only if it fails.
sub run
{
	my (@command) = @_;
	my $output = '';
	my $status = capture(\$output, @command);
	die "$output\nfailed: @command\n" if $status != 0;
	return;
}

sub output
{
	my (@command) = @_;
	my $output = '';
	capture(\$output, @command) == 0 or die "$output\nfailed: @command\n";
	return $output;
}

sub capture
{
	my ($output, @command) = @_;
	my $pid = open(my $pipe, '-|') // die "fork: $!\n";
	if ($pid == 0)
	{
		open(STDERR, '>&', \*STDOUT);
		no warnings 'exec';
		exec { $command[0] } @command or print "cannot run $command[0]: $!\n";
		require POSIX;
		POSIX::_exit(127);
	}
	local $/;
	$$output = <$pipe> // '';
	close $pipe;
	return $?;
}

1;
