# StandIns.pm
#    Programs that stand in the path before the system's, so that the commands of a document run as they
#    are printed, on private servers: `sudo rabbitmqctl ...` reaches this test's broker.
#
# Each is a line or two of shell. What a document may say and what it means here is one table: the keys
# of %$programs. `sudo` itself runs what follows it, as whom it may be.

package Outbox::StandIns;

use strict;
use warnings;
use Carp;
use Outbox::File;

# Named arguments: dir (made), env (for all of them), programs (name => shell script).
sub new
{
	my ($class, %arg) = @_;
	my $self = bless { dir => $arg{dir}, env => $arg{env} // {} }, $class;
	mkdir $arg{dir};
	$self->add('sudo', <<'SH');
while [ $# -gt 0 ]; do
	case $1 in
	-u) shift 2 ;;
	*) break ;;
	esac
done
exec "$@"
SH
	$self->add($_, $arg{programs}{$_}) for keys %{ $arg{programs} // {} };
	return $self;
}

sub add
{
	my ($self, $name, $script) = @_;
	my $path = "$self->{dir}/$name";
	write_file($path, "#!/bin/sh\n$script");
	chmod 0755, $path or croak "$path: $!";
	return;
}

# rabbitmqctl and rabbitmq-diagnostics of this broker.
sub add_rabbitmq
{
	my ($self, $broker) = @_;
	my $env = $broker->environment;
	my $settings = join '', map { defined $env->{$_} ? "export $_='$env->{$_}'\n" : "unset $_\n" } sort keys %$env;
	$self->add($_, "${settings}cd '$broker->{dir}'\nexec /usr/lib/rabbitmq/bin/$_ \"\$@\"\n")
	  for 'rabbitmqctl', 'rabbitmq-diagnostics';
	return;
}

# Runs a block of commands in one shell, which ends at the first that fails. Gives its status and all it
# said. Named: dir (working directory), input.
sub run
{
	my ($self, $script, %arg) = @_;
	my $file = "$self->{dir}/.script";
	open(my $out, '>:encoding(UTF-8)', $file) or croak "$file: $!";
	print $out $script;
	close $out or croak "$file: $!";
	local %ENV = (%ENV, %{ $self->{env} }, PATH => "$self->{dir}:$ENV{PATH}");
	my $dir = $arg{dir} // $self->{dir};
	my $input = $arg{input} // '/dev/null';
	my $said = qx(cd '$dir' && sh -e '$file' 2>&1 <'$input');
	return ($? >> 8, $said);
}

1;
