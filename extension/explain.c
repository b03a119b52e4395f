/*
 * explain.c
 *    outbox.explain(): which keys would a change of a row emit?
 *
 * A dry run. The rows come as jsonb and become rows of the table; then each row trigger that calls
 * outbox.invalidate() is asked as PostgreSQL and the trigger itself would: is it enabled, is it for
 * this operation, does its condition hold, does a column that counts change, which keys do its
 * templates make. Nothing is recorded, and the table is not read.
 *
 * Of a trigger with UPDATE OF, columns that change count as mentioned: there is no SET to look at.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/execnodes.h"
#include "nodes/makefuncs.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "keys.h"
#include "render.h"
#include "template_set.h"
#include "trigger.h"

PG_FUNCTION_INFO_V1(outbox_explain);

/* A change that nobody makes. */
typedef struct Change
{
	Relation        relation;
	TupleTableSlot *old_row; /* NULL: INSERT */
	TupleTableSlot *new_row; /* NULL: DELETE */
	ReturnSetInfo  *result;
} Change;

/* Where keys of one template go, each once. */
typedef struct Emitted
{
	const Change *change;
	const char   *template_text;
	List         *keys; /* of char * */
} Emitted;

/* ---- jsonb to rows -------------------------------------------------------------------------- */

/* base: a row (composite datum) whose values the jsonb need not repeat, or NULL. */
static HeapTupleHeader
populate_row(Relation relation, HeapTupleHeader base, Datum jsonb)
{
	Oid             types[] = {RelationGetForm(relation)->reltype, JSONBOID};
	Datum           values[] = {PointerGetDatum(base), jsonb};
	char            nulls[] = {base == NULL ? 'n' : ' ', ' '};
	MemoryContext   caller = CurrentMemoryContext;
	HeapTupleHeader row;
	MemoryContext   old;
	Datum           value;
	bool            is_null;

	SPI_connect();
	if (SPI_execute_with_args("SELECT pg_catalog.jsonb_populate_record($1, $2)", lengthof(types),
	                          types, values, nulls, true, 1) != SPI_OK_SELECT ||
	    SPI_processed != 1)
		elog(ERROR, "jsonb_populate_record gave no row");
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
	if (is_null)
		elog(ERROR, "jsonb_populate_record gave NULL");
	old = MemoryContextSwitchTo(caller);
	row = DatumGetHeapTupleHeaderCopy(value);
	MemoryContextSwitchTo(old);
	SPI_finish();
	return row;
}

static TupleTableSlot *
make_slot(Relation relation, HeapTupleHeader row)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsHeapTuple);
	HeapTuple       tuple = palloc0(HEAPTUPLESIZE);

	tuple->t_len = HeapTupleHeaderGetDatumLength(row);
	ItemPointerSetInvalid(&tuple->t_self);
	tuple->t_tableOid = RelationGetRelid(relation);
	tuple->t_data = row;
	return ExecStoreHeapTuple(tuple, slot, false);
}

/* Columns that "new" does not name are as in "old". */
static void
make_rows(Change *change, FunctionCallInfo fcinfo)
{
	HeapTupleHeader old_row = NULL;

	if (PG_ARGISNULL(1) && PG_ARGISNULL(2))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
		        errmsg("the old and the new row must not both be NULL"),
		        errhint("INSERT has no old row, DELETE no new one, UPDATE has both."));
	if (!PG_ARGISNULL(1))
	{
		old_row = populate_row(change->relation, NULL, PG_GETARG_DATUM(1));
		change->old_row = make_slot(change->relation, old_row);
	}
	if (!PG_ARGISNULL(2))
		change->new_row = make_slot(change->relation,
		                            populate_row(change->relation, old_row, PG_GETARG_DATUM(2)));
}

/* ---- would the trigger fire? ---------------------------------------------------------------- */

static bool
is_for_operation(const Trigger *trigger, const Change *change)
{
	if (change->old_row == NULL)
		return TRIGGER_FOR_INSERT(trigger->tgtype);
	if (change->new_row == NULL)
		return TRIGGER_FOR_DELETE(trigger->tgtype);
	return TRIGGER_FOR_UPDATE(trigger->tgtype);
}

static bool
mentions_change(const Trigger *trigger, const Change *change)
{
	if (trigger->tgnattr == 0 || change->old_row == NULL || change->new_row == NULL)
		return true;
	return !trigger_rows_are_same(RelationGetDescr(change->relation), change->old_row,
	                              change->new_row, trigger->tgattr, trigger->tgnattr);
}

