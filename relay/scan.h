/*
 * scan.h
 *    Index scans of the outbox tables on (xid, id).
 *
 * No planner: after a TRUNCATE there are no statistics for it to go by. Locks are given back at the
 * end of each scan, since readers must not stand in rotation's way.
 */
#ifndef OUTBOX_SCAN_H
#define OUTBOX_SCAN_H

#include "postgres.h"

#include "access/genam.h"
#include "access/skey.h"
#include "extension/event.h"
#include "executor/tuptable.h"
#include "relay/window.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#define SCAN_NO_END PG_UINT64_MAX /* no transaction's id */

/* One outbox table with its index, open for reading. */
typedef struct TableScan
{
	Relation        table, index;
	IndexScanDesc   scan;
	TupleTableSlot *slot;
	BlockNumber     pages; /* of the table, when it was opened */
} TableScan;

/* Opens table `number` for reading with a snapshot; key_count: keys of each index_rescan. false: there
 * is no such table, or nothing in it. */
bool table_scan_begin(TableScan *scan, int number, Snapshot snapshot, int key_count);
void table_scan_end(TableScan *scan);

/* All of them: `table` is NULL in those that do not exist or hold nothing. */
typedef struct TableScans
{
	TableScan tables[EVENT_TABLES];
} TableScans;

void table_scans_begin(TableScans *scans, Snapshot snapshot, int key_count);
void table_scans_end(TableScans *scans);

/* The row at a place that was seen before goes into the slot. false: the snapshot sees none there. What
 * is found may be another one, if the table was rewritten meanwhile. */
bool table_scan_fetch(TableScan *scan, ItemPointerData place);

/* A key on xid: equal, less, or greater or equal. */
ScanKeyData scan_xid_key(StrategyNumber strategy, uint64 xid);

/* A column that is never NULL. */
Datum  scan_value(TupleTableSlot *row, AttrNumber column);
uint64 row_xid(TupleTableSlot *row);

typedef enum ScanNext
{
	SCAN_ROW,         /* the next one */
	SCAN_TRANSACTION, /* the next one's; ids of a transaction ascend */
	SCAN_END
} ScanNext;

/* Called for each row; says where to go on. */
typedef ScanNext (*RowFunction)(void *context, int table, TupleTableSlot *row);

/* All rows of one table that the snapshot sees and the position does not contain, of transactions
 * below `end`. false: the function ended the scan. */
bool scan_table(const Position *position, uint64 end, Snapshot snapshot, int number,
                RowFunction function, void *context);

/* The same for every table. */
void scan_tables(const Position *position, uint64 end, Snapshot snapshot, RowFunction function,
                 void *context);

/* The same, of tables that are open (for two keys). */
void scan_open_tables(TableScans *scans, const Position *position, uint64 end, RowFunction function,
                      void *context);

/* The same, of rows whose id is greater than `after`: others are not even fetched. */
void scan_tables_after(const Position *position, uint64 end, int64 after, Snapshot snapshot,
                       RowFunction function, void *context);

#endif
