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
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "template_set.h"
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
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		row = palloc0(sizeof(TriggerRow));
		row->oid = form->oid;
		row->relation = form->tgrelid;
		row->function = form->tgfoid;
		row->name = pstrdup(NameStr(form->tgname));
		row->type = form->tgtype;
		row->enabled = form->tgenabled;
		read_arguments(row, catalog, tuple);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return row;
}

bool
trigger_function_is_ours(Oid function)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool      ours = false;

	if (!HeapTupleIsValid(tuple))
		return false;
	if (((Form_pg_proc) GETSTRUCT(tuple))->prolang == ClanguageId)
	{
		bool  is_null;
		Datum source = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &is_null);

		ours = !is_null && strcmp(TextDatumGetCString(source), "outbox_invalidate_trigger") == 0;
	}
	ReleaseSysCache(tuple);
	return ours;
}

bool
trigger_use_is_right(const char *name, int16 type, int argument_count, TemplateProblem *problem)
{
	char *message = psprintf("trigger \"%s\" cannot use outbox.invalidate() in this way", name);
	char *detail = NULL;

	if (!TRIGGER_FOR_AFTER(type))
		detail = pstrdup("It fires before the change, which may yet be another one or none.");
	else if (!TRIGGER_FOR_ROW(type) &&
	         (type & (TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE)) != 0)
		detail = pstrdup("It fires for each statement, and sees no rows.");
	else if (argument_count == 0)
		detail = pstrdup("It has no key templates.");
	if (detail == NULL)
	{
		pfree(message);
		return true;
	}
	*problem = (TemplateProblem){
		ERRCODE_INVALID_OBJECT_DEFINITION, message, detail,
		pstrdup(
			"Write AFTER INSERT OR UPDATE OR DELETE ... FOR EACH ROW EXECUTE FUNCTION outbox.invalidate('blog:{id}'), or AFTER TRUNCATE ... FOR EACH STATEMENT; or use outbox.watch().")};
	return false;
}

bool
trigger_row_is_right(const TriggerRow *row, TemplateProblem *problem)
{
	if (!trigger_use_is_right(row->name, row->type, row->argument_count, problem))
		return false;
	for (int i = 0; i < row->argument_count; i++)
	{
		Template template;

		if (!template_parse(row->arguments[i], &template, problem) ||
		    !template_fits(&template, row->relation, problem))
			return false;
	}
	return true;
}
