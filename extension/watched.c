/*
 * watched.c
 *    Behind the view outbox.watched: a trigger taken apart, and what is wrong with its table.
 *
 * A problem is what makes the next write fail, or a change that nobody would record. Looked for when
 * the view is read; nothing is stored.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "trigger_catalog.h"
#include "watched.h"

PG_FUNCTION_INFO_V1(outbox_trigger_details);

/* Columns of outbox.trigger_details(). */
enum
{
	DETAILS_TEMPLATES,
	DETAILS_COLUMNS,
	DETAILS_CONDITION,
	DETAILS_ENABLED,
	DETAILS_PROBLEM,
	DETAILS_COUNT
};

static bool
is_named(const TriggerRow *row, const char *name)
{
	return strcmp(row->name, name) == 0;
}

/* NULL: the table has no trigger of that name that is ours. */
static TriggerRow *
find_named(List *rows, const char *name)
{
	ListCell *cell;

	foreach (cell, rows)
	{
		if (is_named(lfirst(cell), name))
			return lfirst(cell);
	}
	return NULL;
}

static bool
has_trigger_for(Oid relation, int16 type)
{
	ListCell *cell;

	foreach (cell, trigger_rows_of(relation))
	{
		if ((((TriggerRow *) lfirst(cell))->type & type) != 0)
			return true;
	}
	return false;
}

/* Was the trigger made by outbox.watch_when()? Then it is one of three. */
static bool
is_one_of_three(const TriggerRow *row)
{
	const int16 all = TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE;
	int16       events = row->type & all;

	return (is_named(row, WATCH_TRIGGER) && events == TRIGGER_TYPE_INSERT && row->has_condition) ||
	       (is_named(row, WATCH_TRIGGER_UPDATE) && events == TRIGGER_TYPE_UPDATE) ||
	       (is_named(row, WATCH_TRIGGER_DELETE) && events == TRIGGER_TYPE_DELETE);
}

/* ---- what is wrong ---------------------------------------------------------------------------- */

static char *
problem_of_row(const TriggerRow *row)
{
	TemplateProblem problem;

	if (!trigger_row_is_right(row, &problem))
		return problem.message;
	if (row->enabled == TRIGGER_DISABLED)
		return psprintf("trigger \"%s\" is disabled", row->name);
	if (row->enabled == TRIGGER_FIRES_ON_REPLICA)
		return psprintf("trigger \"%s\" fires on a replica only", row->name);
	return NULL;
}

static char *
problem_of_named(List *rows, const char *name)
{
	TriggerRow *row = find_named(rows, name);

	if (row == NULL)
		return psprintf("trigger \"%s\" is missing", name);
	return problem_of_row(row);
}

/* The others that outbox.watch() made together with this one. */
static char *
problem_of_others(const TriggerRow *row)
{
	static const char *const three[] = {WATCH_TRIGGER, WATCH_TRIGGER_UPDATE, WATCH_TRIGGER_DELETE};
	List                    *rows = trigger_rows_of(row->relation);

	for (int i = 0; is_one_of_three(row) && i < lengthof(three); i++)
	{
		char *problem = problem_of_named(rows, three[i]);

		if (problem != NULL)
			return problem;
	}
	if (is_named(row, WATCH_TRIGGER))
		return problem_of_named(rows, WATCH_TRIGGER_TRUNCATE);
	return NULL;
}

/* TRUNCATE of a partitioned table fires its own trigger; of a partition, only the partition's. */
static char *
problem_of_partitions(const TriggerRow *row)
{
	ListCell *cell;

	if (get_rel_relkind(row->relation) != RELKIND_PARTITIONED_TABLE)
		return NULL;
	foreach (cell, find_all_inheritors(row->relation, NoLock, NULL))
	{
		Oid   partition = lfirst_oid(cell);
		char *name = get_rel_name(partition);

		if (partition != row->relation && name != NULL &&
		    !has_trigger_for(partition, TRIGGER_TYPE_TRUNCATE))
			return psprintf("TRUNCATE of partition \"%s\" itself would be missed", name);
	}
	return NULL;
}

