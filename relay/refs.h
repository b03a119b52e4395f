/*
 * refs.h
 *    The events of a window: where they are, in the order of their ids, and their rows while there is room.
 *
 * A row is fetched from the table to see whether it is visible. Small ones are copied then, so that they
 * need not be fetched again for what is in them; those with values out of line never are: if the table is
 * rewritten (CLUSTER, VACUUM FULL) such values are elsewhere.
 */
#ifndef OUTBOX_REFS_H
#define OUTBOX_REFS_H

#include "postgres.h"

#include "access/htup.h"
#include "executor/tuptable.h"
#include "storage/itemptr.h"

typedef struct EventRef
{
	int64           id;
	uint64          xid;
	MinimalTuple    row; /* a copy; NULL: it is at its place only */
	ItemPointerData place;
	uint16          table;
} EventRef;

typedef struct EventRefs
{
	EventRef *refs; /* in the memory context given to refs_init */
	size_t    count, capacity;
	size_t    most;  /* no more at once: those with the greatest ids have to wait */
	int64     until; /* there are more, with ids greater than this one; 0: none */
} EventRefs;

/* Copies of rows. */
typedef struct KeptRows
{
	MemoryContext   context;
	char           *memory;
	Size            size, used;
	TupleTableSlot *slot; /* shows one; NULL: none was kept yet */
} KeptRows;

void refs_init(EventRefs *events, MemoryContext context, size_t most);

/* Makes room for one more: of `most` events, `keep` with the smallest ids stay. */
void refs_make_room(EventRefs *events, size_t keep);

/* Appends; there must be room. */
void refs_add(EventRefs *events, EventRef ref);

void refs_sort(EventRefs *events);

/* The first of those sorted whose id is not smaller. */
size_t refs_lower_bound(const EventRefs *events, int64 id);

/* size: for how many bytes there is room; what is not used is not touched. */
void kept_rows_init(KeptRows *kept, MemoryContext context, Size size);
void kept_rows_forget(KeptRows *kept);

/* A copy of the row; NULL: there is no room, or it has values out of line. */
MinimalTuple kept_rows_add(KeptRows *kept, TupleTableSlot *row);

/* A copy as a row again; valid until the next call. */
TupleTableSlot *kept_rows_show(KeptRows *kept, MinimalTuple row);

#endif
