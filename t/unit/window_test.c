/*
 * window_test.c
 *    Positions: what a snapshot contains, and which snapshot may follow which.
 */
#include "t/unit/unit.h"

#include "relay/window.h"

static uint64_t       in_progress[] = {105, 107};
static const Position position = {.xmin = 105, .xmax = 110, .xids = in_progress, .xid_count = 2};

static void
ended_transactions_are_contained(void **state)
{
	(void) state;
	assert_true(position_contains(&position, 104));
	assert_true(position_contains(&position, 106));
	assert_true(position_contains(&position, 109));
}

static void
transactions_in_progress_are_not(void **state)
{
	(void) state;
	assert_false(position_contains(&position, 105));
	assert_false(position_contains(&position, 107));
}

static void
later_transactions_are_not(void **state)
{
	(void) state;
	assert_false(position_contains(&position, 110));
	assert_false(position_contains(&position, UINT64_MAX));
}

static void
a_position_may_follow_itself_and_older_ones(void **state)
{
	uint64_t left[] = {107, 111};
	Position later = {.xmin = 107, .xmax = 112, .xids = left, .xid_count = 2};

	(void) state;
	assert_true(position_not_older(&position, &position));
	assert_true(position_not_older(&position, &later));
	assert_false(position_not_older(&later, &position));
}

/* 106 had ended; a snapshot that has it in progress comes from elsewhere, however new it looks. */
static void
a_snapshot_in_which_the_past_is_open_does_not_follow(void **state)
{
	uint64_t open[] = {106};
	Position strange = {.xmin = 106, .xmax = 120, .xids = open, .xid_count = 1};

	(void) state;
	assert_false(position_not_older(&position, &strange));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ended_transactions_are_contained),
		cmocka_unit_test(transactions_in_progress_are_not),
		cmocka_unit_test(later_transactions_are_not),
		cmocka_unit_test(a_position_may_follow_itself_and_older_ones),
		cmocka_unit_test(a_snapshot_in_which_the_past_is_open_does_not_follow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
