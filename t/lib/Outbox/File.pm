# File.pm
#    A text to a file.

package Outbox::File;

use strict;
use warnings;
use Carp;
use Exporter 'import';

our @EXPORT = qw(write_file);

# In place of what it held. Returns its path.
sub write_file
{
	my ($path, @text) = @_;
	open(my $file, '>', $path) or croak "$path: $!";
	print $file @text;
	close $file or croak "$path: $!";
	return $path;
}

1;
