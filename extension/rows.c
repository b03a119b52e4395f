/*
 * rows.c
 *    Rows into the extension's own tables, below the executor.
 *
 * What the executor's insert does, less what must not happen at another's commit: the caller has no
 * rights here, and search_path, session_replication_role or a trigger must not matter.
 *
 * Every index of the table is kept up, also one that an administrator added; one over expressions
 * or with a predicate is refused, because code of others would run here.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "rows.h"

typedef struct RowIndex
{
	Relation   relation;
	IndexInfo *info;
} RowIndex;

struct RowWriter
{
	Relation        table;
	int             index_count;
	RowIndex       *indexes;
	TupleTableSlot *slot;
	MemoryContext   row_context; /* reset after each row: toasting leaves its chunks behind */
};

static void
index_open_for_rows(RowIndex *index, Oid oid)
{
	index->relation = index_open(oid, RowExclusiveLock);
	index->info = BuildIndexInfo(index->relation);
	if (index->info->ii_Expressions != NIL || index->info->ii_Predicate != NIL ||
	    index->info->ii_ExclusionOps != NULL)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		        errmsg("index \"%s\" on a table of pg_outbox cannot be kept up to date",
		               RelationGetRelationName(index->relation)),
		        errdetail("Rows of the outbox are written below the executor."),
		        errhint("Drop the index."));
}

RowWriter *
row_writer_begin(Oid table)
{
	RowWriter *writer;
	Relation   relation = try_table_open(table, RowExclusiveLock);
	List      *oids;
	ListCell  *cell;

	if (relation == NULL)
		return NULL;
	writer = palloc0(sizeof(RowWriter));
	writer->table = relation;
	oids = RelationGetIndexList(relation);
	writer->indexes = palloc0(sizeof(RowIndex) * Max(list_length(oids), 1));
	foreach (cell, oids)
		index_open_for_rows(&writer->indexes[writer->index_count++], lfirst_oid(cell));
	list_free(oids);
	writer->slot = table_slot_create(relation, NULL);
	writer->row_context =
		AllocSetContextCreate(CurrentMemoryContext, "outbox row", ALLOCSET_DEFAULT_SIZES);
	return writer;
}

Relation
row_writer_table(RowWriter *writer)
{
	return writer->table;
}

static void
index_row(RowWriter *writer, RowIndex *index)
{
	Datum            values[INDEX_MAX_KEYS];
	bool             nulls[INDEX_MAX_KEYS];
	IndexUniqueCheck check = index->info->ii_Unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO;

	if (!index->info->ii_ReadyForInserts)
		return;
	FormIndexDatum(index->info, writer->slot, NULL, values, nulls);
	index_insert(index->relation, values, nulls, &writer->slot->tts_tid, writer->table, check,
	             false, index->info);
}

void
row_writer_insert(RowWriter *writer, const Datum *values, const bool *nulls)
{
	MemoryContext   old = MemoryContextSwitchTo(writer->row_context);
	TupleTableSlot *slot = writer->slot;
	int             columns = slot->tts_tupleDescriptor->natts;

	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, sizeof(Datum) * columns);
	memcpy(slot->tts_isnull, nulls, sizeof(bool) * columns);
	ExecStoreVirtualTuple(slot);
	table_tuple_insert(writer->table, slot, GetCurrentCommandId(true), TABLE_INSERT_NO_LOGICAL,
	                   NULL);
	for (int i = 0; i < writer->index_count; i++)
		index_row(writer, &writer->indexes[i]);
	ExecClearTuple(slot);
	MemoryContextSwitchTo(old);
	MemoryContextReset(writer->row_context);
}

void
row_writer_end(RowWriter *writer)
{
	ExecDropSingleTupleTableSlot(writer->slot);
	for (int i = 0; i < writer->index_count; i++)
		index_close(writer->indexes[i].relation, NoLock);
	table_close(writer->table, NoLock);
	MemoryContextDelete(writer->row_context);
	pfree(writer->indexes);
	pfree(writer);
}
