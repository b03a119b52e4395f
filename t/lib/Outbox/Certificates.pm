# Certificates.pm
#    An authority of a test's own, and certificates signed by it: good, expired, for another host.

package Outbox::Certificates;

use strict;
use warnings;
use Carp;
use File::Path ();
use Outbox::File;

# Makes the authority in a folder of its own.
sub new
{
	my ($class, $dir) = @_;
	my $self = bless { dir => $dir }, $class;

	File::Path::make_path($dir);
	$self->openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1',
		'-nodes', '-keyout', "$dir/ca.key", '-out', "$dir/ca.pem", '-days', 3650,
		'-subj', '/CN=authority of a test');
	write_file("$dir/ca.index", '');
	write_file("$dir/ca.conf", <<"CONF");
[ca]
default_ca = test
[test]
certificate = $dir/ca.pem
private_key = $dir/ca.key
database = $dir/ca.index
new_certs_dir = $dir
default_md = sha256
unique_subject = no
rand_serial = yes
policy = names
[names]
commonName = supplied
CONF
	return $self;
}

sub ca { return "$_[0]{dir}/ca.pem" }

# A certificate under this name; returns the paths of certificate and key. Named arguments: host (a
# name or an address; several in a list; default 127.0.0.1 and localhost), expired.
sub make
{
	my ($self, $name, %arg) = @_;
	my ($dir, $host) = ($self->{dir}, $arg{host} // [ '127.0.0.1', 'localhost' ]);
	my $names = join ',', map { (/^[\d.]+$|:/ ? 'IP:' : 'DNS:') . $_ } ref $host ? @$host : $host;

	$self->openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
		'-keyout', "$dir/$name.key", '-out', "$dir/$name.csr", '-subj', "/CN=$name");
	write_file("$dir/$name.ext", "subjectAltName=$names\n");
	# By dates and not by days: newer versions of `openssl x509` sign nothing that has expired.
	$self->openssl('ca', '-batch', '-notext', '-config', "$dir/ca.conf",
		'-in', "$dir/$name.csr", '-out', "$dir/$name.pem", '-extfile', "$dir/$name.ext",
		'-startdate', '20200101000000Z', '-enddate', $arg{expired} ? '20200102000000Z' : '20991231000000Z');
	chmod 0600, "$dir/$name.key";
	return ("$dir/$name.pem", "$dir/$name.key");
}

sub openssl
{
	my ($self, @arguments) = @_;
	my $log = "$self->{dir}/openssl.log";
	my $pid = fork // croak "fork: $!";
	if ($pid == 0)
	{
		open(STDOUT, '>>', $log);
		open(STDERR, '>>', $log);
		exec('openssl', @arguments) or exit 127;
	}
	waitpid $pid, 0;
	croak "openssl $arguments[0] failed: see $log" if $? != 0;
	return;
}

1;
