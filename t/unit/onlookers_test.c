/*
 * onlookers_test.c
 *    The summary in the log: each minute with work, at most one, and what was done since the last.
 */
#include "worker/onlookers.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MINUTE_US ((int64_t) 60000000)

static WorkerConfig config;
static Histogram    delay, round_trip;
static Figures      figures;
static Onlookers    onlookers;

static void
give_figures(void *context, Figures *out)
{
	*out = figures;
}

static int
begin(void **state)
{
	FigureSource source = {.context = NULL, .figures = give_figures};
	char         reason[200];

	memset(&delay, 0, sizeof(delay));
	figures = (Figures){.state = "consuming",
	                    .reason = "",
	                    .last_error = "",
	                    .queue_messages = -1,
	                    .broker_words = {"", ""},
	                    .redis_words = {"", ""},
	                    .queue = "",
	                    .patterns_trouble = "",
	                    .letters_trouble = "",
	                    .delay = &delay,
	                    .redis_time = &round_trip};
	return onlookers_open(&onlookers, &config, source, 0, reason, sizeof(reason)) ? 0 : -1;
}

static int
end(void **state)
{
	onlookers_close(&onlookers);
	return 0;
}

/* What a step at this time writes to standard error. */
static const char *
said_at(int64_t now_us)
{
	static char text[2000];
	int         ends[2];
	int         kept = dup(STDERR_FILENO);
	ssize_t     size;

	assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
	dup2(ends[1], STDERR_FILENO);
	onlookers_step(&onlookers, now_us);
	dup2(kept, STDERR_FILENO);
	size = read(ends[0], text, sizeof(text) - 1);
	text[size > 0 ? size : 0] = '\0';
	close(kept);
	close(ends[0]);
	close(ends[1]);
	return text;
}

static void
a_minute_with_work_has_a_summary(void **state)
{
	figures.messages = 7;
	figures.keys_deleted = 20;
	figures.dead_lettered = 1;
	figures.in_flight = 2;
	histogram_add(&delay, 3000);
	assert_string_equal(said_at(MINUTE_US - 1), "");
	assert_non_null(strstr(said_at(MINUTE_US),
	                       " info summary messages=7 keys_deleted=20 dead_lettered=1 in_flight=2 "
	                       "delay_p50_ms="));
	assert_string_equal(said_at(MINUTE_US + 1), "");
	figures.messages = 9;
	figures.keys_deleted = 20;
	assert_non_null(strstr(said_at(2 * MINUTE_US),
	                       " info summary messages=2 keys_deleted=0 dead_lettered=0 in_flight=2 "));
}

static void
one_without_work_has_none(void **state)
{
	assert_string_equal(said_at(MINUTE_US), "");
	assert_string_equal(said_at(2 * MINUTE_US), "");
}

/* It wakes nobody who has nothing to say. */
static void
it_is_due_only_with_work(void **state)
{
	assert_int_equal(onlookers_due_us(&onlookers, 1), INT64_MAX);
	figures.messages = 1;
	assert_int_equal(onlookers_due_us(&onlookers, 1), MINUTE_US);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_minute_with_work_has_a_summary),
		TEST(one_without_work_has_none),
		TEST(it_is_due_only_with_work),
	};

	return cmocka_run_group_tests_name("onlookers", tests, NULL, NULL);
}
