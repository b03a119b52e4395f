/*
 * claims_test.c
 *    Whom to believe of Sentinels that differ: the newer configuration, the more voices, the one that
 *    proves right.
 */
#include "worker/claims.h"

#include "unit.h"

#define S ((int64_t) 1000000)

static Claims  claims;
static int64_t now_us;
static bool    hopeful;

static int
three_sentinels(void **state)
{
	(void) state;
	claims = (Claims){.count = 3};
	now_us = 100 * S;
	return 0;
}

static void
say(int who, const char *host, int64_t epoch)
{
	claims_say(&claims, who, host, 6379, epoch, now_us);
}

/* The host that is chosen; "": none. */
static const char *
chosen(void)
{
	return claims_choose(&claims, now_us, &hopeful) ? claims.master.host : "";
}

static void
nobody_names_a_master(void **state)
{
	(void) state;
	assert_string_equal(chosen(), "");
	assert_false(claims_is_outdated(&claims, now_us));
	say(1, "a", 0);
	assert_string_equal(chosen(), "a");
	assert_true(hopeful);
	claims_refute(&claims, CLAIM_UNREACHABLE, now_us);
	claims_withdraw(&claims, 1);
	assert_string_equal(chosen(), "");
}

static void
the_later_epoch_counts_not_the_number_of_voices(void **state)
{
	(void) state;
	say(0, "old", 4);
	say(1, "old", 4);
	say(2, "new", 5);
	assert_string_equal(chosen(), "new");
	claims_confirm(&claims);
	say(0, "old", 4);
	assert_false(claims_is_outdated(&claims, now_us));
}

static void
within_an_epoch_the_number_of_voices_counts(void **state)
{
	(void) state;
	say(0, "a", 4);
	say(1, "b", 4);
	say(2, "b", 4);
	assert_string_equal(chosen(), "b");
	/* The one in use is not left for a second voice. */
	say(2, "a", 4);
	assert_false(claims_is_outdated(&claims, now_us));
}

static void
a_fail_over_is_followed_at_the_first_voice(void **state)
{
	(void) state;
	for (int i = 0; i < 3; i++)
		say(i, "a", 4);
	assert_string_equal(chosen(), "a");
	claims_confirm(&claims);
	assert_false(claims_is_outdated(&claims, now_us));
	say(1, "b", 5);
	assert_true(claims_is_outdated(&claims, now_us));
	claims_leave(&claims);
	assert_string_equal(chosen(), "b");
}

static void
a_new_epoch_of_the_same_master_changes_nothing(void **state)
{
	(void) state;
	say(0, "a", 4);
	assert_string_equal(chosen(), "a");
	say(0, "a", 5);
	assert_false(claims_is_outdated(&claims, now_us));
	say(1, "b", 4); /* older than what the chosen one is known to be now */
	claims_withdraw(&claims, 0);
	assert_false(claims_is_outdated(&claims, now_us));
}

static void
a_false_claim_is_not_believed_twice(void **state)
{
	(void) state;
	say(0, "liar's", 9);
	say(1, "a", 4);
	assert_string_equal(chosen(), "liar's");
	claims_refute(&claims, CLAIM_FALSE, now_us);
	assert_string_equal(chosen(), "a");
	assert_true(hopeful);
	claims_confirm(&claims);
	say(0, "liar's", 9);
	say(2, "liar's", 9); /* nor from another mouth */
	assert_false(claims_is_outdated(&claims, now_us));
	say(0, "liar's", 10); /* something new may be true */
	assert_true(claims_is_outdated(&claims, now_us));
}

static void
one_that_cannot_be_reached_is_not_replaced_by_an_older_one(void **state)
{
	(void) state;
	say(0, "old", 4);
	say(1, "new", 5);
	assert_string_equal(chosen(), "new");
	claims_refute(&claims, CLAIM_UNREACHABLE, now_us);
	assert_string_equal(chosen(), "new");
	assert_false(hopeful);
	say(0, "old", 5); /* but by one of its own epoch */
	assert_string_equal(chosen(), "old");
	assert_true(hopeful);
	claims_refute(&claims, CLAIM_UNREACHABLE, ++now_us);
	assert_string_equal(chosen(), "new"); /* in turn */
	claims_refute(&claims, CLAIM_UNREACHABLE, ++now_us);
	assert_string_equal(chosen(), "old");
}

static void
where_all_are_false_they_are_tried_in_turn(void **state)
{
	(void) state;
	say(0, "a", 4);
	say(1, "b", 5);
	for (int i = 0; i < 2; i++)
	{
		assert_string_equal(chosen(), "b");
		claims_refute(&claims, CLAIM_FALSE, ++now_us);
		assert_string_equal(chosen(), "a");
		assert_int_equal(hopeful, i == 0);
		claims_refute(&claims, CLAIM_FALSE, ++now_us);
	}
	assert_string_equal(chosen(), "b");
	claims_confirm(&claims);
	assert_string_equal(chosen(), "b");
	assert_true(hopeful);
}

static void
without_an_epoch_it_is_older_than_any(void **state)
{
	(void) state;
	say(0, "unknown", CLAIM_NO_EPOCH);
	assert_string_equal(chosen(), "unknown");
	say(1, "a", 0);
	assert_true(claims_is_outdated(&claims, now_us));
	assert_string_equal(chosen(), "a");
	claims_withdraw(&claims, 1);
	assert_false(claims_is_outdated(&claims, now_us));
}

static void
a_sentinel_that_went_away_counts_for_a_while(void **state)
{
	(void) state;
	say(0, "new", 5);
	say(1, "old", 4);
	now_us += CLAIM_FRESH_US - 1;
	say(1, "old", 4);
	assert_string_equal(chosen(), "new");
	now_us++;
	assert_string_equal(chosen(), "old");
}

static void
one_that_proved_good_is_left_by_nobody_s_silence(void **state)
{
	(void) state;
	say(0, "a", 5);
	assert_string_equal(chosen(), "a");
	claims_confirm(&claims);
	now_us += 2 * CLAIM_FRESH_US;
	assert_false(claims_is_outdated(&claims, now_us));
	say(1, "old", 4);
	assert_false(claims_is_outdated(&claims, now_us));
	say(1, "new", 6);
	assert_true(claims_is_outdated(&claims, now_us));
}

static void
who_named_it_is_known(void **state)
{
	(void) state;
	say(0, "a", 4);
	say(2, "b", 5);
	assert_string_equal(chosen(), "b");
	assert_int_equal(claims_who_says(&claims), 2);
	claims_withdraw(&claims, 2);
	assert_int_equal(claims_who_says(&claims), -1);
}

#define TEST(name) cmocka_unit_test_setup(name, three_sentinels)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nobody_names_a_master),
		TEST(the_later_epoch_counts_not_the_number_of_voices),
		TEST(within_an_epoch_the_number_of_voices_counts),
		TEST(a_fail_over_is_followed_at_the_first_voice),
		TEST(a_new_epoch_of_the_same_master_changes_nothing),
		TEST(a_false_claim_is_not_believed_twice),
		TEST(one_that_cannot_be_reached_is_not_replaced_by_an_older_one),
		TEST(where_all_are_false_they_are_tried_in_turn),
		TEST(without_an_epoch_it_is_older_than_any),
		TEST(a_sentinel_that_went_away_counts_for_a_while),
		TEST(one_that_proved_good_is_left_by_nobody_s_silence),
		TEST(who_named_it_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
