/*
 * watch.c
 *    outbox.watch, watch_columns, watch_when, unwatch: a table's triggers, made and dropped for its
 *    owner.
 *
 * watch locks the table as CREATE TRIGGER does (ShareRowExclusive: readers go on, writers wait),
 * unwatch as DROP TRIGGER does (AccessExclusive), and so does a watch that leaves a condition behind.
 * All honour lock_timeout. What they set up lives in pg_trigger alone, so that pg_dump carries it:
 * columns among a trigger's arguments (trigger_arguments.h), a condition as its WHEN.
 *
 * Everything runs with the caller's rights. Triggers with a condition are made from a tree, not from
 * text, below the utility command: event triggers do not see them made.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "condition.h"
#include "template_set.h"
#include "trigger.h"
#include "trigger_catalog.h"
#include "watched.h"

PG_FUNCTION_INFO_V1(outbox_watch);
PG_FUNCTION_INFO_V1(outbox_watch_columns);
PG_FUNCTION_INFO_V1(outbox_watch_when);
PG_FUNCTION_INFO_V1(outbox_unwatch);

#define MAX_CONDITION_BYTES 8192 /* evaluated for each row; and it stands in errors */
#define NAMES_OF_A_CONDITION 2   /* of the names, the last two are only there with a condition */

static const char *const names[] = {WATCH_TRIGGER, WATCH_TRIGGER_TRUNCATE, WATCH_TRIGGER_UPDATE,
                                    WATCH_TRIGGER_DELETE};

/* What to make: for watch, watch_columns, watch_when. */
typedef struct Watch
{
	const char *call; /* for errors */
	Oid         relation;
	List       *templates; /* of char * */
	List       *columns;   /* of char *; NIL: all */
	const char *condition; /* NULL: none */
} Watch;

static void
check_not_null(bool is_null, const char *what)
{
	if (is_null)
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
		        errmsg("%s must not be NULL", what));
}

Oid
trigger_relation_argument(FunctionCallInfo fcinfo)
{
	Oid relation;

	check_not_null(PG_ARGISNULL(0), "the relation");
	relation = PG_GETARG_OID(0);
	if (get_rel_relkind(relation) == '\0')
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE),
		        errmsg("relation with OID %u does not exist", relation));
	return relation;
}

static void
refuse_relation(const char *name, const char *detail)
{
	ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("cannot watch \"%s\"", name),
	        errdetail("%s", detail),
	        errhint("Watch the ordinary or partitioned table whose rows change."));
}

static void
check_watchable(Oid relation)
{
	const char *name = get_rel_name(relation);
	char        kind = get_rel_relkind(relation);

	if (kind == RELKIND_VIEW || kind == RELKIND_MATVIEW)
		refuse_relation(name, "It is a view.");
	if (kind == RELKIND_FOREIGN_TABLE)
		refuse_relation(name, "It is a foreign table: others change it unseen.");
	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		refuse_relation(name, "It is not a table.");
	if (get_rel_persistence(relation) == RELPERSISTENCE_TEMP)
		refuse_relation(name, "It is a temporary table.");
	if (IsCatalogRelationOid(relation) ||
	    get_rel_namespace(relation) == get_namespace_oid("information_schema", true))
		refuse_relation(name, "It is a system catalog.");
	if (get_rel_namespace(relation) == get_namespace_oid("outbox", true))
		refuse_relation(name, "It belongs to the outbox itself.");
}

/* Where CREATE TRIGGER would complain of a lock or of itself. */
static void
check_may_change(const char *call)
{
	PreventCommandDuringRecovery(call);
	PreventCommandIfReadOnly(call);
	PreventCommandIfParallelMode(call);
}

/* Before the table is locked: who may not make a trigger must not hold up writers. */
static void
check_right(Oid relation)
{
	AclResult result = pg_class_aclcheck(relation, GetUserId(), ACL_TRIGGER);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, get_relkind_objtype(get_rel_relkind(relation)),
		               get_rel_name(relation));
}

