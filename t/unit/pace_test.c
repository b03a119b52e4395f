/*
 * pace_test.c
 *    How long after one window the next is opened.
 */
#include "t/unit/unit.h"

#include "relay/pace.h"

static void
few_do_not_wait(void **state)
{
	(void) state;
	assert_int_equal(pace_pause_us(0, true), 0);
	assert_int_equal(pace_pause_us(PACE_CROWD_EVENTS - 1, false), 0);
	assert_false(pace_is_crowd(PACE_CROWD_EVENTS - 1));
}

static void
a_crowd_waits_the_longer_the_larger_it_is(void **state)
{
	(void) state;
	assert_true(pace_is_crowd(PACE_CROWD_EVENTS));
	assert_int_equal(pace_pause_us(PACE_CROWD_EVENTS, true), PACE_LEAST_US);
	assert_int_equal(pace_pause_us(24, true), 4000);
	assert_int_equal(pace_pause_us(25, true), 5000);
	assert_int_equal(pace_pause_us(100, true), 10000);
	for (size_t events = 1; events < 1000; events++)
		assert_true(pace_pause_us(events, true) >= pace_pause_us(events - 1, true));
}

/* Whatever a drain brings, and while the broker has not answered. */
static void
nobody_waits_longer_than_the_most(void **state)
{
	(void) state;
	assert_int_equal(pace_pause_us(400, true), PACE_MOST_US);
	assert_int_equal(pace_pause_us(SIZE_MAX, true), PACE_MOST_US);
	assert_int_equal(pace_pause_us(PACE_CROWD_EVENTS, false), PACE_MOST_US);
}

/* Events at a steady rate: from whatever window on, the pauses come to as many milliseconds as there are
 * events in each. */
static void
it_settles(void **state)
{
	(void) state;
	for (size_t first = PACE_CROWD_EVENTS; first < 100000; first *= 5)
	{
		for (size_t rate = 5; rate <= 20; rate++)
		{
			int64_t pause_us = pace_pause_us(first, true);

			for (int i = 0; i < 20; i++)
				pause_us = pace_pause_us((size_t) pause_us * rate / 1000, true);
			assert_in_range(pause_us, (rate - 2) * 1000, rate * 1000);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(few_do_not_wait),
		cmocka_unit_test(a_crowd_waits_the_longer_the_larger_it_is),
		cmocka_unit_test(nobody_waits_longer_than_the_most),
		cmocka_unit_test(it_settles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
