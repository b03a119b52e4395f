/*
 * rows.c
 *    Rows into the extension's own tables, below the executor.
 *
 * What the executor's insert does, less what must not happen at another's commit: the caller has no
 * rights here, and search_path, session_replication_role or a trigger must not matter.
 *
 * Every index of the table is kept up, also one that an administrator added; one over expressions
 * or with a predicate is refused, because code of others would run here.
 *
 * What does not depend on the transaction (columns, indexes, a slot) is kept for the table written
 * to last, until its relcache entry is invalidated: made anew each time it would cost as much as the
 * row. An invalidation may arrive while it is being made; so it is marked valid before. A table that
 * is locked for writing keeps its shape, so what is in use stays right until row_writer_end.
 *
 * A row is stored up to its last column that is not NULL, as rows are that are older than a column:
 * with the usual ones in front, that spares the others and the bitmap of NULLs. (So an update script
 * that adds a column must give it no DEFAULT: a row that ends before it would have that.)
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heaptoast.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "rows.h"

typedef struct RowIndex
{
	Oid        oid;
	IndexInfo *info;
	Relation   relation; /* between begin and end */
} RowIndex;

struct RowWriter
{
	Oid             oid;   /* of the table; InvalidOid: nothing is kept */
	bool            valid; /* nothing has changed since the rest was made */
	MemoryContext   context;
	MemoryContext   row_context;
	TupleTableSlot *slot;  /* NULL: making the rest failed */
	TupleDesc      *forms; /* the table's first columns: [0] has one, the last all */
	int             index_count;
	RowIndex       *indexes;
	Relation        table; /* between begin and end */
};

static RowWriter kept;
static bool      callback_registered;

static void
forget_kept(Datum arg, Oid relation)
{
	if (relation == InvalidOid || relation == kept.oid)
		kept.valid = false;
}

static void
index_check(Relation index, const IndexInfo *info)
{
	if (info->ii_Expressions != NIL || info->ii_Predicate != NIL || info->ii_ExclusionOps != NULL)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		        errmsg("index \"%s\" on a table of pg_outbox cannot be kept up to date",
		               RelationGetRelationName(index)),
		        errdetail("Rows of the outbox are written below the executor."),
		        errhint("Drop the index."));
}

static void
make_index(RowIndex *index, Oid oid)
{
	Relation relation = index_open(oid, RowExclusiveLock);

	index->oid = oid;
	index->info = BuildIndexInfo(relation);
	index_check(relation, index->info);
	index_close(relation, NoLock);
}

static void
make_indexes(RowWriter *writer, Relation table)
{
	List     *oids = RelationGetIndexList(table);
	ListCell *cell;

	writer->indexes = palloc0(sizeof(RowIndex) * Max(list_length(oids), 1));
	foreach (cell, oids)
		make_index(&writer->indexes[writer->index_count++], lfirst_oid(cell));
	list_free(oids);
}

static void
make_forms(RowWriter *writer, TupleDesc all)
{
	writer->forms = palloc(sizeof(TupleDesc) * all->natts);
	for (int i = 0; i < all->natts; i++)
	{
		writer->forms[i] = CreateTemplateTupleDesc(i + 1);
		for (int column = 1; column <= i + 1; column++)
			TupleDescCopyEntry(writer->forms[i], (AttrNumber) column, all, (AttrNumber) column);
	}
}

static void
forget_writer(RowWriter *writer)
{
	MemoryContext context = writer->context;

	*writer = (RowWriter){0};
	if (context != NULL)
		MemoryContextDelete(context);
}

/* Made below the current context, and kept once it is whole. */
static void
make_writer(RowWriter *writer, Relation table)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "outbox rows", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	RowWriter     fresh = {.oid = RelationGetRelid(table), .context = context};

	if (!callback_registered)
	{
		CacheRegisterRelcacheCallback(forget_kept, (Datum) 0);
		callback_registered = true;
	}
	forget_writer(writer);
	writer->oid = fresh.oid;
	writer->valid = true;
	fresh.slot =
		MakeSingleTupleTableSlot(CreateTupleDescCopy(RelationGetDescr(table)), &TTSOpsHeapTuple);
	make_forms(&fresh, RelationGetDescr(table));
	make_indexes(&fresh, table);
	fresh.row_context = AllocSetContextCreate(context, "outbox row", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(context, CacheMemoryContext);
	fresh.valid = writer->valid;
	*writer = fresh;
}

RowWriter *
row_writer_begin(Oid table)
{
	RowWriter *writer = &kept;
	Relation   relation = table_open(table, NoLock);

	if (!writer->valid || writer->oid != table || writer->slot == NULL)
		make_writer(writer, relation);
	ExecClearTuple(writer->slot); /* an error may have left a row behind */
	MemoryContextReset(writer->row_context);
	writer->table = relation;
	for (int i = 0; i < writer->index_count; i++)
		writer->indexes[i].relation = index_open(writer->indexes[i].oid, RowExclusiveLock);
	return writer;
}

Relation
row_writer_table(RowWriter *writer)
{
	return writer->table;
}

MemoryContext
row_writer_context(RowWriter *writer)
{
	return writer->row_context;
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

static HeapTuple
form_row(RowWriter *writer, const Datum *values, const bool *nulls)
{
	int columns = writer->slot->tts_tupleDescriptor->natts;

	while (columns > 1 && nulls[columns - 1])
		columns--;
	return heap_form_tuple(writer->forms[columns - 1], unconstify(Datum *, values),
	                       unconstify(bool *, nulls));
}

/* A server with assertions asks for a snapshot wherever a table could store something out of line. */
#ifdef USE_ASSERT_CHECKING
#define SNAPSHOT_FOR_EVERY_ROW true
#else
#define SNAPSHOT_FOR_EVERY_ROW false
#endif

/* What is stored out of line needs a snapshot, which most rows can do without. */
static void
insert_tuple(RowWriter *writer, HeapTuple row)
{
	bool toasts =
		SNAPSHOT_FOR_EVERY_ROW || row->t_len > TOAST_TUPLE_THRESHOLD || HeapTupleHasExternal(row);

	if (toasts)
		PushActiveSnapshot(GetTransactionSnapshot());
	ExecStoreHeapTuple(row, writer->slot, true);
	table_tuple_insert(writer->table, writer->slot, GetCurrentCommandId(true),
	                   TABLE_INSERT_NO_LOGICAL, NULL);
	if (toasts)
		PopActiveSnapshot();
}

void
row_writer_insert(RowWriter *writer, const Datum *values, const bool *nulls)
{
	MemoryContext old = MemoryContextSwitchTo(writer->row_context);

	insert_tuple(writer, form_row(writer, values, nulls));
	for (int i = 0; i < writer->index_count; i++)
		index_row(writer, &writer->indexes[i]);
	ExecClearTuple(writer->slot);
	MemoryContextSwitchTo(old);
	MemoryContextReset(writer->row_context);
}

void
row_writer_end(RowWriter *writer)
{
	for (int i = 0; i < writer->index_count; i++)
		index_close(writer->indexes[i].relation, NoLock);
	table_close(writer->table, NoLock);
}