static void
check_template(const char *text, Oid relation)
{
	Template template;
	TemplateProblem problem;

	if (!template_parse(text, &template, &problem) || !template_fits(&template, relation, &problem))
		template_report(&problem);
	if (template_matches_all(&template))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		        errmsg("key template \"%s\" has no text of its own", text),
		        errdetail("TRUNCATE of \"%s\" would delete every key.", get_rel_name(relation)),
		        errhint("Give the template a prefix, or make a row trigger by hand."));
}

/* The elements of an array argument (text or name), as a list of char *. what: "a key template". */
static List *
get_strings(FunctionCallInfo fcinfo, int argument, Oid type, const char *what)
{
	List  *strings = NIL;
	Datum *elements;
	bool  *nulls;
	int    count;

	check_not_null(PG_ARGISNULL(argument), what);
	if (type == TEXTOID)
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(argument), type, -1, false, TYPALIGN_INT, &elements,
		                  &nulls, &count);
	else
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(argument), type, NAMEDATALEN, false, TYPALIGN_CHAR,
		                  &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		check_not_null(nulls[i], what);
		strings = lappend(strings, type == TEXTOID ? TextDatumGetCString(elements[i])
		                                           : pstrdup(NameStr(*DatumGetName(elements[i]))));
	}
	if (count == 0)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		        errmsg("a watched table needs at least one %s",
		               type == TEXTOID ? "key template" : "column that counts"));
	return strings;
}

static char *
get_condition(FunctionCallInfo fcinfo, int argument)
{
	char *condition;

	check_not_null(PG_ARGISNULL(argument), "the condition");
	condition = text_to_cstring(PG_GETARG_TEXT_PP(argument));
	if (strlen(condition) > MAX_CONDITION_BYTES)
		ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("the condition is too long"),
		        errdetail("It has %zu bytes; at most %d are allowed.", strlen(condition),
		                  MAX_CONDITION_BYTES));
	return condition;
}

/* NULL: the table has no trigger of that name. */
static TriggerRow *
find_trigger(Oid relation, const char *name)
{
	Oid trigger = get_trigger_oid(relation, name, true);

	return OidIsValid(trigger) ? trigger_row_read(trigger, NULL) : NULL;
}

static bool
is_made_by_watch(Oid relation, const char *name)
{
	TriggerRow *row = find_trigger(relation, name);

	return row != NULL && row->kind == TRIGGER_INVALIDATES;
}

/* OR REPLACE would take over another's trigger in silence. */
static void
check_name_is_free(Oid relation, const char *name)
{
	TriggerRow *row = find_trigger(relation, name);

	if (row == NULL)
		return;
	if (row->kind != TRIGGER_INVALIDATES)
		ereport(ERROR, errcode(ERRCODE_DUPLICATE_OBJECT),
		        errmsg("trigger \"%s\" on table \"%s\" is not one of pg_outbox", name,
		               get_rel_name(relation)),
		        errhint("Rename it."));
	if (OidIsValid(row->parent))
		ereport(
			ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
			errmsg("cannot watch \"%s\"", get_rel_name(relation)),
			errdetail("It is a partition, and covered by the triggers of the table it belongs to."),
			errhint(
				"Watch the partitioned table. For TRUNCATE of the partition itself make a trigger "
				"by hand: AFTER TRUNCATE ... EXECUTE FUNCTION outbox.invalidate(...)."));
}

/* Making the triggers of a partitioned table would replace those of its partitions in silence. */
static void
check_partitions(Oid relation)
{
	ListCell *cell;

	if (get_rel_relkind(relation) != RELKIND_PARTITIONED_TABLE)
		return;
	foreach (cell, find_all_inheritors(relation, NoLock, NULL))
	{
		Oid         partition = lfirst_oid(cell);
		TriggerRow *row = find_trigger(partition, WATCH_TRIGGER);

		if (partition == relation || row == NULL || OidIsValid(row->parent))
			continue;
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		        errmsg("cannot watch \"%s\"", get_rel_name(relation)),
		        errdetail("Its partition \"%s\" is watched by itself.", get_rel_name(partition)),
		        errhint("Use outbox.unwatch() for the partition first: the triggers of the "
		                "partitioned table will cover it."));
	}
}