/* As the server does it: see TriggerEnabled() in its trigger.c. */
static bool
condition_holds(const Trigger *trigger, const Change *change)
{
	EState      *state;
	ExprContext *context;
	Node        *condition;
	bool         holds;

	if (trigger->tgqual == NULL)
		return true;
	state = CreateExecutorState();
	condition = stringToNode(trigger->tgqual);
	ChangeVarNodes(condition, PRS2_OLD_VARNO, INNER_VAR, 0);
	ChangeVarNodes(condition, PRS2_NEW_VARNO, OUTER_VAR, 0);
	context = GetPerTupleExprContext(state);
	context->ecxt_innertuple = change->old_row;
	context->ecxt_outertuple = change->new_row;
	holds = ExecQual(ExecPrepareQual(make_ands_implicit((Expr *) condition), state), context);
	FreeExecutorState(state);
	return holds;
}

static bool
would_fire(const Trigger *trigger, const Change *change)
{
	return TRIGGER_FOR_ROW(trigger->tgtype) && trigger->tgenabled != TRIGGER_DISABLED &&
	       trigger->tgenabled != TRIGGER_FIRES_ON_REPLICA && is_for_operation(trigger, change) &&
	       mentions_change(trigger, change) && condition_holds(trigger, change);
}

static bool
changes_what_counts(const TemplateSet *set, const Change *change)
{
	const AttrNumber *columns;
	int               count = template_set_columns(set, &columns);

	return change->old_row == NULL || change->new_row == NULL ||
	       !trigger_rows_are_same(RelationGetDescr(change->relation), change->old_row,
	                              change->new_row, columns, count);
}

/* ---- which keys? ---------------------------------------------------------------------------- */

static bool
is_known(const Emitted *emitted, const char *key)
{
	ListCell *cell;

	foreach (cell, emitted->keys)
	{
		if (strcmp(lfirst(cell), key) == 0)
			return true;
	}
	return false;
}

static void
emit_key(const char *key, int length, void *context)
{
	Emitted *emitted = context;
	char    *copy = pnstrdup(key, length);
	Datum    values[2];
	bool     nulls[2] = {false, false};

	key_check("key", key, length);
	if (is_known(emitted, copy))
		return;
	emitted->keys = lappend(emitted->keys, copy);
	values[0] = CStringGetTextDatum(copy);
	values[1] = CStringGetTextDatum(emitted->template_text);
	tuplestore_putvalues(emitted->change->result->setResult, emitted->change->result->setDesc,
	                     values, nulls);
}

static void
emit_keys(const TemplateSet *set, const Change *change)
{
	int            nest_level = render_pin(template_set_needs(set));
	StringInfoData key;

	initStringInfo(&key);
	for (int i = 0; i < template_set_count(set); i++)
	{
		Emitted emitted = {change, template_set_text(set, i)->text, NIL};

		if (change->old_row != NULL)
			template_set_expand(set, i, change->old_row, &key, emit_key, &emitted);
		if (change->new_row != NULL)
			template_set_expand(set, i, change->new_row, &key, emit_key, &emitted);
	}
	render_unpin(nest_level);
}

/* Returns whether the table has such a trigger. */
static bool
explain_change(const Change *change)
{
	TriggerDesc *triggers =
		CopyTriggerDesc(change->relation->trigdesc); /* the cache may be rebuilt */
	bool any = false;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		TriggerData        trigger = {.type = T_TriggerData, .tg_relation = change->relation};
		const TemplateSet *set;

		trigger.tg_trigger = &triggers->triggers[i];
		if (trigger_function_kind(trigger.tg_trigger->tgfoid) != TRIGGER_INVALIDATES)
			continue;
		any = true;
		if (!would_fire(trigger.tg_trigger, change))
			continue;
		set = template_set_get(&trigger);
		if (changes_what_counts(set, change))
			emit_keys(set, change);
	}
	return any;
}

Datum
outbox_explain(PG_FUNCTION_ARGS)
{
	Change change = {.result = (ReturnSetInfo *) fcinfo->resultinfo};
	Oid    oid = trigger_relation_argument(fcinfo);

	if (get_rel_relkind(oid) != RELKIND_RELATION &&
	    get_rel_relkind(oid) != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
		        errmsg("\"%s\" is not a table", get_rel_name(oid)),
		        errdetail("Only tables have row triggers."));
	InitMaterializedSRF(fcinfo, 0);
	change.relation = relation_open(oid, AccessShareLock);
	make_rows(&change, fcinfo);
	if (!explain_change(&change))
		ereport(NOTICE, errmsg("table \"%s\" is not watched", get_rel_name(oid)));
	if (change.old_row != NULL)
		ExecDropSingleTupleTableSlot(change.old_row);
	if (change.new_row != NULL)
		ExecDropSingleTupleTableSlot(change.new_row);
	relation_close(change.relation, NoLock);
	return (Datum) 0;
}
