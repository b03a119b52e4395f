# Page.pm
#    A document in Markdown, as its tests see it: sections, code blocks, anchors, links, tables.

package Outbox::Page;

use strict;
use warnings;
use Carp;

# Reads a file. Its path is relative to the checkout's root.
sub read
{
	my ($class, $root, $path) = @_;
	open(my $file, '<:encoding(UTF-8)', "$root/$path") or croak "$path: $!";
	local $/;
	my $text = <$file>;
	return bless { root => $root, path => $path, text => $text }, $class;
}

sub path { return $_[0]{path} }
sub text { return $_[0]{text} }

# What stands below a heading, up to the next one of any level; dies where there is none.
sub section
{
	my ($self, $heading) = @_;
	my ($text) = $self->{text} =~ /^\#+ \Q$heading\E\n(.*?)(?=^\#+ |\z)/ms
	  or croak "$self->{path} has no section \"$heading\"";
	return $text;
}

# Fenced code blocks of a language (all of them without), in order, without their indentation. Of a
# section, or of the whole page. Each: { language, text }.
sub blocks
{
	my ($self, $language, $heading) = @_;
	my $text = defined $heading ? $self->section($heading) : $self->{text};
	my @blocks;
	while ($text =~ /^( *)```(\w*)\n(.*?)^\1```$/gms)
	{
		my ($indent, $of, $body) = ($1, $2, $3);
		next if defined $language && $of ne $language;
		$body =~ s/^$indent//mg;
		push @blocks, { language => $of, text => $body };
	}
	return @blocks;
}

# The text without code: no fenced block, no indented one, no `span`.
sub prose
{
	my ($self) = @_;
	my $text = $self->{text} =~ s/^( *)```.*?^\1```$//gmsr;
	$text =~ s/(?<=\n)\n(?: {4}.*\n(?:\n(?= {4}))?)+/\n\n/g;
	return $text =~ s/`[^`\n]*`//gr;
}

# What stands between back-ticks, once each.
sub spans
{
	my ($self) = @_;
	my $text = $self->{text} =~ s/^( *)```.*?^\1```$//gmsr;
	my %seen;
	return grep { !$seen{$_}++ } $text =~ /`([^`\n]+)`/g;
}

# [text](target) and ![text](target) outside of code: the targets.
sub links
{
	my ($self) = @_;
	my $prose = $self->prose;
	return ($prose =~ /\]\(([^()\s]+)(?:\s+"[^"]*")?\)/g, $prose =~ /<(https?:[^>]+)>/g);
}

# The anchors of its headings, as GitHub makes them.
sub anchors
{
	my ($self) = @_;
	my $text = $self->{text} =~ s/^( *)```.*?^\1```$//gmsr;
	my (%count, @anchors);
	for my $heading ($text =~ /^\#+ +(.*?)\s*$/mg)
	{
		my $anchor = lc $heading =~ s/\[([^]]*)\]\([^)]*\)/$1/gr;
		$anchor =~ s/[^\w\- ]//g;
		$anchor =~ tr/ /-/;
		my $number = $count{$anchor}++;
		push @anchors, $number ? "$anchor-$number" : $anchor;
	}
	return @anchors;
}

# The rows of the tables of a section, as arrays of cells; neither heads nor rules.
sub rows
{
	my ($self, $heading) = @_;
	my @lines = grep { /^\s*\|/ } split /\n/, $self->section($heading);
	my @rows;
	for my $i (0 .. $#lines)
	{
		next if $lines[$i] =~ /^\s*\|[\s|:-]+\|?$/;
		next if $i < $#lines && $lines[ $i + 1 ] =~ /^\s*\|[\s|:-]+\|?$/;
		my $line = $lines[$i] =~ s/^\s*\|\s*|\s*\|\s*$//gr;
		push @rows, [ split /\s*(?<!\\)\|\s*/, $line ];
	}
	return @rows;
}

1;
