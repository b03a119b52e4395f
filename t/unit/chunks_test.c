/*
 * chunks_test.c
 *    Which keys merge, against a model, while the queue is short, long, and sent again: a key merges with
 *    one that waits and was never taken, and with no other.
 */
#include "t/unit/unit.h"

#include <stdio.h>

#include "worker/chunks.h"

#define NAMES 20000
#define STEPS 400000
#define MAX_TAKEN 64

static ChunkQueue queue;
static bool       waits[NAMES]; /* in a chunk that was never taken */
static Chunk     *taken[MAX_TAKEN];
static size_t     taken_count;
static size_t     merged;

static void
add(unsigned name)
{
	char       text[16];
	Chunk     *chunk;
	ChunkAdded added;

	snprintf(text, sizeof(text), "%u", name);
	added = chunks_add(&queue, mq_bytes_of("key:"), mq_bytes_of(text), &chunk);
	assert_int_equal(added, waits[name] ? CHUNK_MERGED : CHUNK_ADDED);
	merged += waits[name];
	if (added == CHUNK_MERGED)
	{
		char   whole[24];
		bool   there = false;
		size_t size = (size_t) snprintf(whole, sizeof(whole), "key:%s", text);

		for (size_t i = 0; i < chunk->count; i++)
			there = there || mq_bytes_equal(chunk_key(chunk, i), mq_bytes(whole, size));
		assert_true(there);
	}
	waits[name] = true;
}

static void
take(void)
{
	uint64_t last = queue.taken_seq;
	Chunk   *chunk = chunks_take(&queue);

	if (chunk == NULL)
		return;
	for (size_t i = 0; chunk->seq > last && i < chunk->count; i++)
		waits[atoi(chunk_key(chunk, i).data + 4)] = false;
	if (taken_count == MAX_TAKEN)
		chunk_release(&queue, taken[--taken_count]);
	taken[taken_count++] = chunk;
}

/* The connection was lost: those in flight go back, in their order. */
static void
put_all_back(void)
{
	while (taken_count > 0)
		chunks_put_back(&queue, taken[--taken_count]);
}

static void
keys_merge_with_what_was_never_taken(void **state)
{
	unsigned random = 1;
	size_t   longest = 0;

	(void) state;
	for (int step = 0; step < STEPS; step++)
	{
		/* By turns more is added than taken, and more taken. */
		bool     fills = step / (STEPS / 10) % 2 == 0;
		unsigned dice;

		random = random * 1664525 + 1013904223;
		dice = random >> 8;
		if (dice % 128 == 0 || (!fills && dice % 16 == 0))
			take();
		else if (dice % 8191 == 1)
			put_all_back();
		else
			add(dice / 128 % (dice % 2 == 0 ? NAMES : 300));
		if (queue.mergeable > longest)
			longest = queue.mergeable;
		assert_true(queue.slots_used <= queue.slot_count);
	}
	/* It was worth it. */
	assert_true(longest > 5000);
	assert_true(merged > 50000);
	while (queue.list.head != NULL)
		take();
	assert_int_equal(queue.mergeable, 0);
	assert_int_equal(queue.held_bytes, 0);
	while (taken_count > 0)
		chunk_release(&queue, taken[--taken_count]);
	chunks_free(&queue);
}

/* The table for merging is as large as what waits, however many keys pass. */
static void
the_table_does_not_grow_with_what_passes(void **state)
{
	(void) state;
	memset(waits, 0, sizeof(waits));
	for (unsigned i = 0; i < 500000; i++)
	{
		add(i % NAMES);
		if (i % 1000 == 999)
			while (queue.list.head != NULL)
			{
				take();
				chunk_release(&queue, taken[--taken_count]);
			}
	}
	assert_true(queue.slot_count <= 8192);
	chunks_free(&queue);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_merge_with_what_was_never_taken),
		cmocka_unit_test(the_table_does_not_grow_with_what_passes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
