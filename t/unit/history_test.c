/*
 * history_test.c
 *    Ten minutes in seconds: what was done in each, those slept through, and the ring's end.
 */
#include "worker/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SECOND_US ((int64_t) 1000000)

static Histogram delay, redis_time;
static Figures   figures;
static History   history;

static int
begin(void **state)
{
	memset(&delay, 0, sizeof(delay));
	memset(&redis_time, 0, sizeof(redis_time));
	memset(&history, 0, sizeof(history));
	figures = (Figures){.queue_messages = 5,
	                    .broker.up = true,
	                    .redis.up = true,
	                    .messages = 100,
	                    .delay = &delay,
	                    .redis_time = &redis_time};
	history_note(&history, &figures, SECOND_US);
	return 0;
}

static const HistorySample *
last(void)
{
	return history_at(&history, history.count - 1);
}

static void
a_second_holds_what_was_done_in_it(void **state)
{
	figures.messages += 7;
	figures.keys_deleted += 20;
	histogram_add(&delay, 1000);
	histogram_add(&delay, 9000);
	history_note(&history, &figures, 2 * SECOND_US - 1);
	assert_int_equal(history.count, 0);
	history_note(&history, &figures, 2 * SECOND_US);
	assert_int_equal(history.count, 1);
	assert_int_equal(last()->messages, 7);
	assert_int_equal(last()->keys_deleted, 20);
	assert_int_equal(last()->delay_p99_us, 9000);
	assert_int_equal(last()->redis_p99_us, HISTORY_UNMEASURED);
	histogram_add(&delay, 3000);
	history_note(&history, &figures, 3 * SECOND_US);
	assert_int_equal(last()->messages, 0);
	assert_int_equal(last()->delay_p50_us, 3000);
	assert_int_equal(last()->delay_p99_us, 3000);
}

/* A loop that sleeps has done nothing; what woke it belongs to the last second. */
static void
seconds_slept_through_are_as_before(void **state)
{
	history_note(&history, &figures, 2 * SECOND_US);
	figures.messages += 1;
	figures.queue_messages = 9;
	figures.redis.up = false;
	history_note(&history, &figures, 6 * SECOND_US);
	assert_int_equal(history.count, 5);
	assert_int_equal(history_at(&history, 3)->messages, 0);
	assert_int_equal(history_at(&history, 3)->queue_messages, 5);
	assert_true(history_at(&history, 3)->redis_up);
	assert_int_equal(last()->messages, 1);
	assert_int_equal(last()->queue_messages, 9);
	assert_false(last()->redis_up);
}

static void
ten_minutes_are_kept(void **state)
{
	history_note(&history, &figures, 2 * SECOND_US);
	assert_int_equal(history_first(&history), 0);
	figures.queue_messages = 6;
	history_note(&history, &figures, 3600 * SECOND_US);
	assert_int_equal(history.count, 3599);
	assert_int_equal(history_first(&history), 3599 - HISTORY_SECONDS);
	assert_int_equal(history_at(&history, history_first(&history))->queue_messages, 5);
	assert_int_equal(last()->queue_messages, 6);
	history_note(&history, &figures, 3601 * SECOND_US);
	assert_int_equal(history.count, 3600);
}

/* What is larger than a sample can hold is the largest it can. */
static void
giant_figures_are_cut(void **state)
{
	figures.messages += (uint64_t) 1 << 40;
	figures.queue_messages = (int64_t) 1 << 40;
	history_note(&history, &figures, 2 * SECOND_US);
	assert_int_equal(last()->messages, UINT32_MAX);
	assert_int_equal(last()->queue_messages, INT32_MAX);
}

#define TEST(f) cmocka_unit_test_setup(f, begin)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_second_holds_what_was_done_in_it),
		TEST(seconds_slept_through_are_as_before),
		TEST(ten_minutes_are_kept),
		TEST(giant_figures_are_cut),
	};

	return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