static void
run(const char *command)
{
	int result;

	SPI_connect();
	result = SPI_execute(command, false, 0);
	if (result != SPI_OK_UTILITY)
		elog(ERROR, "SPI_execute gave %s: %s", SPI_result_code_string(result), command);
	SPI_finish();
}

static char *
qualified_name(Oid relation)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)),
	                                  get_rel_name(relation));
}

/* ---- making triggers -------------------------------------------------------------------------- */

/* The arguments of the row triggers; see trigger_arguments.h. */
static List *
row_arguments(const Watch *watch)
{
	List *arguments = NIL;

	if (watch->columns != NIL)
	{
		arguments = list_concat(list_make1(TRIGGER_COLUMNS_MARK), watch->columns);
		arguments = lappend(arguments, TRIGGER_COLUMNS_MARK);
	}
	arguments = list_concat(arguments, watch->templates);
	if (list_length(arguments) > TRIGGER_MAX_ARGUMENTS)
		ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		        errmsg("too many key templates or columns"),
		        errdetail("A trigger has at most %d arguments.", TRIGGER_MAX_ARGUMENTS));
	return arguments;
}

static char *
quoted_list(List *strings)
{
	StringInfoData text;
	ListCell      *cell;

	initStringInfo(&text);
	foreach (cell, strings)
		appendStringInfo(&text, "%s%s", text.len == 0 ? "" : ", ",
		                 quote_literal_cstr(lfirst(cell)));
	return text.data;
}

/* events: "AFTER INSERT ... FOR EACH ROW" goes around them. */
static void
make_plain(const Watch *watch, const char *name, const char *events, const char *level,
           List *arguments)
{
	run(psprintf("CREATE OR REPLACE TRIGGER %s AFTER %s ON %s FOR EACH %s"
	             " EXECUTE FUNCTION outbox.invalidate(%s)",
	             name, events, qualified_name(watch->relation), level, quoted_list(arguments)));
}

static CreateTrigStmt *
row_trigger_statement(const Watch *watch, const char *name, int16 event)
{
	CreateTrigStmt *statement = makeNode(CreateTrigStmt);
	ListCell       *cell;

	statement->replace = true;
	statement->trigname = pstrdup(name);
	statement->relation = makeRangeVar(get_namespace_name(get_rel_namespace(watch->relation)),
	                                   get_rel_name(watch->relation), -1);
	statement->funcname = list_make2(makeString("outbox"), makeString("invalidate"));
	foreach (cell, row_arguments(watch))
		statement->args = lappend(statement->args, makeString(lfirst(cell)));
	statement->row = true;
	statement->timing = TRIGGER_TYPE_AFTER;
	statement->events = event;
	return statement;
}

/* CREATE TRIGGER records no dependencies for a condition that it did not parse itself. */
static void
make_conditional(const Watch *watch, const char *name, int16 event, Node *when, List *rows)
{
	ObjectAddress trigger =
		CreateTrigger(row_trigger_statement(watch, name, event), NULL, watch->relation, InvalidOid,
	                  InvalidOid, InvalidOid, InvalidOid, InvalidOid, when, false, false);

	recordDependencyOnExpr(&trigger, when, rows, DEPENDENCY_NORMAL);
	CommandCounterIncrement();
}

static void
make_row_triggers(const Watch *watch, Relation relation)
{
	Condition condition;

	if (watch->condition == NULL)
	{
		make_plain(watch, WATCH_TRIGGER, "INSERT OR UPDATE OR DELETE", "ROW", row_arguments(watch));
		return;
	}
	condition = condition_parse(watch->condition, relation);
	make_conditional(watch, WATCH_TRIGGER, TRIGGER_TYPE_INSERT, condition_without_old(&condition),
	                 condition.rows);
	make_conditional(watch, WATCH_TRIGGER_UPDATE, TRIGGER_TYPE_UPDATE, condition.expression,
	                 condition.rows);
	make_conditional(watch, WATCH_TRIGGER_DELETE, TRIGGER_TYPE_DELETE,
	                 condition_without_new(&condition), condition.rows);
}

