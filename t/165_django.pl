# examples/django: a service that caches and never deletes a copy. The grants of its page, its
# migrations, its server, and every way of writing that Django's signals do not see.

use strict;
use warnings;
use FindBin;
use HTTP::Tiny;
use JSON::PP ();
use Outbox::Page;
use Outbox::Pipeline;
use Outbox::Port 'free_port';
use Outbox::Process;
use Outbox::Wait;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/..";
my $pipe = Outbox::Pipeline->start;
my ($node, $redis, $dir) = map { $pipe->$_ } qw(node redis dir);
system_or_bail('cp', '-r', "$root/examples/django", "$dir/django");

# ---- what a superuser does, as the page has it ----

$node->safe_psql('postgres', 'CREATE ROLE shop LOGIN');
$node->safe_psql('postgres', 'CREATE DATABASE shop OWNER shop');
my ($sql) = Outbox::Page->read($root, 'examples/django/README.md')->text =~ /\n\n((?:    [A-Z].*;\n)+)/;
is($node->psql('shop', $sql, on_error_stop => 1), 0, 'extension and grants');

# ---- Django ----

my $port = free_port();
my %env = (
	PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'shop', PGUSER => 'shop',
	REDIS_URL => $redis->url, PYTHONDONTWRITEBYTECODE => 1, PYTHONWARNINGS => 'ignore');

# manage.py by Debian's Python, whose packages these are.
sub manage
{
	my (@arguments) = @_;
	local %ENV = (%ENV, %env);
	my ($out, $err) = ('', '');
	IPC::Run::run([ '/usr/bin/python3', 'manage.py', @arguments ], '<', \undef, '>', \$out, '2>', \$err,
		init => sub { chdir "$dir/django" or die "$dir/django: $!\n" })
	  or die "manage.py @arguments: $out$err\n";
	return $out;
}

manage('migrate', '--verbosity=0');
is($node->safe_psql('shop', q(SELECT relation || array_to_string(templates, ' ') FROM outbox.watched)),
	'shop_productproducts:all product:{id} products:in:{category}', 'the migration watches its table');
unlike(manage('makemigrations', '--check', '--dry-run'), qr/Product/, 'models and migrations agree');
$node->safe_psql('shop', q(INSERT INTO shop_product (name, price, category) VALUES
	('Tea', 3.20, 'drinks'), ('Cake', 4.50, 'food'), ('Bread', 2.10, 'food')));
my $server = Outbox::Process->start(
	name    => 'django',
	command => [ '/usr/bin/python3', 'manage.py', 'runserver', '--noreload', "127.0.0.1:$port" ],
	env     => \%env,
	dir     => "$dir/django",
	log     => "$dir/django.log");
my $http = HTTP::Tiny->new(timeout => 30);

sub get
{
	my ($path) = @_;
	my $answer = $http->get("http://127.0.0.1:$port$path");
	die "$path: $answer->{status} $answer->{content}\n" unless $answer->{status} =~ /^(200|404)$/;
	return ($answer->{headers}{'x-cache'}, JSON::PP->new->utf8->allow_nonref->decode($answer->{content}));
}

my @pages = ('/products', '/products/1', '/products/2', '/categories/food', '/categories/drinks');
my %key_of = ('/products' => 'products:all', '/products/1' => 'product:1', '/products/2' => 'product:2',
	'/categories/food' => 'products:in:food', '/categories/drinks' => 'products:in:drinks');
poll_until('Django to answer', sub { (get('/products/1'))[0] });

sub fill
{
	$node->wait_published('shop');
	for my $page (@pages)
	{
		poll_until("a copy of $page", sub { (get($page))[0] eq 'hit' });
	}
	return;
}

# After this change the pages named are read anew, and the others are still copies.
sub changes
{
	my ($what, $change, @old) = @_;
	fill();
	$redis->set_keys('behind');
	$change->();
	# Keys of one database are deleted in the order of the commits: what is not gone by then stays.
	$node->safe_psql('shop', q(SELECT outbox.invalidate('behind')));
	ok($redis->wait_gone('behind', map { $key_of{$_} } @old), "$what: " . (@old ? "@old are deleted" : 'waited for'));
	my %old = map { $_ => 1 } @old;
	is_deeply([ grep { !$redis->exists($key_of{$_}) } @pages ], [ grep { $old{$_} } @pages ], "$what: and no others");
	return;
}

sub shell { my ($code) = @_; return manage('shell', '-c', "from shop.models import Product\nfrom django.db import connection, transaction\n$code") }

changes('a POST', sub {
		$http->post("http://127.0.0.1:$port/products/1", { content => '{"price": "3.50"}' }) },
	qw(/products /products/1 /categories/drinks));
is((get('/products/1'))[1]{price}, '3.50', 'the new price is read');
changes('QuerySet.update()', sub { shell(q(Product.objects.filter(category='food').update(price=5))) },
	qw(/products /products/2 /categories/food));
changes('another category', sub { shell(q(p = Product.objects.get(id=2); p.category = 'drinks'; p.save())) },
	qw(/products /products/2 /categories/food /categories/drinks));
changes('bulk_create(), raw SQL', sub { shell(<<'PYTHON') }, qw(/products /categories/food));
Product.objects.bulk_create([Product(name='Jam', price=1, category='food')])
with connection.cursor() as cursor: cursor.execute("UPDATE shop_product SET price = 9 WHERE name = 'Bread'")
PYTHON
changes('a colleague in psql', sub { $node->safe_psql('shop', 'DELETE FROM shop_product WHERE id = 1') },
	qw(/products /products/1 /categories/drinks));
is((get('/products/1'))[1], undef, 'what is gone is gone');
@pages = grep { $_ ne '/products/1' } @pages;
changes('a transaction that is rolled back', sub { shell(<<'PYTHON') });
try:
    with transaction.atomic():
        Product.objects.all().update(price=1)
        raise ValueError
except ValueError: pass
PYTHON
$redis->stop;
is((get('/products/2'))[0], 'off', 'without Redis it reads from the database');

$server->stop;
$pipe->finish;
