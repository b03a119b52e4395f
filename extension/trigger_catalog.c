/*
 * trigger_catalog.c
 *    Triggers as pg_trigger has them, and what may be wrong with them.
 *
 * What watch sets up lives in pg_trigger alone, so that pg_dump carries it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "template_set.h"
#include "text.h"
#include "trigger_catalog.h"

/* tgargs: strings, each ended by a NUL. */
static void
read_arguments(TriggerRow *row, Relation catalog, HeapTuple tuple)
{
	Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
	bool            is_null;
	Datum           value;
	char           *at;

	row->argument_count = form->tgnargs;
	row->arguments = palloc0(sizeof(char *) * Max(form->tgnargs, 1));
	if (form->tgnargs == 0)
		return;
	value = heap_getattr(tuple, Anum_pg_trigger_tgargs, RelationGetDescr(catalog), &is_null);
	if (is_null)
		elog(ERROR, "trigger %u has no arguments but counts some", form->oid);
	at = (char *) VARDATA_ANY(DatumGetByteaPP(value));
	for (int i = 0; i < form->tgnargs; i++)
	{
		row->arguments[i] = pstrdup(at);
		at += strlen(at) + 1;
	}
}

static TriggerRow *
read_row(Relation catalog, HeapTuple tuple)
{
	Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
	TriggerRow     *row = palloc0(sizeof(TriggerRow));

	row->oid = form->oid;
	row->relation = form->tgrelid;
	row->parent = form->tgparentid;
	row->kind = trigger_function_kind(form->tgfoid);
	row->name = pstrdup(NameStr(form->tgname));
	row->type = form->tgtype;
	row->enabled = form->tgenabled;
	row->has_condition = !heap_attisnull(tuple, Anum_pg_trigger_tgqual, RelationGetDescr(catalog));
	read_arguments(row, catalog, tuple);
	row->parts = trigger_arguments_split(row->argument_count, row->arguments);
	return row;
}

TriggerRow *
trigger_row_read(Oid trigger, Snapshot snapshot)
{
	Relation    catalog = table_open(TriggerRelationId, AccessShareLock);
	TriggerRow *row = NULL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple   tuple;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
	            ObjectIdGetDatum(trigger));
	scan = systable_beginscan(catalog, TriggerOidIndexId, true, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		row = read_row(catalog, tuple);
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return row;
}

List *
trigger_rows_of(Oid relation)
{
	Relation    catalog = table_open(TriggerRelationId, AccessShareLock);
	List       *rows = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple   tuple;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
	            ObjectIdGetDatum(relation));
	scan = systable_beginscan(catalog, TriggerRelidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		TriggerRow *row = read_row(catalog, tuple);

		if (row->kind == TRIGGER_INVALIDATES)
			rows = lappend(rows, row);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return rows;
}

static TriggerKind
kind_of_symbol(const char *symbol)
{
	if (strcmp(symbol, "outbox_invalidate_trigger") == 0)
		return TRIGGER_INVALIDATES;
	if (strcmp(symbol, "outbox_publish_row") == 0)
		return TRIGGER_PUBLISHES_ROW;
	return TRIGGER_OF_OTHERS;
}

TriggerKind
trigger_function_kind(Oid function)
{
	HeapTuple   tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	TriggerKind kind = TRIGGER_OF_OTHERS;

	if (!HeapTupleIsValid(tuple))
		return kind;
	if (((Form_pg_proc) GETSTRUCT(tuple))->prolang == ClanguageId)
	{
		bool  is_null;
		Datum source = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &is_null);

		if (!is_null)
			kind = kind_of_symbol(TextDatumGetCString(source));
	}
	ReleaseSysCache(tuple);
	return kind;
}