Oid
watched_missed_child(Oid relation)
{
	ListCell *cell;

	if (get_rel_relkind(relation) != RELKIND_RELATION || !has_subclass(relation))
		return InvalidOid;
	foreach (cell, find_all_inheritors(relation, NoLock, NULL))
	{
		Oid child = lfirst_oid(cell);

		if (child != relation && get_rel_name(child) != NULL &&
		    !has_trigger_for(child, TRIGGER_TYPE_ROW))
			return child;
	}
	return InvalidOid;
}

static char *
problem_of_children(const TriggerRow *row)
{
	Oid child = watched_missed_child(row->relation);

	if (!OidIsValid(child))
		return NULL;
	return psprintf("changes of rows in \"%s\", which inherits from it, would be missed",
	                get_rel_name(child));
}

/* NULL: nothing is wrong. */
static char *
find_problem(const TriggerRow *row)
{
	static char *(*const looks[])(const TriggerRow *row) = {
		problem_of_row, problem_of_others, problem_of_partitions, problem_of_children};

	for (int i = 0; i < lengthof(looks); i++)
	{
		char *problem = looks[i](row);

		if (problem != NULL)
			return problem;
	}
	return NULL;
}

/* ---- all of them ------------------------------------------------------------------------------ */

/* Row triggers that call outbox.invalidate(), but those of partitions that follow their parent's. */
static List *
watching_triggers(void)
{
	Oid function =
		LookupFuncName(list_make2(makeString("outbox"), makeString("invalidate")), 0, NULL, true);
	Relation    catalog = table_open(TriggerRelationId, AccessShareLock);
	List       *oids = NIL;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple   tuple;

	ScanKeyInit(&keys[0], Anum_pg_trigger_tgfoid, BTEqualStrategyNumber, F_OIDEQ,
	            ObjectIdGetDatum(function));
	ScanKeyInit(&keys[1], Anum_pg_trigger_tgparentid, BTEqualStrategyNumber, F_OIDEQ,
	            ObjectIdGetDatum(InvalidOid));
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		if (TRIGGER_FOR_ROW(form->tgtype))
			oids = lappend_oid(oids, form->oid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return oids;
}

static const char *
qualified_name(Oid relation)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)),
	                                  get_rel_name(relation));
}

static int
count_different(List *oids)
{
	list_sort(oids, list_oid_cmp);
	list_deduplicate_oid(oids);
	return list_length(oids);
}

/* Whatever makes writes fail is told before the rest. */
static void
note_problem(WatchedSummary *summary, const TriggerRow *row, const char *problem)
{
	TemplateProblem ignored;
	bool            fails = !trigger_row_is_right(row, &ignored);

	if (summary->first_table != NULL && (summary->writes_fail || !fails))
		return;
	summary->writes_fail = fails;
	summary->first_table = qualified_name(row->relation);
	summary->first_problem = problem;
}

WatchedSummary
watched_look(void)
{
	WatchedSummary summary = {0};
	List          *tables = NIL;
	List          *wrong = NIL;
	ListCell      *cell;

	foreach (cell, watching_triggers())
	{
		TriggerRow *row = trigger_row_read(lfirst_oid(cell), NULL);
		char       *problem;

		/* Dropped meanwhile. */
		if (row == NULL || get_rel_name(row->relation) == NULL)
			continue;
		tables = lappend_oid(tables, row->relation);
		problem = find_problem(row);
		if (problem == NULL)
			continue;
		note_problem(&summary, row, problem);
		wrong = lappend_oid(wrong, row->relation);
	}
	summary.tables = count_different(tables);
	summary.problems = count_different(wrong);
	return summary;
}

/* ---- the trigger, taken apart ----------------------------------------------------------------- */

/* Where the parenthesis at `open` ends. Quotes of either kind may hold parentheses; one that is
 * doubled ends and begins again. */
static const char *
matching_parenthesis(const char *open)
{
	char quote = '\0';
	int  depth = 0;

	for (const char *at = open; *at != '\0'; at++)
	{
		if (quote != '\0')
			quote = *at == quote ? '\0' : quote;
		else if (*at == '\'' || *at == '"')
			quote = *at;
		else if (*at == '(')
			depth++;
		else if (*at == ')' && --depth == 0)
			return at;
	}
	return NULL;
}

