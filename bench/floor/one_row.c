/*
 * one_row.c
 *    Two triggers of the server, the floors of every outbox: one that does nothing, and one that inserts the
 *    same row each time into a table with the outbox's index, through the same functions as pg_outbox.
 *
 * What it lacks: comparing rows, keys, their merging, an order of ids that others can rely on, commit time.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(no_row);
PG_FUNCTION_INFO_V1(one_row);

#define COLUMNS 4 /* id, xid, created_at, keys */
#define KEYS "blogs:all author:123:blogs blog:12345 and what else a row of the outbox has in it"

/* What is looked up once in a session; the table is never dropped meanwhile. */
typedef struct Target
{
	Oid             table, index;
	IndexInfo      *info;
	TupleTableSlot *slot;
	Datum           keys;
	int64           id;
} Target;

Datum
no_row(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(NULL);
}

static void
find_target(Target *target)
{
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
	Relation      table, index;

	target->table = get_relname_relid("row_outbox", get_namespace_oid("bench", false));
	table = table_open(target->table, RowExclusiveLock);
	target->index = linitial_oid(RelationGetIndexList(table));
	index = index_open(target->index, RowExclusiveLock);
	target->info = BuildIndexInfo(index);
	target->slot =
		MakeSingleTupleTableSlot(CreateTupleDescCopy(RelationGetDescr(table)), &TTSOpsHeapTuple);
	target->keys = CStringGetTextDatum(KEYS);
	target->id = (int64) MyProcPid << 32;
	index_close(index, NoLock);
	table_close(table, NoLock);
	MemoryContextSwitchTo(caller);
}

Datum
one_row(PG_FUNCTION_ARGS)
{
	static Target target;
	Datum         values[COLUMNS], entry[INDEX_MAX_KEYS];
	bool          nulls[COLUMNS] = {false}, entry_nulls[INDEX_MAX_KEYS];
	Relation      table, index;

	if (target.info == NULL)
		find_target(&target);
	table = table_open(target.table, RowExclusiveLock);
	index = index_open(target.index, RowExclusiveLock);
	values[0] = Int64GetDatum(++target.id);
	values[1] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[2] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[3] = target.keys;
	ExecStoreHeapTuple(heap_form_tuple(target.slot->tts_tupleDescriptor, values, nulls),
	                   target.slot, true);
	table_tuple_insert(table, target.slot, GetCurrentCommandId(true), 0, NULL);
	FormIndexDatum(target.info, target.slot, NULL, entry, entry_nulls);
	index_insert(index, entry, entry_nulls, &target.slot->tts_tid, table, UNIQUE_CHECK_NO, false,
	             target.info);
	ExecClearTuple(target.slot);
	index_close(index, NoLock);
	table_close(table, NoLock);
	PG_RETURN_POINTER(NULL);
}
