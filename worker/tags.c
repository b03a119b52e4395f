/*
 * tags.c
 *    See tags.h. A sorted array with a moving start; acknowledged slots in its middle are squeezed
 *    out when it is full, so that one scan of an hour does not keep a slot for each message that
 *    passed it.
 */
#include "worker/tags.h"

#include <stdlib.h>
#include <string.h>

#define TAGS_FIRST_CAPACITY 256

typedef enum SlotState
{
	SLOT_OPEN,
	SLOT_DONE,
	SLOT_ACKED
} SlotState;

struct TagSlot
{
	uint64_t  tag;
	SlotState state;
};

void
tags_free(Tags *tags)
{
	free(tags->slots);
	memset(tags, 0, sizeof(*tags));
}

void
tags_reset(Tags *tags)
{
	tags->first = tags->end = tags->done_hint = 0;
	tags->done_count = tags->outstanding_count = 0;
	tags->generation++;
}

static void
tags_squeeze(Tags *tags)
{
	size_t kept = 0;

	for (size_t i = tags->first; i < tags->end; i++)
		if (tags->slots[i].state != SLOT_ACKED)
			tags->slots[kept++] = tags->slots[i];
	tags->first = 0;
	tags->end = kept;
	tags->done_hint = 0;
}

static bool
tags_make_room(Tags *tags)
{
	size_t   capacity;
	TagSlot *slots;

	if (tags->end < tags->capacity)
		return true;
	tags_squeeze(tags);
	/* Less than half free would squeeze again soon: an array copied for each delivery. */
	if (tags->end < tags->capacity / 2)
		return true;
	capacity = tags->capacity == 0 ? TAGS_FIRST_CAPACITY : tags->capacity * 2;
	slots = realloc(tags->slots, capacity * sizeof(TagSlot));
	if (slots == NULL)
		return tags->end < tags->capacity;
	tags->slots = slots;
	tags->capacity = capacity;
	return true;
}

bool
tags_add(Tags *tags, uint64_t tag, TagRef *ref)
{
	if (tags->end > tags->first && tags->slots[tags->end - 1].tag >= tag)
		return false;
	if (!tags_make_room(tags))
		return false;
	tags->slots[tags->end++] = (TagSlot){.tag = tag, .state = SLOT_OPEN};
	tags->outstanding_count++;
	*ref = (TagRef){.tag = tag, .generation = tags->generation};
	return true;
}

/* Index of a tag, or tags->end. */
static size_t
tags_find(const Tags *tags, uint64_t tag)
{
	size_t low = tags->first;
	size_t high = tags->end;

	while (low < high)
	{
		size_t middle = low + (high - low) / 2;

		if (tags->slots[middle].tag < tag)
			low = middle + 1;
		else
			high = middle;
	}
	return low < tags->end && tags->slots[low].tag == tag ? low : tags->end;
}

void
tags_done(Tags *tags, TagRef ref)
{
	size_t i;

	if (ref.generation != tags->generation)
		return;
	i = tags_find(tags, ref.tag);
	if (i == tags->end || tags->slots[i].state != SLOT_OPEN)
		return;
	tags->slots[i].state = SLOT_DONE;
	if (tags->done_count++ == 0 || i < tags->done_hint)
		tags->done_hint = i;
}

/* Takes the run of finished slots at the start. Returns how many of them are to be acknowledged,
 * the highest in *tag. */
static size_t
tags_take_head(Tags *tags, uint64_t *tag)
{
	size_t taken = 0;

	while (tags->first < tags->end && tags->slots[tags->first].state != SLOT_OPEN)
	{
		const TagSlot *slot = &tags->slots[tags->first++];

		if (slot->state == SLOT_DONE)
		{
			*tag = slot->tag;
			taken++;
		}
	}
	return taken;
}

static bool
tags_take_single(Tags *tags, uint64_t *tag)
{
	for (size_t i = tags->done_hint; i < tags->end; i++)
	{
		if (tags->slots[i].state != SLOT_DONE)
			continue;
		tags->slots[i].state = SLOT_ACKED;
		tags->done_hint = i + 1;
		*tag = tags->slots[i].tag;
		return true;
	}
	return false;
}

bool
tags_next_ack(Tags *tags, uint64_t *tag, bool *multiple)
{
	size_t taken;

	if (tags->done_count == 0)
		return false;
	taken = tags_take_head(tags, tag);
	*multiple = taken > 1;
	if (tags->done_hint < tags->first)
		tags->done_hint = tags->first;
	if (taken == 0 && tags_take_single(tags, tag))
		taken = 1;
	tags->done_count -= taken;
	tags->outstanding_count -= taken;
	if (tags->first == tags->end)
		tags->first = tags->end = tags->done_hint = 0;
	return taken > 0;
}

size_t
tags_outstanding(const Tags *tags)
{
	return tags->outstanding_count;
}

uint64_t
tags_highest(const Tags *tags)
{
	for (size_t i = tags->end; i > tags->first; i--)
		if (tags->slots[i - 1].state != SLOT_ACKED)
			return tags->slots[i - 1].tag;
	return 0;
}
