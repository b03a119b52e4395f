# Postgres.pm
#    A PostgreSQL server with pg_outbox: PostgreSQL::Test::Cluster, and what our tests ask it.
#
# The programs come from the copied tree (Outbox::Tree), whose folder is first in PATH. Cannot run
# as root: PostgreSQL refuses.

package Outbox::Postgres;

use strict;
use warnings;
use Carp;
use parent -norequire, 'PostgreSQL::Test::Cluster';
use JSON::PP ();
use Outbox::Port 'free_port';
use Outbox::Wait;
use PostgreSQL::Test::Cluster;

# Makes a server's folder and settings; start() starts it. Named arguments: preload (0 leaves
# shared_preload_libraries alone), amqp_url, conf (further lines), standby (allows_streaming).
sub create
{
	my ($class, $name, %arg) = @_;
	my $node = PostgreSQL::Test::Cluster::new($class, $name, port => free_port());
	$node->init(
		extra => [ '--encoding=UTF8', '--no-locale' ],
		$arg{standby} ? (allows_streaming => 1) : ());
	$node->append_conf('postgresql.conf', "log_statement = none\nrestart_after_crash = on\n");
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_outbox'")
	  if $arg{preload} // 1;
	$node->append_conf('postgresql.conf', "outbox.amqp_url = '$arg{amqp_url}'") if $arg{amqp_url};
	$node->append_conf('postgresql.conf', $arg{conf}) if $arg{conf};
	return $node;
}

# Database "blog" with the extension and a watched table.
sub create_blog
{
	my ($self, $database) = @_;
	$database //= 'blog';
	$self->safe_psql('postgres', "CREATE DATABASE $database");
	$self->safe_psql($database, 'CREATE EXTENSION pg_outbox');
	$self->safe_psql($database, q(
		CREATE TABLE blogs (id int PRIMARY KEY, author_id int, title text);
		SELECT outbox.watch('blogs', 'blogs:all', 'blog:{id}', 'author:{author_id}:blogs');
	));
	return;
}

# The one row of a view as a hash; NULL is undef.
sub row
{
	my ($self, $database, $query) = @_;
	my $json = $self->safe_psql($database, "SELECT row_to_json(r) FROM ($query) r");
	return JSON::PP->new->utf8->decode($json);
}

sub relay { my ($self, $database) = @_; return $self->row($database // 'blog', 'TABLE outbox.relay') }
sub lag   { my ($self, $database) = @_; return $self->row($database // 'blog', 'TABLE outbox.lag') }

sub pending { my ($self, $database) = @_; return $self->lag($database)->{pending_events} }

# Waits until the relay's state is one of these; returns its row.
sub wait_relay
{
	my ($self, $states, $database, $limit_s) = @_;
	my %wanted = map { $_ => 1 } ref $states ? @$states : $states;
	my $seen = '';
	my $row = eval {
		poll_until(
			'relay to be ' . join(' or ', sort keys %wanted),
			sub {
				my $row = $self->relay($database);
				$seen = JSON::PP->new->canonical->encode($row);
				return $wanted{ $row->{state} } ? $row : undef;
			},
			$limit_s);
	};
	croak "$@; outbox.relay: $seen" if $@;
	return $row;
}

# Waits until the relay's last_error matches; returns its row.
sub wait_relay_error
{
	my ($self, $pattern, $database, $limit_s) = @_;
	my $seen = '';
	my $row = eval {
		poll_until(
			"outbox.relay.last_error to match $pattern",
			sub {
				my $row = $self->relay($database);
				$seen = JSON::PP->new->canonical->encode($row);
				return defined $row->{last_error} && $row->{last_error} =~ $pattern ? $row : undef;
			},
			$limit_s);
	};
	croak "$@; outbox.relay: $seen" if $@;
	return $row;
}

# Everything committed so far is confirmed by the broker. Dies if it is not in time.
sub wait_published
{
	my ($self, $database, $limit_s) = @_;
	$limit_s //= Outbox::Wait::LIMIT_S;
	my $answer = $self->safe_psql($database // 'blog', "SELECT outbox.wait_published('$limit_s s')");
	croak "not published within $limit_s s: "
	  . JSON::PP->new->canonical->encode($self->relay($database))
	  unless $answer eq 't';
	return 1;
}

# Number of the server's backends of this type (a background worker's bgw_type), in one database.
sub backends_like
{
	my ($self, $pattern, $database) = @_;
	my $where = defined $database ? "AND datname = '$database'" : '';
	return $self->safe_psql('postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE '$pattern' $where");
}

1;
