/*
 * destination_test.c
 *    The table of destinations: what is remembered, and what is forgotten.
 */
#include "t/unit/unit.h"

#include "relay/destination.h"

#include <stdio.h>

static Destinations list;

static int
begin(void **state)
{
	(void) state;
	assert_true(destinations_init(&list, 1));
	return 0;
}

static int
end(void **state)
{
	(void) state;
	destinations_free(&list);
	return 0;
}

static Destination *
use(int number)
{
	char name[32];

	snprintf(name, sizeof(name), "queue.%d", number);
	return destination_use(&list, mq_bytes_of("exchange"), mq_bytes_of(name));
}

static bool
is_known(int number)
{
	char name[32];

	snprintf(name, sizeof(name), "queue.%d", number);
	return destination_find(&list, mq_bytes_of("exchange"), mq_bytes_of(name)) != NULL;
}

static void
exchange_and_routing_key_together_are_the_name(void **state)
{
	Destination *a = destination_use(&list, mq_bytes_of("ab"), mq_bytes_of("c"));

	(void) state;
	assert_ptr_not_equal(a, destination_use(&list, mq_bytes_of("a"), mq_bytes_of("bc")));
	assert_ptr_equal(a, destination_use(&list, mq_bytes_of("ab"), mq_bytes_of("c")));
	assert_string_equal(a->exchange.data, "ab");
	assert_string_equal(a->routing_key.data, "c");
	assert_int_equal(list.count, 2);
}

static void
those_used_longest_ago_are_forgotten(void **state)
{
	(void) state;
	for (int i = 0; i < DESTINATIONS_MAX; i++)
		use(i);
	use(0);
	use(DESTINATIONS_MAX);
	assert_int_equal(list.count, DESTINATIONS_MAX);
	assert_true(is_known(0));
	assert_false(is_known(1));
	assert_true(is_known(DESTINATIONS_MAX));
}

static void
what_is_parked_or_under_way_is_never_forgotten(void **state)
{
	(void) state;
	destination_park(&list, use(0));
	use(1)->listed = 1;
	for (int i = 2; i < 3 * DESTINATIONS_MAX; i++)
		use(i);
	assert_true(is_known(0));
	assert_true(is_known(1));
	assert_int_equal(list.count, DESTINATIONS_MAX);
	assert_int_equal(list.parked_count, 1);
	destination_unpark(&list, use(0), DESTINATION_OPEN);
	assert_null(list.first_parked);
}

/* As many as can be under way at once: longer than the most, and found all the same. */
static void
more_than_the_most_may_be_needed_at_once(void **state)
{
	(void) state;
	for (int i = 0; i < 5 * DESTINATIONS_MAX; i++)
		use(i)->listed = 1;
	for (int i = 0; i < 5 * DESTINATIONS_MAX; i++)
		assert_true(is_known(i));
	for (int i = 0; i < 5 * DESTINATIONS_MAX; i++)
		use(i)->listed = 0;
	for (int i = 0; i < DESTINATIONS_MAX; i++)
		use(-1 - i);
	assert_int_equal(list.count, DESTINATIONS_MAX);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(exchange_and_routing_key_together_are_the_name),
		TEST(those_used_longest_ago_are_forgotten),
		TEST(what_is_parked_or_under_way_is_never_forgotten),
		TEST(more_than_the_most_may_be_needed_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
