/*
 * refs.c
 *    See refs.h.
 */
#include "postgres.h"

#include "relay/refs.h"

#include "access/htup_details.h"
#include "utils/memutils.h"

#define MOVES_PER_EVENT 32 /* on average; then it is not nearly sorted, and qsort is faster */

void
refs_init(EventRefs *events, MemoryContext context, size_t most)
{
	*events = (EventRefs){.capacity = 64, .most = most};
	events->refs = MemoryContextAlloc(context, events->capacity * sizeof(EventRef));
}

static int
compare_refs(const void *a, const void *b)
{
	int64 left = ((const EventRef *) a)->id;
	int64 right = ((const EventRef *) b)->id;

	return left < right ? -1 : left > right;
}

/* Sorts by insertion; false: given up, since too many would have to move. */
static bool
sort_nearly_sorted(EventRef *refs, size_t count)
{
	size_t moves = count * MOVES_PER_EVENT;

	for (size_t i = 1; i < count; i++)
	{
		EventRef ref = refs[i];
		size_t   place = i;

		for (; place > 0 && refs[place - 1].id > ref.id && moves > 0; place--, moves--)
			refs[place] = refs[place - 1];
		refs[place] = ref;
		if (moves == 0)
			return false;
	}
	return true;
}

/* Found by transaction, which is the order of ids but for those of some writers at the same time. */
void
refs_sort(EventRefs *events)
{
	if (!sort_nearly_sorted(events->refs, events->count))
		qsort(events->refs, events->count, sizeof(EventRef), compare_refs);
}

void
refs_make_room(EventRefs *events, size_t keep)
{
	if (events->count < events->capacity)
		return;
	if (events->capacity < events->most)
	{
		events->capacity *= 2;
		events->refs = repalloc_huge(events->refs, events->capacity * sizeof(EventRef));
		return;
	}
	refs_sort(events);
	events->count = keep;
	events->until = events->refs[keep - 1].id;
}

void
refs_add(EventRefs *events, EventRef ref)
{
	events->refs[events->count++] = ref;
}

size_t
refs_lower_bound(const EventRefs *events, int64 id)
{
	size_t from = 0, to = events->count;

	while (from < to)
	{
		size_t middle = from + (to - from) / 2;

		if (events->refs[middle].id < id)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

void
kept_rows_init(KeptRows *kept, MemoryContext context, Size size)
{
	*kept = (KeptRows){.context = context, .size = size};
	kept->memory = MemoryContextAlloc(context, size);
}

void
kept_rows_forget(KeptRows *kept)
{
	kept->used = 0;
}

/* The tables have the same columns. */
static void
make_slot(KeptRows *kept, TupleDesc columns)
{
	MemoryContext caller = MemoryContextSwitchTo(kept->context);

	kept->slot = MakeSingleTupleTableSlot(CreateTupleDescCopy(columns), &TTSOpsMinimalTuple);
	MemoryContextSwitchTo(caller);
}

MinimalTuple
kept_rows_add(KeptRows *kept, TupleTableSlot *row)
{
	bool         is_copy;
	HeapTuple    tuple = ExecFetchSlotHeapTuple(row, false, &is_copy);
	MinimalTuple copy = (MinimalTuple) (kept->memory + kept->used);
	uint32       size = tuple->t_len - MINIMAL_TUPLE_OFFSET;

	Assert(!is_copy);
	if (HeapTupleHasExternal(tuple) || MAXALIGN(size) > kept->size - kept->used)
		return NULL;
	if (kept->slot == NULL)
		make_slot(kept, row->tts_tupleDescriptor);
	memcpy(copy, (char *) tuple->t_data + MINIMAL_TUPLE_OFFSET, size);
	copy->t_len = size;
	kept->used += MAXALIGN(size);
	return copy;
}

TupleTableSlot *
kept_rows_show(KeptRows *kept, MinimalTuple row)
{
	return ExecStoreMinimalTuple(row, kept->slot, false);
}
