/*
 * recent_test.c
 *    What was deleted is kept until every replica has it, and no longer than it may matter.
 */
#include "worker/recent.h"

#include "unit.h"
#include <stdio.h>

#define S ((int64_t) 1000000)

static Recent     recent;
static ChunkQueue spare;
static size_t     forgotten; /* keys, for want of room */

static int
begin(void **state)
{
	(void) state;
	recent = (Recent){.keep_us = 60 * S, .max_bytes = RECENT_MAX_BYTES};
	spare = (ChunkQueue){0};
	forgotten = 0;
	return 0;
}

static int
end(void **state)
{
	(void) state;
	recent_free(&recent, &spare);
	assert_int_equal(recent.held_bytes, 0);
	assert_int_equal(recent.pattern_bytes, 0);
	chunks_free(&spare);
	return 0;
}

static void
deleted(const char *key)
{
	Chunk *chunk = chunk_get(&spare);

	assert_true(chunk_append(chunk, mq_bytes(NULL, 0), mq_bytes_of(key)));
	forgotten += recent_add(&recent, &spare, chunk);
	chunk_release(&spare, chunk);
}

static void
role(uint64_t offset, bool replicated, uint64_t replicas_offset, int64_t now_us)
{
	recent_role(&recent, &spare, offset, replicated, replicas_offset, now_us);
}

/* What would be deleted again, joined by blanks; it is kept no more then. */
static const char *
again(void)
{
	static char    text[1000];
	Chunk         *chunk;
	RecentPattern *pattern;
	size_t         used = 0;

	text[0] = '\0';
	recent_again(&recent);
	while ((chunk = recent_take(&recent)) != NULL)
	{
		for (size_t i = 0; i < chunk->count; i++)
			used += (size_t) snprintf(text + used, sizeof(text) - used, "%.*s ",
			                          (int) chunk_key(chunk, i).size, chunk_key(chunk, i).data);
		chunk_release(&spare, chunk);
	}
	while ((pattern = recent_take_pattern(&recent)) != NULL)
	{
		used += (size_t) snprintf(text + used, sizeof(text) - used, "%.*s ",
		                          (int) pattern->bytes.size, pattern->bytes.data);
		free(pattern);
	}
	assert_false(recent_has_again(&recent));
	return text;
}

static void
off_keeps_nothing(void **state)
{
	(void) state;
	recent.keep_us = 0;
	deleted("a");
	recent_add_pattern(&recent, mq_bytes_of("p*"));
	assert_string_equal(again(), "");
}

static void
what_all_replicas_have_is_forgotten(void **state)
{
	(void) state;
	deleted("a");
	recent_add_pattern(&recent, mq_bytes_of("p*"));
	role(100, true, 90, 1 * S);
	deleted("b");
	role(200, true, 99, 2 * S); /* one is short of the first mark by a byte */
	deleted("c");
	role(300, true, 150, 3 * S);
	assert_string_equal(again(), "b c ");
}

static void
what_follows_a_mark_is_not_forgotten_with_it(void **state)
{
	(void) state;
	deleted("a");
	role(100, true, 0, 1 * S);
	deleted("b"); /* in a chunk of its own */
	role(200, true, 100, 2 * S);
	role(200, true, 150, 3 * S);
	assert_string_equal(again(), "b ");
}

static void
a_replica_is_missing(void **state)
{
	(void) state;
	deleted("a");
	role(100, true, 50, 1 * S);
	deleted("b");
	role(200, false, 1000, 2 * S);
	role(200, false, 1000, 60 * S);
	assert_int_equal(recent.chunks_gone, 0);
	role(200, false, 1000, 61 * S); /* only time counts */
	assert_string_equal(again(), "b ");
}

static void
again_after_a_second_loss(void **state)
{
	Chunk *chunk;

	(void) state;
	deleted("a");
	role(100, true, 0, 1 * S);
	recent_again(&recent);
	assert_true(recent_has_again(&recent));
	chunk = recent_take(&recent);
	recent_put_back(&recent, chunk);
	role(5, true, 1000, 2 * S); /* of another server: nothing of "again" is forgotten */
	deleted("b");
	assert_string_equal(again(), "a b ");
}

static void
a_full_chunk_is_copied_whole(void **state)
{
	Chunk *chunk = chunk_get(&spare);
	Chunk *copy;
	char   key[20];

	(void) state;
	deleted("small");
	for (int i = 0; i < CHUNK_KEYS; i++)
	{
		snprintf(key, sizeof(key), "key:%d", i);
		assert_true(chunk_append(chunk, mq_bytes(NULL, 0), mq_bytes_of(key)));
	}
	recent_add(&recent, &spare, chunk);
	deleted("next");
	recent_again(&recent);
	chunk_release(&spare, recent_take(&recent));
	copy = recent_take(&recent);
	assert_int_equal(copy->count, CHUNK_KEYS);
	assert_true(mq_bytes_equal(chunk_key(copy, 127), mq_bytes_of("key:127")));
	assert_true(mq_bytes_equal(chunk_commands(copy), chunk_commands(chunk)));
	chunk_release(&spare, copy);
	chunk_release(&spare, chunk);
	assert_string_equal(again(), "next ");
}

static void
memory_is_bounded(void **state)
{
	char   key[100];
	size_t kept = 0, patterns = 0;

	(void) state;
	for (int i = 0; i < 800000; i++)
	{
		snprintf(key, sizeof(key), "a key of some forty bytes, as they are: %d", i);
		deleted(key);
		if (i % 10000 == 0)
			role((uint64_t) i, false, 0, i);
		assert_true(recent.held_bytes <= RECENT_MAX_BYTES + 200000);
	}
	assert_true(recent.held_bytes > RECENT_MAX_BYTES / 2);
	for (const Chunk *chunk = recent.kept.head; chunk != NULL; chunk = chunk->next)
		kept += chunk->count;
	assert_int_equal(kept + forgotten, 800000); /* who is told of those forgotten, is told of all */
	assert_true(kept < 800000);
	for (int i = 0; i < 100000; i++)
		patterns += recent_add_pattern(&recent, mq_bytes_of("a pattern:*"));
	assert_true(recent.pattern_bytes <= RECENT_MAX_PATTERN_BYTES);
	for (const RecentPattern *p = recent.kept_patterns.head; p != NULL; p = p->next)
		patterns++;
	assert_int_equal(patterns, 100000);
}

static void
an_idle_hour_costs_nothing(void **state)
{
	(void) state;
	deleted("a");
	for (int i = 1; i <= 3600; i++)
		role(100, false, 0, i * S);
	assert_int_equal(recent.mark_count, 0);
	assert_null(recent.kept.head);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(off_keeps_nothing),
		TEST(what_all_replicas_have_is_forgotten),
		TEST(what_follows_a_mark_is_not_forgotten_with_it),
		TEST(a_replica_is_missing),
		TEST(again_after_a_second_loss),
		TEST(a_full_chunk_is_copied_whole),
		TEST(memory_is_bounded),
		TEST(an_idle_hour_costs_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
