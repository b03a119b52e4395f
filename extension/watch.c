/*
 * watch.c
 *    outbox.watch and outbox.unwatch: the two triggers of a table, made and dropped for its owner.
 *
 * watch locks the table as CREATE TRIGGER does (ShareRowExclusive: readers go on, writers wait),
 * unwatch as DROP TRIGGER does (AccessExclusive). Both honour lock_timeout. What they set up lives
 * in pg_trigger alone, so that pg_dump carries it. The commands run with the caller's rights.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "template_set.h"
#include "trigger_catalog.h"

#define ROW_TRIGGER "outbox_invalidate"
#define TRUNCATE_TRIGGER "outbox_invalidate_truncate"

PG_FUNCTION_INFO_V1(outbox_watch);
PG_FUNCTION_INFO_V1(outbox_unwatch);
PG_FUNCTION_INFO_V1(outbox_trigger_templates);
PG_FUNCTION_INFO_V1(outbox_trigger_problem);

static Oid
get_relation(FunctionCallInfo fcinfo)
{
	Oid relation;

	if (PG_ARGISNULL(0))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
		        errmsg("the relation must not be NULL"));
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

/* The templates as arguments of a trigger: 'a', 'b'. */
static char *
get_templates(ArrayType *array, Oid relation)
{
	StringInfoData list;
	Datum         *elements;
	bool          *nulls;
	int            count;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	if (count == 0)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		        errmsg("a watched table needs at least one key template"));
	initStringInfo(&list);
	for (int i = 0; i < count; i++)
	{
		char *string;

		if (nulls[i])
			ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			        errmsg("a key template must not be NULL"));
		string = TextDatumGetCString(elements[i]);
		check_template(string, relation);
		appendStringInfo(&list, "%s%s", i == 0 ? "" : ", ", quote_literal_cstr(string));
	}
	return list.data;
}

/* NULL: the table has no trigger of that name. */
static TriggerRow *
find_trigger(Oid relation, const char *name)
{
	Oid trigger = get_trigger_oid(relation, name, true);

	return OidIsValid(trigger) ? trigger_row_read(trigger, NULL) : NULL;
}

/* OR REPLACE would take over another's trigger in silence. */
static void
check_name_is_free(Oid relation, const char *name)
{
	TriggerRow *row = find_trigger(relation, name);

	if (row != NULL && !trigger_function_is_ours(row->function))
		ereport(ERROR, errcode(ERRCODE_DUPLICATE_OBJECT),
		        errmsg("trigger \"%s\" on table \"%s\" is not one of pg_outbox", name,
		               get_rel_name(relation)),
		        errhint("Rename it."));
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

Datum
outbox_watch(PG_FUNCTION_ARGS)
{
	Oid      relation = get_relation(fcinfo);
	Relation locked;
	char    *templates;

	if (PG_ARGISNULL(1))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
		        errmsg("a key template must not be NULL"));
	check_watchable(relation);
	check_right(relation);
	locked = relation_open(relation, ShareRowExclusiveLock);
	templates = get_templates(PG_GETARG_ARRAYTYPE_P(1), relation);
	check_name_is_free(relation, ROW_TRIGGER);
	check_name_is_free(relation, TRUNCATE_TRIGGER);
	relation_close(locked, NoLock);

	run(psprintf("CREATE OR REPLACE TRIGGER " ROW_TRIGGER " AFTER INSERT OR UPDATE OR DELETE ON %s"
	             " FOR EACH ROW EXECUTE FUNCTION outbox.invalidate(%s)",
	             qualified_name(relation), templates));
	run(psprintf("CREATE OR REPLACE TRIGGER " TRUNCATE_TRIGGER " AFTER TRUNCATE ON %s"
	             " FOR EACH STATEMENT EXECUTE FUNCTION outbox.invalidate(%s)",
	             qualified_name(relation), templates));
	PG_RETURN_VOID();
}

Datum
outbox_unwatch(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {ROW_TRIGGER, TRUNCATE_TRIGGER};
	Oid                      relation = get_relation(fcinfo);
	bool                     any = false;

	for (int i = 0; i < lengthof(names); i++)
	{
		TriggerRow *row = find_trigger(relation, names[i]);

		if (row == NULL || !trigger_function_is_ours(row->function))
			continue;
		run(psprintf("DROP TRIGGER %s ON %s", names[i], qualified_name(relation)));
		any = true;
	}
	if (!any)
		ereport(NOTICE, errmsg("table \"%s\" is not watched", get_rel_name(relation)));
	PG_RETURN_VOID();
}

/* For the view outbox.watched. */
Datum
outbox_trigger_templates(PG_FUNCTION_ARGS)
{
	TriggerRow *row = trigger_row_read(PG_GETARG_OID(0), NULL);
	Datum      *elements;

	if (row == NULL)
		PG_RETURN_NULL();
	elements = palloc(sizeof(Datum) * Max(row->argument_count, 1));
	for (int i = 0; i < row->argument_count; i++)
		elements[i] = CStringGetTextDatum(row->arguments[i]);
	PG_RETURN_ARRAYTYPE_P(
		construct_array(elements, row->argument_count, TEXTOID, -1, false, TYPALIGN_INT));
}

Datum
outbox_trigger_problem(PG_FUNCTION_ARGS)
{
	TriggerRow     *row = trigger_row_read(PG_GETARG_OID(0), NULL);
	TemplateProblem problem;

	if (row == NULL)
		PG_RETURN_NULL();
	if (!trigger_row_is_right(row, &problem))
		PG_RETURN_TEXT_P(cstring_to_text(problem.message));
	if (row->enabled == TRIGGER_DISABLED)
		PG_RETURN_TEXT_P(cstring_to_text(psprintf("trigger \"%s\" is disabled", row->name)));
	if (row->enabled == TRIGGER_FIRES_ON_REPLICA)
		PG_RETURN_TEXT_P(
			cstring_to_text(psprintf("trigger \"%s\" fires on a replica only", row->name)));
	PG_RETURN_NULL();
}
