/*
 * scan.c
 *    Reading outbox tables by their one index.
 */
#include "postgres.h"

#include "relay/scan.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "extension/event.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/xid8.h"

bool
table_scan_begin(TableScan *scan, int number, Snapshot snapshot, int key_count)
{
	Oid   oid = event_table_oid(number);
	List *indexes;

	scan->table = NULL;
	if (!OidIsValid(oid))
		return false;
	scan->table = table_open(oid, AccessShareLock);
	scan->pages = RelationGetNumberOfBlocks(scan->table);
	if (scan->pages == 0)
	{
		/* As one or two of three are most of the time. What the snapshot sees was written before. */
		table_close(scan->table, AccessShareLock);
		scan->table = NULL;
		return false;
	}
	indexes = RelationGetIndexList(scan->table);
	if (list_length(indexes) != 1)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		        errmsg("outbox table \"%s\" must have exactly one index",
		               RelationGetRelationName(scan->table)),
		        errhint("Drop the indexes that were added to it."));
	scan->index = index_open(linitial_oid(indexes), AccessShareLock);
	scan->slot = table_slot_create(scan->table, NULL);
	scan->scan = index_beginscan(scan->table, scan->index, snapshot, key_count, 0);
	list_free(indexes);
	return true;
}

void
table_scan_end(TableScan *scan)
{
	index_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	index_close(scan->index, AccessShareLock);
	table_close(scan->table, AccessShareLock);
}

void
table_scans_begin(TableScans *scans, Snapshot snapshot, int key_count)
{
	for (int number = 0; number < EVENT_TABLES; number++)
		(void) table_scan_begin(&scans->tables[number], number, snapshot, key_count);
}

void
table_scans_end(TableScans *scans)
{
	for (int number = 0; number < EVENT_TABLES; number++)
	{
		if (scans->tables[number].table != NULL)
			table_scan_end(&scans->tables[number]);
	}
}

bool
table_scan_fetch(TableScan *scan, ItemPointerData place)
{
	bool another = false; /* version of the row: there are none */

	return ItemPointerGetBlockNumber(&place) < scan->pages &&
	       table_index_fetch_tuple(scan->scan->xs_heapfetch, &place, scan->scan->xs_snapshot,
	                               scan->slot, &another, NULL);
}

ScanKeyData
scan_xid_key(StrategyNumber strategy, uint64 xid)
{
	ScanKeyData  key;
	RegProcedure procedure = strategy == BTEqualStrategyNumber  ? F_XID8EQ
	                         : strategy == BTLessStrategyNumber ? F_XID8LT
	                                                            : F_XID8GE;

	ScanKeyInit(&key, 1, strategy, procedure,
	            FullTransactionIdGetDatum(FullTransactionIdFromU64(xid)));
	return key;
}

/* What the scans of one call have in common. */
typedef struct ScanRows
{
	int         number; /* of the table */
	int64       after;  /* ids are greater; 0: any */
	RowFunction function;
	void       *context;
} ScanRows;

/* Rows whose xid fits two keys; a third is on the id. false: the function ended the scan. */
static bool
scan_range(TableScan *scan, const ScanRows *rows, ScanKeyData xid, ScanKeyData xid_below)
{
	ScanKeyData keys[3] = {xid, xid_below};
	int         key_count = rows->after == 0 ? 2 : 3;
	ScanNext    next = SCAN_ROW;

	ScanKeyInit(&keys[2], 2, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(rows->after));
	index_rescan(scan->scan, keys, key_count, NULL, 0);
	while (next != SCAN_END && index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot))
	{
		CHECK_FOR_INTERRUPTS();
		next = rows->function(rows->context, rows->number, scan->slot);
		if (next == SCAN_TRANSACTION)
		{
			if (xid.sk_strategy == BTEqualStrategyNumber)
				return true;
			keys[0] = scan_xid_key(BTGreaterEqualStrategyNumber, row_xid(scan->slot) + 1);
			index_rescan(scan->scan, keys, key_count, NULL, 0);
		}
	}
	return next != SCAN_END;
}

static bool
scan_rows(TableScan *scan, const Position *position, uint64 end, const ScanRows *rows)
{
	ScanKeyData below = scan_xid_key(BTLessStrategyNumber, end);
	bool        more;

	more = scan_range(
		scan, rows,
		scan_xid_key(BTGreaterEqualStrategyNumber, Max(position->xmax, (uint64) EVENT_XID_FIRST)),
		below);
	for (size_t i = 0; more && i < position->xid_count; i++)
		more =
			scan_range(scan, rows, scan_xid_key(BTEqualStrategyNumber, position->xids[i]), below);
	return more;
}

bool
scan_table(const Position *position, uint64 end, Snapshot snapshot, int number,
           RowFunction function, void *context)
{
	ScanRows  rows = {.number = number, .function = function, .context = context};
	TableScan scan;
	bool      more;

	if (!table_scan_begin(&scan, number, snapshot, 2))
		return true;
	more = scan_rows(&scan, position, end, &rows);
	table_scan_end(&scan);
	return more;
}

static void
scan_all_rows(TableScans *scans, const Position *position, uint64 end, ScanRows *rows)
{
	bool more = true;

	for (rows->number = 0; more && rows->number < EVENT_TABLES; rows->number++)
	{
		TableScan *scan = &scans->tables[rows->number];

		more = scan->table == NULL || scan_rows(scan, position, end, rows);
	}
}

void
scan_open_tables(TableScans *scans, const Position *position, uint64 end, RowFunction function,
                 void *context)
{
	ScanRows rows = {.function = function, .context = context};

	scan_all_rows(scans, position, end, &rows);
}

void
scan_tables_after(const Position *position, uint64 end, int64 after, Snapshot snapshot,
                  RowFunction function, void *context)
{
	ScanRows   rows = {.after = after, .function = function, .context = context};
	TableScans scans;

	table_scans_begin(&scans, snapshot, after == 0 ? 2 : 3);
	scan_all_rows(&scans, position, end, &rows);
	table_scans_end(&scans);
}

void
scan_tables(const Position *position, uint64 end, Snapshot snapshot, RowFunction function,
            void *context)
{
	scan_tables_after(position, end, 0, snapshot, function, context);
}

Datum
scan_value(TupleTableSlot *row, AttrNumber column)
{
	bool  is_null;
	Datum value = slot_getattr(row, column, &is_null);

	if (is_null)
		ereport(ERROR, errcode(ERRCODE_DATA_CORRUPTED),
		        errmsg("outbox row without a value in column %d", column));
	return value;
}

uint64
row_xid(TupleTableSlot *row)
{
	return U64FromFullTransactionId(DatumGetFullTransactionId(scan_value(row, EVENT_XID)));
}
