# Texts.pm
#    Real text for the blog, from what every Debian has on its disk.
#
# Four sources, so that a machine without one of them (images without /usr/share/doc, say) still
# fills the blog: the sections of Perl's manual pages (this program runs in Perl, so they are
# there), the questions that packages ask at installation, in all their languages, changelogs with
# the names of the people who wrote them, and licences. Should all that give no text beyond ASCII,
# Perl's own names of characters do.

package Demo::Texts;

use strict;
use warnings;
use Cwd                    ();
use Encode                 ();
use File::Find             ();
use IO::Uncompress::Gunzip ();

use constant POSTS_MAX        => 6_000;
use constant PER_SOURCE_MAX   => 2_400;
use constant BODY_CHARS_MAX   => 4_000;
use constant TITLE_CHARS_MAX  => 200;
use constant FILE_BYTES_MAX   => 512 * 1024;
use constant CHANGES_PER_FILE => 8;

# Posts as hashes of author, title and body, in characters; the same on each call. What a file
# cannot give is skipped. Dies if there is nothing at all.
sub posts
{
	my @posts = map { limited($_) } [ package_questions() ], [ changelogs() ], [ perl_manuals() ],
	  [ licences() ];
	push @posts, scripts() unless grep { $_->{body} =~ /[^\x00-\x7f]/ } @posts;
	splice @posts, POSTS_MAX if @posts > POSTS_MAX;
	die "no text found on this machine to fill the blog with\n" unless @posts;
	return @posts;
}

sub limited
{
	my ($posts) = @_;
	return @$posts > PER_SOURCE_MAX ? @$posts[ 0 .. PER_SOURCE_MAX - 1 ] : @$posts;
}

sub post
{
	my ($author, $title, $body) = @_;
	for ($author, $title, $body)
	{
		tr/\x00-\x08\x0b-\x1f\x7f//d;
		s/\A\s+|\s+\z//g;
	}
	$title =~ s/\s+/ /g;
	return () if $author eq '' || $title eq '' || length $body < 20;
	return {
		author => $author,
		title  => substr($title, 0, TITLE_CHARS_MAX),
		body   => substr($body,  0, BODY_CHARS_MAX), };
}

# ---- the questions of debconf, translated -------------------------------------------------------

sub package_questions
{
	my @posts;
	for my $path (sort glob '/var/lib/dpkg/info/*.templates')
	{
		my ($package) = $path =~ m{([^/]+?)(?::\w+)?\.templates$};
		push @posts, map { questions_of($package, $_) } split /\n{2,}/, read_text($path);
	}
	return @posts;
}

# Description-de.UTF-8: one line, then lines that begin with a space; a lone dot is an empty line.
sub questions_of
{
	my ($package, $template) = @_;
	my @posts;
	while ($template =~ /^Description(?:-(\w+)\.UTF-8)?: (.+)\n((?: .*(?:\n|\z))*)/mg)
	{
		my ($language, $title, $body) = ($1 // 'en', $2, $3);
		$body =~ s/^ \.?//mg;
		push @posts, post("$package ($language)", $title, $body);
	}
	return @posts;
}

# ---- changelogs ---------------------------------------------------------------------------------

sub changelogs
{
	return map { changes_of($_) } sort glob '/usr/share/doc/*/changelog.Debian.gz';
}

sub changes_of
{
	my ($path) = @_;
	my $text = read_text($path);
	my @posts;
	while ($text =~ /^(\S+ \([^)]+\)) .*?\n(.*?)^ -- (.+?) +<.*?\n/msg)
	{
		push @posts, post($3, $1, $2);
		last if @posts >= CHANGES_PER_FILE;
	}
	return @posts;
}

# ---- Perl's manual pages ------------------------------------------------------------------------

sub perl_manuals
{
	my %files;
	for my $folder (map { Cwd::realpath($_) } grep { m{^/usr/(?:share|lib)/} && -d } @INC)
	{
		File::Find::find({ no_chdir => 1, wanted => sub { $files{$_} = 1 if /\.(?:pm|pod)$/ } },
			$folder);
	}
	return map { sections_of($_) } sort keys %files;
}

sub sections_of
{
	my ($path) = @_;
	my $text   = read_text($path);
	my ($name) = $text =~ /^=head1 NAME\s+([\w:]+)/m or return ();
	my @posts;
	while ($text =~ /^=head\d (.+?)\n(.*?)(?=^=(?:head|cut)|\z)/msg)
	{
		my ($title, $body) = ($1, $2);
		$body =~ s/^=item \*?\s*/- /mg;
		$body =~ s/^=\w.*\n//mg;
		s/[A-Z]<<? ?([^<>]*?) ?>?>/$1/g for $title, $body;
		push @posts, post($name, ucfirst(lc $title) . ": $name", $body);
	}
	return @posts;
}

# ---- licences, and the last resort --------------------------------------------------------------

sub licences
{
	my @posts;
	for my $path (grep { -f && !-l } sort glob '/usr/share/common-licenses/*')
	{
		my ($name) = $path =~ m{([^/]+)$};
		my $part = 0;
		push @posts, map { post($name, "$name, part " . ++$part, $_) } split /\n{3,}/,
		  read_text($path);
	}
	return @posts;
}

sub scripts
{
	require charnames;
	my %ranges = (
		Greek    => [ 0x3b1,   0x3c9 ],
		Cyrillic => [ 0x430,   0x44f ],
		Hebrew   => [ 0x5d0,   0x5ea ],
		Hiragana => [ 0x3042,  0x3093 ],
		Emoji    => [ 0x1f600, 0x1f64f ]);
	return map {
		my ($first, $last) = @{ $ranges{$_} };
		post('Unicode', "$_: " . chr($first) . ' to ' . chr($last),
			join "\n", map { chr($_) . '  ' . (charnames::viacode($_) // '') } $first .. $last);
	} sort keys %ranges;
}

# ---- files --------------------------------------------------------------------------------------

# The beginning of a file, as characters; '' if it cannot be read. What is not UTF-8 is Latin-1.
sub read_text
{
	my ($path) = @_;
	my $file = $path =~ /\.gz$/ ? IO::Uncompress::Gunzip->new($path) : undef;
	if (!$file)
	{
		open($file, '<:raw', $path) or return '';
	}
	my $bytes = '';
	read $file, $bytes, FILE_BYTES_MAX;
	$bytes =~ s/[\xc0-\xff][\x80-\xbf]*\z// if length $bytes == FILE_BYTES_MAX;
	my $text = eval { Encode::decode('UTF-8', $bytes, Encode::FB_CROAK() | Encode::LEAVE_SRC()) };
	return $text // Encode::decode('ISO-8859-1', $bytes);
}

1;
