/*
 * rotation_status.c
 *    What lies behind outbox.rotation: the three tables, and since when others are in the way.
 *
 * Whoever holds the locks is found by the view, in pg_locks. Looking must not wait for them: a
 * relation that is locked exclusively is not opened, its size unknown. Runs in the backend that
 * asks.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "extension/event.h"
#include "extension/shmem.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(outbox_rotation_status);

/* Columns of the function behind outbox.rotation. */
enum
{
	ROTATION_RELATION,
	ROTATION_BYTES,
	ROTATION_STATE,
	ROTATION_BLOCKED_SINCE,
	ROTATION_LOCKED, /* oids of all that emptying locks */
	ROTATION_COLUMNS
};

/* A table with its toast table and their indexes. */
typedef struct Parts
{
	List *oids;
	List *locked;     /* of them: those that could be opened at once */
	int64 rows_bytes; /* of the tables, without indexes */
} Parts;

static Relation
open_part(Parts *parts, Oid oid)
{
	parts->oids = lappend_oid(parts->oids, oid);
	if (!ConditionalLockRelationOid(oid, AccessShareLock))
		return NULL;
	parts->locked = lappend_oid(parts->locked, oid);
	return try_relation_open(oid, NoLock);
}

static void
open_with_indexes(Parts *parts, Oid oid)
{
	Relation  relation = open_part(parts, oid);
	ListCell *cell;
	Oid       toast;

	if (relation == NULL)
		return;
	parts->rows_bytes += (int64) RelationGetNumberOfBlocks(relation) * BLCKSZ;
	foreach (cell, RelationGetIndexList(relation))
	{
		Relation index = open_part(parts, lfirst_oid(cell));

		if (index != NULL)
			relation_close(index, NoLock);
	}
	toast = relation->rd_rel->reltoastrelid;
	relation_close(relation, NoLock);
	if (OidIsValid(toast))
		open_with_indexes(parts, toast);
}

/* Monitoring must not stand in rotation's way itself: nothing stays locked. */
static void
unlock_parts(Parts *parts)
{
	ListCell *cell;

	foreach (cell, parts->locked)
		UnlockRelationOid(lfirst_oid(cell), AccessShareLock);
}

static bool
all_open(const Parts *parts)
{
	return list_length(parts->locked) == list_length(parts->oids);
}

static const char *
state_name(const Parts *parts, bool current, TimestampTz blocked_since)
{
	if (current)
		return "current";
	if (all_open(parts) && parts->rows_bytes == 0)
		return "empty";
	return blocked_since != 0 ? "waiting" : "full";
}

static Datum
oid_array(List *oids)
{
	Datum    *elements = palloc(list_length(oids) * sizeof(Datum));
	ListCell *cell;

	foreach (cell, oids)
		elements[foreach_current_index(cell)] = ObjectIdGetDatum(lfirst_oid(cell));
	return PointerGetDatum(
		construct_array(elements, list_length(oids), OIDOID, sizeof(Oid), true, TYPALIGN_INT));
}

static void
put_table(ReturnSetInfo *result, int number, bool current, TimestampTz blocked_since)
{
	Datum values[ROTATION_COLUMNS] = {0};
	bool  nulls[ROTATION_COLUMNS] = {0};
	Parts parts = {0};
	Oid   oid = event_table_oid(number);

	open_with_indexes(&parts, oid);
	values[ROTATION_RELATION] = ObjectIdGetDatum(oid);
	nulls[ROTATION_BYTES] = !all_open(&parts);
	if (all_open(&parts))
		values[ROTATION_BYTES] = DirectFunctionCall1(pg_total_relation_size, ObjectIdGetDatum(oid));
	values[ROTATION_STATE] = CStringGetTextDatum(state_name(&parts, current, blocked_since));
	nulls[ROTATION_BLOCKED_SINCE] = current || blocked_since == 0;
	values[ROTATION_BLOCKED_SINCE] = TimestampTzGetDatum(blocked_since);
	values[ROTATION_LOCKED] = oid_array(parts.oids);
	unlock_parts(&parts);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

Datum
outbox_rotation_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	OutboxSlot    *slot = shmem_mine();
	TimestampTz    blocked_since[EVENT_TABLES] = {0};
	int            current = shmem_current_table();

	InitMaterializedSRF(fcinfo, 0);
	if (slot != NULL)
	{
		LWLockAcquire(&slot->text_lock, LW_SHARED);
		memcpy(blocked_since, slot->rotation_blocked_since, sizeof(blocked_since));
		LWLockRelease(&slot->text_lock);
	}
	for (int number = 0; number < EVENT_TABLES; number++)
		put_table(result, number, number == current, blocked_since[number]);
	PG_RETURN_VOID();
}
