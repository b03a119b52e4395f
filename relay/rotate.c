/*
 * rotate.c
 *    Which table writers use, and emptying the others.
 *
 * The order of the steps is the whole point:
 *  1. every lock that TRUNCATE would take (table, index, toast table, toast index), each only if it
 *     is free at once: a waiting exclusive lock would have every commit queue up behind it;
 *  2. then a fresh snapshot, and the test that the position contains all it sees: writers keep
 *     their lock until they end, so whoever holds the exclusive lock knows that none is unfinished.
 *     A snapshot older than the lock would miss what was committed in between;
 *  3. the position once more, into a table that stays; then TRUNCATE, in the same transaction.
 * The relay commits with synchronous_commit off: no standby is waited for while the lock is held.
 *
 * Correctness does not hang on who thinks which table is current: all three are read always.
 * Source of the idea: PgQ, pgq.maint_rotate_tables.
 */
#include "postgres.h"

#include "relay/rotate.h"

#include "access/table.h"
#include "access/xact.h"
#include "commands/tablecmds.h"
#include "extension/compat.h"
#include "extension/event.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define ROTATE_TABLE_BYTES (64 * 1024 * 1024)

#define IDLE_PAGES 1 /* a table of a few positions */

static BlockNumber
relation_pages(Oid oid)
{
	Relation    relation;
	BlockNumber pages;

	if (!OidIsValid(oid))
		return 0;
	relation = table_open(oid, AccessShareLock);
	pages = RelationGetNumberOfBlocks(relation) + relation_pages(relation->rd_rel->reltoastrelid);
	table_close(relation, AccessShareLock);
	return pages;
}

/* With its toast table. */
static BlockNumber
table_pages(int number)
{
	return relation_pages(event_table_oid(number));
}

bool
rotate_is_due(OutboxSlot *slot)
{
	BlockNumber pages;

	StartTransactionCommand();
	pages = table_pages((int) pg_atomic_read_u32(&slot->current_table));
	CommitTransactionCommand();
	return (uint64) pages * BLCKSZ >= ROTATE_TABLE_BYTES;
}

bool
rotate_has_work(OutboxSlot *slot)
{
	int  current = (int) pg_atomic_read_u32(&slot->current_table);
	bool found = false;

	StartTransactionCommand();
	for (int number = 0; !found && number < EVENT_TABLES; number++)
		found = table_pages(number) > (number == current ? IDLE_PAGES : 0);
	CommitTransactionCommand();
	return found;
}

static bool
lock_with_indexes(Oid oid)
{
	Relation  relation;
	List     *indexes;
	ListCell *cell;
	Oid       toast;
	bool      locked = true;

	if (!ConditionalLockRelationOid(oid, AccessExclusiveLock))
		return false;
	relation = table_open(oid, NoLock);
	indexes = RelationGetIndexList(relation);
	toast = relation->rd_rel->reltoastrelid;
	table_close(relation, NoLock);
	foreach (cell, indexes)
		locked = locked && ConditionalLockRelationOid(lfirst_oid(cell), AccessExclusiveLock);
	list_free(indexes);
	if (locked && OidIsValid(toast))
		locked = lock_with_indexes(toast);
	return locked;
}

/* Of the table all that TRUNCATE locks, and the right to write the position into the current one:
 * all or nothing, and nothing is waited for. What was taken the caller's abort gives back. */
static bool
lock_for_emptying(int number)
{
	return ConditionalLockRelationOid(event_table_oid(shmem_current_table()), RowExclusiveLock) &&
	       lock_with_indexes(event_table_oid(number));
}

/* For outbox.rotation: since when others' locks are in the way. */
static void
show_blocked(OutboxSlot *slot, int number, bool blocked)
{
	TimestampTz *since = &slot->rotation_blocked_since[number];

	LWLockAcquire(&slot->text_lock, LW_EXCLUSIVE);
	if (!blocked)
		*since = 0;
	else if (*since == 0)
		*since = GetCurrentTimestamp();
	LWLockRelease(&slot->text_lock);
}

/* The table is locked and published: empties it. Not the TRUNCATE command: no triggers, nothing for
 * logical decoding. */
static void
truncate_locked(Oid oid)
{
	Relation table = table_open(oid, NoLock);

	compat_truncate(list_make1(table), list_make1_oid(oid));
	table_close(table, NoLock);
}

/* Empties one table that is not current, if that goes at once. */
static RotateResult
empty_table(Store *store, OutboxSlot *slot, int number)
{
	RotateResult result = ROTATE_LATER;
	bool         blocked = false;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (table_pages(number) == 0)
		result = ROTATE_NOTHING;
	else if (!lock_for_emptying(number))
		blocked = true;
	else if (!store_table_has_unpublished(store, number))
	{
		store_write_position(store);
		truncate_locked(event_table_oid(number));
		result = ROTATE_DONE;
	}
	PopActiveSnapshot();
	if (result == ROTATE_DONE)
		CommitTransactionCommand();
	else
		AbortCurrentTransaction();
	show_blocked(slot, number, blocked);
	return result;
}

/* The next table that is empty; -1: none. */
static int
next_empty_table(int current)
{
	int found = -1;

	StartTransactionCommand();
	for (int i = 1; found < 0 && i < EVENT_TABLES; i++)
	{
		if (table_pages((current + i) % EVENT_TABLES) == 0)
			found = (current + i) % EVENT_TABLES;
	}
	CommitTransactionCommand();
	return found;
}

/* Have writers use an empty table if the present one holds more than it must. */
static RotateResult
switch_table(OutboxSlot *slot)
{
	int  current = (int) pg_atomic_read_u32(&slot->current_table);
	bool idle;
	int  next;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	idle = table_pages(current) <= IDLE_PAGES && !store_table_has_events(current);
	PopActiveSnapshot();
	CommitTransactionCommand();
	if (idle)
		return ROTATE_NOTHING;
	next = next_empty_table(current);
	if (next < 0)
		return ROTATE_LATER;
	pg_atomic_write_u32(&slot->current_table, (uint32) next);
	return ROTATE_DONE;
}

static RotateResult
empty_others(Store *store, OutboxSlot *slot)
{
	RotateResult result = ROTATE_NOTHING;
	int          current = (int) pg_atomic_read_u32(&slot->current_table);

	for (int number = 0; number < EVENT_TABLES; number++)
	{
		RotateResult one;

		if (number == current)
			continue;
		one = empty_table(store, slot, number);
		if (one == ROTATE_LATER || (one == ROTATE_DONE && result == ROTATE_NOTHING))
			result = one;
	}
	return result;
}

RotateResult
rotate(Store *store, OutboxSlot *slot)
{
	RotateResult result = switch_table(slot);
	RotateResult emptied = empty_others(store, slot);

	/* Two of the others may have stood in the switch's way and are empty now. */
	if (result == ROTATE_LATER && emptied == ROTATE_DONE)
		result = switch_table(slot) == ROTATE_LATER ? ROTATE_LATER : empty_others(store, slot);
	if (emptied == ROTATE_LATER)
		return ROTATE_LATER;
	return result == ROTATE_NOTHING ? emptied : result;
}
