/*
 * stored_position.c
 *    See stored_position.h.
 */
#include "postgres.h"

#include "relay/stored_position.h"

#include "access/transam.h"
#include "fmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

/* pg_snapshot as stored (xid8funcs.c); an on-disk format, hence stable. */
typedef struct StoredSnapshot
{
	int32             varsize;
	uint32            xid_count;
	FullTransactionId xmin, xmax;
	FullTransactionId xids[FLEXIBLE_ARRAY_MEMBER];
} StoredSnapshot;

void
position_free(Position *position)
{
	if (position->xids != NULL)
		pfree(position->xids);
	*position = (Position){0};
}

Position
position_copy(const Position *from, MemoryContext context)
{
	Position copy = *from;

	copy.xids = MemoryContextAlloc(context, Max(from->xid_count, 1) * sizeof(uint64));
	if (from->xid_count > 0)
		memcpy(copy.xids, from->xids, from->xid_count * sizeof(uint64));
	return copy;
}

Position
position_from_datum(Datum datum)
{
	StoredSnapshot *stored = (StoredSnapshot *) PG_DETOAST_DATUM(datum);
	Position        position;

	position.xmin = U64FromFullTransactionId(stored->xmin);
	position.xmax = U64FromFullTransactionId(stored->xmax);
	position.xid_count = stored->xid_count;
	position.xids = palloc(Max(stored->xid_count, 1) * sizeof(uint64));
	for (uint32 i = 0; i < stored->xid_count; i++)
		position.xids[i] = U64FromFullTransactionId(stored->xids[i]);
	return position;
}

Datum
position_to_datum(const Position *position)
{
	Size size = offsetof(StoredSnapshot, xids) + position->xid_count * sizeof(FullTransactionId);
	StoredSnapshot *stored = palloc0(size);

	SET_VARSIZE(stored, size);
	stored->xid_count = (uint32) position->xid_count;
	stored->xmin = FullTransactionIdFromU64(position->xmin);
	stored->xmax = FullTransactionIdFromU64(position->xmax);
	for (size_t i = 0; i < position->xid_count; i++)
		stored->xids[i] = FullTransactionIdFromU64(position->xids[i]);
	return PointerGetDatum(stored);
}

Position
position_of_active_snapshot(void)
{
	return position_from_datum(DirectFunctionCall1(pg_current_snapshot, (Datum) 0));
}