/* Where " WHEN (" has its parenthesis: in a definition, only names in double quotes come before. */
static const char *
find_when(const char *definition)
{
	static const char when[] = " WHEN (";
	bool              quoted = false;

	for (const char *at = definition; *at != '\0'; at++)
	{
		if (*at == '"')
			quoted = !quoted;
		else if (!quoted && strncmp(at, when, strlen(when)) == 0)
			return at + strlen(when) - 1;
	}
	return NULL;
}

/* NULL: it was dropped meanwhile. */
static char *
definition_text(Oid trigger)
{
	LOCAL_FCINFO(call, 2);
	Datum definition;

	InitFunctionCallInfoData(*call, NULL, 2, InvalidOid, NULL, NULL);
	call->args[0] = (NullableDatum){ObjectIdGetDatum(trigger), false};
	call->args[1] = (NullableDatum){BoolGetDatum(true), false};
	definition = pg_get_triggerdef_ext(call);
	return call->isnull ? NULL : TextDatumGetCString(definition);
}

/* As SQL; NULL: the trigger was dropped or replaced meanwhile. The server deparses conditions over two
 * rows only as part of a whole definition. */
static char *
condition_text(Oid trigger)
{
	const char *definition = definition_text(trigger);
	const char *open = definition == NULL ? NULL : find_when(definition);
	const char *close = open == NULL ? NULL : matching_parenthesis(open);

	return close == NULL ? NULL : pnstrdup(open + 1, close - open - 1);
}

/* Of the three triggers of a condition, that for UPDATE has it whole. NULL: none. */
static char *
get_condition(const TriggerRow *row)
{
	TriggerRow *update = NULL;

	if (!row->has_condition)
		return NULL;
	if (is_one_of_three(row))
		update = find_named(trigger_rows_of(row->relation), WATCH_TRIGGER_UPDATE);
	return condition_text(update != NULL && update->has_condition ? update->oid : row->oid);
}

static bool
is_enabled(const TriggerRow *row)
{
	ListCell *cell;

	if (!is_one_of_three(row))
		return row->enabled != TRIGGER_DISABLED;
	foreach (cell, trigger_rows_of(row->relation))
	{
		const TriggerRow *other = lfirst(cell);

		if (is_one_of_three(other) && other->enabled == TRIGGER_DISABLED)
			return false;
	}
	return true;
}

static Datum
text_array(int count, char **strings)
{
	Datum *elements = palloc(sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
		elements[i] = CStringGetTextDatum(strings[i]);
	return PointerGetDatum(construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT));
}

static Datum
name_array(int count, char **strings)
{
	Datum *elements = palloc(sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
		elements[i] = DirectFunctionCall1(namein, CStringGetDatum(strings[i]));
	return PointerGetDatum(
		construct_array(elements, count, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR));
}

static void
set_text(Datum *values, bool *nulls, int column, const char *text)
{
	nulls[column] = text == NULL;
	if (text != NULL)
		values[column] = CStringGetTextDatum(text);
}

/* For the view outbox.watched; NULL where the trigger was dropped meanwhile. */
Datum
outbox_trigger_details(PG_FUNCTION_ARGS)
{
	TriggerRow *row = trigger_row_read(PG_GETARG_OID(0), NULL);
	Datum       values[DETAILS_COUNT];
	bool        nulls[DETAILS_COUNT] = {0};
	TupleDesc   type;

	if (row == NULL)
		PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &type) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[DETAILS_TEMPLATES] = text_array(row->parts.template_count, row->parts.templates);
	nulls[DETAILS_COLUMNS] = !row->parts.has_columns;
	values[DETAILS_COLUMNS] = name_array(row->parts.column_count, row->parts.columns);
	set_text(values, nulls, DETAILS_CONDITION, get_condition(row));
	values[DETAILS_ENABLED] = BoolGetDatum(is_enabled(row));
	set_text(values, nulls, DETAILS_PROBLEM, find_problem(row));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(type), values, nulls)));
}
