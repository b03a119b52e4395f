/*
 * tags.h
 *    Which deliveries await their acknowledgement, and which basic.ack may be sent.
 *
 * The rule: `multiple` only up to the lowest open tag, since it takes everything below with it;
 * above an open one (a pattern's scan takes long, a dead letter waits for its confirm) each done
 * tag is acknowledged singly, so that it does not have to wait.
 *
 * Tags belong to one channel. A new channel is a new generation: what was delivered before comes
 * again, and a late "done" for it must not acknowledge a stranger that has the same number.
 *
 * Pure bookkeeping: no sockets, no clock. Memory: at most four slots for each outstanding delivery.
 */
#ifndef WORKER_TAGS_H
#define WORKER_TAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Names a delivery for good, across channels. */
typedef struct TagRef
{
	uint64_t tag;
	uint64_t generation;
	int64_t  created_at_us; /* carried along for its owner: when the event came into being, or 0 */
	bool     is_canary;     /* the same: it has no keys, and measures the way */
} TagRef;

typedef struct TagSlot TagSlot;

typedef struct Tags
{
	TagSlot *slots; /* sorted by tag */
	size_t   capacity;
	size_t   first; /* slots before it are over */
	size_t   end;
	size_t   done_hint;         /* no done slot is before it */
	size_t   done_count;        /* done and not yet acknowledged */
	size_t   outstanding_count; /* not yet acknowledged */
	uint64_t generation;
} Tags;

/* Zeroed is empty, generation 0. */
void tags_free(Tags *tags);

/* The channel is gone, or all deliveries were returned: forgets them, begins a new generation. */
void tags_reset(Tags *tags);

/* A delivery came; tags only grow within a generation. *ref: its name. false: out of memory, or
 * the tag does not grow. */
bool tags_add(Tags *tags, uint64_t tag, TagRef *ref);

/* Its work is done. Of another generation, or unknown: ignored. */
void tags_done(Tags *tags, TagRef ref);

/* The next basic.ack to send; false: none. */
bool tags_next_ack(Tags *tags, uint64_t *tag, bool *multiple);

/* Deliveries not yet acknowledged, done ones included. */
size_t tags_outstanding(const Tags *tags);

/* The highest outstanding tag, 0 if there is none. */
uint64_t tags_highest(const Tags *tags);

#endif