/* NULL: nothing is wrong. */
static const char *
wrong_use(TriggerKind kind, int16 type, int argument_count)
{
	bool rows = (type & (TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE)) != 0;

	if (!TRIGGER_FOR_AFTER(type))
		return "It fires before the change, which may yet be another one or none.";
	if (!TRIGGER_FOR_ROW(type) && (rows || kind == TRIGGER_PUBLISHES_ROW))
		return "It fires for each statement, and sees no rows.";
	if (kind == TRIGGER_PUBLISHES_ROW && argument_count != 1)
		return "It needs one argument, the queue.";
	if (argument_count == 0)
		return "It has no key templates.";
	return NULL;
}

bool
trigger_use_is_right(TriggerKind kind, const char *name, int16 type, int argument_count,
                     TemplateProblem *problem)
{
	const char *detail = wrong_use(kind, type, argument_count);
	bool        publishes = kind == TRIGGER_PUBLISHES_ROW;

	if (detail == NULL)
		return true;
	*problem = (TemplateProblem){
		ERRCODE_INVALID_OBJECT_DEFINITION,
		psprintf("trigger \"%s\" cannot use outbox.%s() in this way", name,
	             publishes ? "publish_row" : "invalidate"),
		pstrdup(detail),
		pstrdup(
			publishes
				? "Write AFTER INSERT OR UPDATE OR DELETE ... FOR EACH ROW EXECUTE FUNCTION outbox.publish_row('queue')."
				: "Write AFTER INSERT OR UPDATE OR DELETE ... FOR EACH ROW EXECUTE FUNCTION outbox.invalidate('blog:{id}'), or AFTER TRUNCATE ... FOR EACH STATEMENT; or use outbox.watch().")};
	return false;
}

bool
trigger_column_fits(const char *column, Oid relation, TemplateProblem *problem)
{
	if (get_attnum(relation, column) > 0)
		return true;
	*problem = (TemplateProblem){
		ERRCODE_UNDEFINED_COLUMN, psprintf("watched column \"%s\" does not exist", column),
		psprintf("Table \"%s\" has no such column.", get_rel_name(relation)),
		pstrdup("Name the columns as they are now, by outbox.watch_columns().")};
	return false;
}

static bool
columns_are_right(const TriggerRow *row, TemplateProblem *problem)
{
	if (row->parts.has_columns && row->parts.column_count == 0)
	{
		*problem =
			(TemplateProblem){ERRCODE_INVALID_OBJECT_DEFINITION,
		                      psprintf("the list of columns of trigger \"%s\" is empty", row->name),
		                      NULL, pstrdup("Use outbox.watch_columns().")};
		return false;
	}
	for (int i = 0; i < row->parts.column_count; i++)
	{
		if (!trigger_column_fits(row->parts.columns[i], row->relation, problem))
			return false;
	}
	return true;
}

static bool
queue_is_right(const TriggerRow *row, TemplateProblem *problem)
{
	const char *queue = row->arguments[0];
	int         length = text_utf8_length(queue, strlen(queue));

	if (length > 0 && length <= TEXT_MAX_NAME_BYTES)
		return true;
	*problem = (TemplateProblem){ERRCODE_INVALID_PARAMETER_VALUE,
	                             pstrdup(length == 0 ? "the queue of a message must not be empty"
	                                                 : "the queue of a message is too long"),
	                             NULL, NULL};
	if (length > 0)
		problem->detail =
			psprintf("It has %d bytes; at most %d are allowed.", length, TEXT_MAX_NAME_BYTES);
	return false;
}

bool
trigger_row_is_right(const TriggerRow *row, TemplateProblem *problem)
{
	if (!trigger_use_is_right(row->kind, row->name, row->type, row->argument_count, problem))
		return false;
	if (row->kind == TRIGGER_PUBLISHES_ROW)
		return queue_is_right(row, problem);
	if (!columns_are_right(row, problem))
		return false;
	/* behind a list of columns there may be none */
	if (!trigger_use_is_right(row->kind, row->name, row->type, row->parts.template_count, problem))
		return false;
	for (int i = 0; i < row->parts.template_count; i++)
	{
		Template template;

		if (!template_parse(row->parts.templates[i], &template, problem) ||
		    !template_fits(&template, row->relation, problem))
			return false;
	}
	return true;
}
