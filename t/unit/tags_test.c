/*
 * tags_test.c
 *    The rule of acknowledging: multiple up to the lowest open tag, singly above it.
 */
#include "worker/tags.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static TagRef
add(Tags *tags, uint64_t tag)
{
	TagRef ref;

	assert_true(tags_add(tags, tag, &ref));
	return ref;
}

static void
expect_ack(Tags *tags, uint64_t expected, bool expected_multiple)
{
	uint64_t tag;
	bool     multiple;

	assert_true(tags_next_ack(tags, &tag, &multiple));
	assert_int_equal(tag, expected);
	assert_int_equal(multiple, expected_multiple);
}

static void
expect_no_ack(Tags *tags)
{
	uint64_t tag;
	bool     multiple;

	assert_false(tags_next_ack(tags, &tag, &multiple));
}

static void
done_in_order_is_one_ack(void **state)
{
	Tags   tags = {0};
	TagRef refs[5];

	for (int i = 0; i < 5; i++)
		refs[i] = add(&tags, (uint64_t) i + 1);
	for (int i = 0; i < 4; i++)
		tags_done(&tags, refs[i]);
	expect_ack(&tags, 4, true);
	expect_no_ack(&tags);
	tags_done(&tags, refs[4]);
	expect_ack(&tags, 5, false);
	assert_int_equal(tags_outstanding(&tags), 0);
	tags_free(&tags);
}

static void
above_an_open_tag_each_is_acked_singly(void **state)
{
	Tags   tags = {0};
	TagRef refs[5];

	for (int i = 0; i < 5; i++)
		refs[i] = add(&tags, (uint64_t) i + 1);
	tags_done(&tags, refs[0]);
	tags_done(&tags, refs[4]); /* 2 is open: a pattern's scan */
	tags_done(&tags, refs[2]);
	expect_ack(&tags, 1, false);
	expect_ack(&tags, 3, false);
	expect_ack(&tags, 5, false);
	expect_no_ack(&tags);
	assert_int_equal(tags_outstanding(&tags), 2);
	assert_int_equal(tags_highest(&tags), 4);
	tags_done(&tags, refs[3]);
	tags_done(&tags, refs[1]);
	expect_ack(&tags, 4, true); /* takes 2 with it; 3 is over */
	expect_no_ack(&tags);
	tags_free(&tags);
}

static void
tags_of_an_earlier_channel_are_never_acked(void **state)
{
	Tags   tags = {0};
	TagRef old = add(&tags, 1);

	tags_reset(&tags);
	add(&tags, 1);
	tags_done(&tags, old);
	expect_no_ack(&tags);
	assert_int_equal(tags_outstanding(&tags), 1);
	tags_free(&tags);
}

static void
done_twice_and_unknown_are_ignored(void **state)
{
	Tags   tags = {0};
	TagRef ref = add(&tags, 7);

	tags_done(&tags, (TagRef){.tag = 6});
	tags_done(&tags, ref);
	tags_done(&tags, ref);
	expect_ack(&tags, 7, false);
	tags_done(&tags, ref);
	expect_no_ack(&tags);
	assert_int_equal(tags_outstanding(&tags), 0);
	tags_free(&tags);
}

static void
a_tag_that_does_not_grow_is_refused(void **state)
{
	Tags   tags = {0};
	TagRef ref;

	add(&tags, 3);
	assert_false(tags_add(&tags, 3, &ref));
	assert_false(tags_add(&tags, 2, &ref));
	tags_free(&tags);
}

/* One scan of an hour, a million messages beside it. */
static void
memory_stays_bounded_behind_an_open_tag(void **state)
{
	Tags   tags = {0};
	TagRef scan = add(&tags, 1);

	for (uint64_t tag = 2; tag < 1000000; tag++)
	{
		tags_done(&tags, add(&tags, tag));
		expect_ack(&tags, tag, false);
	}
	assert_true(tags.capacity <= 1024);
	tags_done(&tags, scan);
	expect_ack(&tags, 1, false);
	tags_free(&tags);
}

/* Against the plainest model: a broker that keeps a flag for each tag. */
static void
random_order_acks_each_done_tag_once_and_no_open_one(void **state)
{
	enum
	{
		COUNT = 20000
	};
	static bool is_done[COUNT + 1], is_acked[COUNT + 1];
	TagRef     *refs = calloc(COUNT + 1, sizeof(TagRef));
	Tags        tags = {0};
	uint64_t    added = 0, tag;
	bool        multiple;

	srandom(1);
	for (int step = 0; step < 200000; step++)
	{
		uint64_t pick = added > 64 && random() % 50 ? added - (uint64_t) random() % 64
		                                            : 1 + (uint64_t) random() % (added + 1);

		if (added < COUNT && random() % 3 == 0)
		{
			added++;
			refs[added] = add(&tags, added);
		}
		if (pick >= 1 && pick <= added)
		{
			tags_done(&tags, refs[pick]);
			is_done[pick] = true;
		}
		if (random() % 5 != 0)
			continue;
		while (tags_next_ack(&tags, &tag, &multiple))
		{
			assert_false(is_acked[tag]);
			for (uint64_t t = multiple ? 1 : tag; t <= tag; t++)
			{
				assert_true(is_done[t]);
				is_acked[t] = true;
			}
		}
		for (uint64_t t = 1; t <= added; t++)
			assert_int_equal(is_acked[t], is_done[t]);
		if (added == COUNT)
			break;
	}
	free(refs);
	tags_free(&tags);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(done_in_order_is_one_ack),
		cmocka_unit_test(above_an_open_tag_each_is_acked_singly),
		cmocka_unit_test(tags_of_an_earlier_channel_are_never_acked),
		cmocka_unit_test(done_twice_and_unknown_are_ignored),
		cmocka_unit_test(a_tag_that_does_not_grow_is_refused),
		cmocka_unit_test(memory_stays_bounded_behind_an_open_tag),
		cmocka_unit_test(random_order_acks_each_done_tag_once_and_no_open_one),
	};

	return cmocka_run_group_tests_name("tags", tests, NULL, NULL);
}
