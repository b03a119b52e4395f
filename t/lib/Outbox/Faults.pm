# Faults.pm
#    A library loaded before a server, t/preload/faults.c: the clock jumps, an allocation fails.
#
#     my $faults = Outbox::Faults->new(dir => $dir);
#     $faults->start_node($node);
#     $faults->set_clock(-3600);
#     $faults->fail_allocation($pid, 5);      # the fifth from now on, of this process

package Outbox::Faults;

use strict;
use warnings;
use Carp;
use FindBin;

# Named arguments: dir, where the library is built.
sub new
{
	my ($class, %arg) = @_;
	my $self = bless { library => "$arg{dir}/faults.so", path => "$arg{dir}/faults" }, $class;
	my @build = ('cc', '-shared', '-fPIC', '-O2', '-fno-builtin', '-o', $self->{library},
		"$FindBin::RealBin/preload/faults.c");
	system(@build) == 0 or croak "@build: $?";
	open(my $file, '>', $self->{path}) or croak "$self->{path}: $!";
	print $file pack('qll', 0, 0, 0);
	close $file or croak "$self->{path}: $!";
	return $self;
}

# Starts a server, an Outbox::Postgres, with the library.
sub start_node
{
	my ($self, $node) = @_;
	local $ENV{LD_PRELOAD} = $self->{library};
	local $ENV{OUTBOX_TEST_FAULTS} = $self->{path};
	return $node->start;
}

sub set_clock       { my ($self, $offset_s) = @_; return $self->set(0, pack 'q', $offset_s) }
sub fail_allocation { my ($self, $pid, $count) = @_; return $self->set(8, pack 'll', $pid, $count) }

# So many more would have to come; 0: it has failed.
sub left
{
	my ($self) = @_;
	open(my $file, '<', $self->{path}) or croak "$self->{path}: $!";
	sysread($file, my $bytes, 16) == 16 or croak "$self->{path}: cut";
	return unpack 'x12l', $bytes;
}

sub set
{
	my ($self, $at, $bytes) = @_;
	open(my $file, '+<', $self->{path}) or croak "$self->{path}: $!";
	sysseek($file, $at, 0);
	syswrite($file, $bytes) == length $bytes or croak "$self->{path}: $!";
	close $file or croak "$self->{path}: $!";
	return;
}

1;
