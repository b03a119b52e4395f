/*
 * parked.h
 *    outbox.parked: events that the broker did not accept.
 *
 * The relay inserts and deletes; backends delete only, in outbox.discard_dead_letter() and
 * outbox.retry_dead_letter(). All below the executor: no publication sees it.
 */
#ifndef OUTBOX_PARKED_H
#define OUTBOX_PARKED_H

#include "postgres.h"

#include "access/genam.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* Columns, as in pg_outbox--1.0.sql. Those before are EVENT_ID to EVENT_ATTEMPTS. */
enum
{
	PARKED_TO_EXCHANGE = 13,
	PARKED_TO_ROUTING_KEY,
	PARKED_DEAD,
	PARKED_REASON,
	PARKED_FIRST_FAILED_AT,
	PARKED_FAILED_AT,
	PARKED_COLUMNS = PARKED_FAILED_AT
};

/* The table with one of its indexes, open. */
typedef struct ParkedScan
{
	Relation        table, index;
	IndexScanDesc   scan;
	TupleTableSlot *slot;
} ParkedScan;

/* Opens for finding rows by id; lock: RowExclusiveLock to delete, else AccessShareLock; kept until the
 * transaction ends. */
void parked_begin_by_id(ParkedScan *scan, Snapshot snapshot, LOCKMODE lock);

/* Finds the row of that id: scan->slot. false: there is none. */
bool parked_find(ParkedScan *scan, int64 id);

/* Opens for reading a destination's rows, dead or not, in the order of their ids; after: only greater
 * ones, 0: all. */
void parked_begin_of(ParkedScan *scan, Snapshot snapshot, LOCKMODE lock, const char *exchange,
                     const char *routing_key, bool dead, int64 after);

/* Opens for reading all rows that are dead, or all that are not, by destination. */
void parked_begin_all(ParkedScan *scan, Snapshot snapshot, LOCKMODE lock, bool dead);

/* The next row: scan->slot. false: there is none. */
bool parked_next_row(ParkedScan *scan);

/* Is a transaction under way about to delete the row in scan->slot? */
bool parked_is_held(ParkedScan *scan);

void parked_end(ParkedScan *scan);

/* Deletes the row in scan->slot. wait: for a transaction that is at work on it. false: somebody else
 * has deleted it, or, without wait, is perhaps about to. */
bool parked_delete(ParkedScan *scan, bool wait);

#endif
