/*
 * parked.c
 *    Finding and deleting rows of outbox.parked.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/sysattr.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "event.h"
#include "parked.h"

/* The primary key's index, or the other one. */
static Oid
find_index(Relation table, bool primary)
{
	Oid   key = RelationGetPrimaryKeyIndex(table);
	List *indexes = RelationGetIndexList(table);
	Oid   found = primary ? key : InvalidOid;

	for (int i = 0; i < list_length(indexes) && !OidIsValid(found); i++)
	{
		Oid      oid = list_nth_oid(indexes, i);
		Relation index = index_open(oid, AccessShareLock);

		if (oid != key && strcmp(RelationGetRelationName(index), "parked_destination_idx") == 0)
			found = oid;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	if (!OidIsValid(found))
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		        errmsg("table \"outbox.parked\" has lost an index"),
		        errhint("Restore it as CREATE EXTENSION made it."));
	return found;
}

static void
begin(ParkedScan *scan, Snapshot snapshot, LOCKMODE lock, bool primary, int keys)
{
	scan->table = table_open(event_parked_oid(), lock);
	scan->index = index_open(find_index(scan->table, primary), lock);
	scan->slot = table_slot_create(scan->table, NULL);
	scan->scan = index_beginscan(scan->table, scan->index, snapshot, keys, 0);
}

void
parked_begin_by_id(ParkedScan *scan, Snapshot snapshot, LOCKMODE lock)
{
	begin(scan, snapshot, lock, true, 1);
}

bool
parked_find(ParkedScan *scan, int64 id)
{
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	index_rescan(scan->scan, &key, 1, NULL, 0);
	return parked_next_row(scan);
}

void
parked_begin_of(ParkedScan *scan, Snapshot snapshot, LOCKMODE lock, const char *exchange,
                const char *routing_key, bool dead, int64 after)
{
	ScanKeyData keys[4];
	int         count = after == 0 ? 3 : 4;

	begin(scan, snapshot, lock, false, count);
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_BOOLEQ, BoolGetDatum(dead));
	ScanKeyEntryInitialize(&keys[1], 0, 2, BTEqualStrategyNumber, InvalidOid, C_COLLATION_OID,
	                       F_TEXTEQ, CStringGetTextDatum(exchange));
	ScanKeyEntryInitialize(&keys[2], 0, 3, BTEqualStrategyNumber, InvalidOid, C_COLLATION_OID,
	                       F_TEXTEQ, CStringGetTextDatum(routing_key));
	ScanKeyInit(&keys[3], 4, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(after));
	index_rescan(scan->scan, keys, count, NULL, 0);
}

void
parked_begin_all(ParkedScan *scan, Snapshot snapshot, LOCKMODE lock, bool dead)
{
	ScanKeyData key;

	begin(scan, snapshot, lock, false, 1);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_BOOLEQ, BoolGetDatum(dead));
	index_rescan(scan->scan, &key, 1, NULL, 0);
}

bool
parked_next_row(ParkedScan *scan)
{
	CHECK_FOR_INTERRUPTS();
	return index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot);
}

bool
parked_is_held(ParkedScan *scan)
{
	bool          is_null;
	TransactionId deleter = DatumGetTransactionId(
		slot_getsysattr(scan->slot, MaxTransactionIdAttributeNumber, &is_null));

	return TransactionIdIsValid(deleter) && TransactionIdIsInProgress(deleter);
}

void
parked_end(ParkedScan *scan)
{
	index_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	index_close(scan->index, NoLock);
	table_close(scan->table, NoLock);
}

bool
parked_delete(ParkedScan *scan, bool wait)
{
	TM_FailureData failure;

	/* A row is never updated, so one that is not to be had is gone, or on its way. */
	return table_tuple_delete(scan->table, &scan->slot->tts_tid, GetCurrentCommandId(true),
	                          GetActiveSnapshot(), InvalidSnapshot, wait, &failure, false) == TM_Ok;
}