static bool
drop_trigger(Oid relation, const char *name)
{
	if (!is_made_by_watch(relation, name))
		return false;
	run(psprintf("DROP TRIGGER %s ON %s", name, qualified_name(relation)));
	return true;
}

/* Those of a condition that is no more. */
static void
drop_left_over(const Watch *watch)
{
	if (watch->condition != NULL)
		return;
	drop_trigger(watch->relation, WATCH_TRIGGER_UPDATE);
	drop_trigger(watch->relation, WATCH_TRIGGER_DELETE);
}

/* Known before the first lock: a stronger one taken later may end in a deadlock. */
static LOCKMODE
lock_needed(const Watch *watch)
{
	if (watch->condition == NULL && (is_made_by_watch(watch->relation, WATCH_TRIGGER_UPDATE) ||
	                                 is_made_by_watch(watch->relation, WATCH_TRIGGER_DELETE)))
		return AccessExclusiveLock;
	return ShareRowExclusiveLock;
}

static void
check_parts(const Watch *watch)
{
	ListCell       *cell;
	TemplateProblem problem;

	foreach (cell, watch->templates)
		check_template(lfirst(cell), watch->relation);
	foreach (cell, watch->columns)
	{
		if (!trigger_column_fits(lfirst(cell), watch->relation, &problem))
			template_report(&problem);
	}
	for (int i = 0; i < lengthof(names) - (watch->condition == NULL ? NAMES_OF_A_CONDITION : 0);
	     i++)
		check_name_is_free(watch->relation, names[i]);
	check_partitions(watch->relation);
}

static void
tell_of_children(Oid relation)
{
	Oid child = watched_missed_child(relation);

	if (OidIsValid(child))
		ereport(NOTICE,
		        errmsg("changes of rows in \"%s\" will not be recorded", get_rel_name(child)),
		        errdetail("It inherits from \"%s\", but row triggers are not inherited.",
		                  get_rel_name(relation)),
		        errhint("Watch each of the tables that inherit, too."));
}

static void
watch_table(const Watch *watch)
{
	Relation relation;

	check_may_change(watch->call);
	check_watchable(watch->relation);
	check_right(watch->relation);
	relation = relation_open(watch->relation, lock_needed(watch));
	check_parts(watch);
	make_row_triggers(watch, relation);
	relation_close(relation, NoLock);
	make_plain(watch, WATCH_TRIGGER_TRUNCATE, "TRUNCATE", "STATEMENT", watch->templates);
	drop_left_over(watch);
	tell_of_children(watch->relation);
}

Datum
outbox_watch(PG_FUNCTION_ARGS)
{
	Watch watch = {.call = "outbox.watch()", .relation = trigger_relation_argument(fcinfo)};

	watch.templates = get_strings(fcinfo, 1, TEXTOID, "a key template");
	watch_table(&watch);
	PG_RETURN_VOID();
}

Datum
outbox_watch_columns(PG_FUNCTION_ARGS)
{
	Watch watch = {.call = "outbox.watch_columns()", .relation = trigger_relation_argument(fcinfo)};

	watch.columns = get_strings(fcinfo, 1, NAMEOID, "a column that counts");
	watch.templates = get_strings(fcinfo, 2, TEXTOID, "a key template");
	watch_table(&watch);
	PG_RETURN_VOID();
}

Datum
outbox_watch_when(PG_FUNCTION_ARGS)
{
	Watch watch = {.call = "outbox.watch_when()", .relation = trigger_relation_argument(fcinfo)};

	watch.condition = get_condition(fcinfo, 1);
	watch.templates = get_strings(fcinfo, 2, TEXTOID, "a key template");
	watch_table(&watch);
	PG_RETURN_VOID();
}

Datum
outbox_unwatch(PG_FUNCTION_ARGS)
{
	Oid  relation = trigger_relation_argument(fcinfo);
	bool any = false;

	check_may_change("outbox.unwatch()");
	for (int i = 0; i < lengthof(names); i++)
		any |= drop_trigger(relation, names[i]);
	if (!any)
		ereport(NOTICE, errmsg("table \"%s\" is not watched", get_rel_name(relation)));
	PG_RETURN_VOID();
}
