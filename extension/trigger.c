/*
 * trigger.c
 *    The trigger function outbox.invalidate(): changed rows to keys.
 *
 * A row trigger expands its templates for the old row and for the new one. An UPDATE that leaves
 * every column that counts as it was records nothing: values are compared detoasted, since a large
 * value written again is stored elsewhere. TRUNCATE shows no rows, and becomes patterns;
 * outbox.invalidate_all() records the same by hand.
 *
 * Wrong use is found by CREATE TRIGGER where this library is loaded, else when the trigger fires.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "keys.h"
#include "render.h"
#include "settings.h"
#include "template_set.h"
#include "trigger.h"
#include "xact.h"

PG_FUNCTION_INFO_V1(outbox_invalidate_trigger);
PG_FUNCTION_INFO_V1(outbox_discard_trigger);
PG_FUNCTION_INFO_V1(outbox_invalidate_all);

/* What is being expanded, for the context of an error. */
typedef struct Expansion
{
	const TriggerData *trigger;
	const TemplateSet *set;
	int                index;
} Expansion;

static object_access_hook_type previous_hook;

void
trigger_check_call(FunctionCallInfo fcinfo, const char *function)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(
			ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			errmsg("function \"%s\" must be called as a trigger", function),
			errdetail("It works on the rows of the statement that fires it."),
			errhint(
				"Use it in CREATE TRIGGER ... EXECUTE FUNCTION. To record by hand, give keys to outbox.invalidate(), or use outbox.publish()."));
}

void
trigger_check_use(TriggerKind kind, const Trigger *trigger)
{
	TemplateProblem problem;

	if (!trigger_use_is_right(kind, trigger->tgname, trigger->tgtype, trigger->tgnargs, &problem))
		template_report(&problem);
}

static void
add_context(void *arg)
{
	Expansion *expansion = arg;

	errcontext("key template \"%s\" of trigger \"%s\" on table \"%s\"",
	           template_set_text(expansion->set, expansion->index)->text,
	           expansion->trigger->tg_trigger->tgname,
	           RelationGetRelationName(expansion->trigger->tg_relation));
}

static void
record_key(const char *key, int length, void *context)
{
	key_check("key", key, length);
	xact_record_key(key, length);
}

static bool
column_is_same(Form_pg_attribute column, TupleTableSlot *old_row, TupleTableSlot *new_row)
{
	int i = column->attnum - 1;

	if (column->attisdropped)
		return true;
	if (old_row->tts_isnull[i] != new_row->tts_isnull[i])
		return false;
	return old_row->tts_isnull[i] || datum_image_eq(old_row->tts_values[i], new_row->tts_values[i],
	                                                column->attbyval, column->attlen);
}

/* All of those that are passed by value, or all others. */
static bool
columns_are_same(TupleDesc row, TupleTableSlot *old_row, TupleTableSlot *new_row,
                 const AttrNumber *columns, int column_count, bool by_value)
{
	bool all = column_count == 0;

	for (int i = 0; i < (all ? row->natts : column_count); i++)
	{
		Form_pg_attribute column = TupleDescAttr(row, all ? i : columns[i] - 1);

		if (column->attbyval == by_value && !column_is_same(column, old_row, new_row))
			return false;
	}
	return true;
}

/* Short values first: mostly one of them has changed, and the long ones need not be looked at. */
bool
trigger_rows_are_same(TupleDesc row, TupleTableSlot *old_row, TupleTableSlot *new_row,
                      const AttrNumber *columns, int column_count)
{
	slot_getallattrs(old_row);
	slot_getallattrs(new_row);
	return columns_are_same(row, old_row, new_row, columns, column_count, true) &&
	       columns_are_same(row, old_row, new_row, columns, column_count, false);
}

/* Do the columns that a template reads hold the same in both rows? */
static bool
reads_the_same(const Expansion *expansion, TupleTableSlot *one, TupleTableSlot *other)
{
	TupleDesc columns = RelationGetDescr(expansion->trigger->tg_relation);
	int       parts = template_set_text(expansion->set, expansion->index)->part_count;

	for (int part = 0; part < parts; part++)
	{
		AttrNumber column = template_set_column(expansion->set, expansion->index, part);

		if (column != 0 && !column_is_same(TupleDescAttr(columns, column - 1), one, other))
			return false;
	}
	return true;
}

/* A template without placeholders makes the same key of every row. The number is taken before: to
 * record may write early, what a savepoint may take back. */
static void
record_literal(const Expansion *expansion, StringInfo key)
{
	uint64 *mark = template_set_mark(expansion->set, expansion->index);
	uint64  generation = xact_generation();

	if (*mark == generation)
		return;
	template_set_expand(expansion->set, expansion->index, NULL, key, record_key, NULL);
	*mark = generation;
}

/* before: the row whose keys are recorded already, or NULL. A template that reads the same there
 * would make the same keys: most do in most updates. */
static void
record_row(Expansion *expansion, TupleTableSlot *row, TupleTableSlot *before, StringInfo key)
{
	for (int i = 0; i < template_set_count(expansion->set); i++)
	{
		expansion->index = i;
		if (!template_set_text(expansion->set, i)->has_placeholder)
			record_literal(expansion, key);
		else if (before == NULL || !reads_the_same(expansion, before, row))
			template_set_expand(expansion->set, i, row, key, record_key, NULL);
	}
}

static bool
changes_nothing(const TriggerData *trigger, const TemplateSet *set)
{
	const AttrNumber *columns;
	int               count = template_set_columns(set, &columns);

	return trigger_rows_are_same(RelationGetDescr(trigger->tg_relation), trigger->tg_trigslot,
	                             trigger->tg_newslot, columns, count);
}

static void
record_change(const TriggerData *trigger, const TemplateSet *set)
{
	bool                 is_update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	Expansion            expansion = {trigger, set, 0};
	ErrorContextCallback context = {error_context_stack, add_context, &expansion};
	StringInfoData       key;
	int                  nest_level;

	if (is_update && changes_nothing(trigger, set))
		return;
	initStringInfo(&key);
	error_context_stack = &context;
	nest_level = render_pin(template_set_needs(set));
	record_row(&expansion, trigger->tg_trigslot, NULL, &key);
	if (is_update)
		record_row(&expansion, trigger->tg_newslot, trigger->tg_trigslot, &key);
	render_unpin(nest_level);
	error_context_stack = context.previous;
	pfree(key.data);
}

static void
check_not_everything(const Template *template, const TriggerData *trigger, const char *what)
{
	if (template_matches_all(template))
		ereport(
			ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("%s of \"%s\" would delete every key", what,
		           RelationGetRelationName(trigger->tg_relation)),
			errdetail(
				"Key template \"%s\" has no text of its own, so its pattern matches all keys.",
				template->text),
			errhint(
				"Give the template a prefix, or drop the trigger \"%s\" and delete the keys by hand.",
				trigger->tg_trigger->tgname));
}

static void
record_key_of_all(const TemplateSet *set, int index)
{
	StringInfoData key;

	initStringInfo(&key);
	template_set_expand(set, index, NULL, &key, record_key, NULL);
}

/* what: "TRUNCATE", for an error. */
static void
record_all(const TriggerData *trigger, const TemplateSet *set, const char *what)
{
	for (int i = 0; i < template_set_count(set); i++)
	{
		const Template *template = template_set_text(set, i);
		char *text;

		if (!template->has_placeholder)
		{
			record_key_of_all(set, i);
			continue;
		}
		check_not_everything(template, trigger, what);
		text = template_pattern(template);
		key_check("pattern", text, strlen(text));
		xact_record_pattern(text, strlen(text));
	}
}

Datum
outbox_invalidate_trigger(PG_FUNCTION_ARGS)
{
	TriggerData       *trigger = (TriggerData *) fcinfo->context;
	const TemplateSet *set;

	trigger_check_call(fcinfo, "outbox.invalidate()");
	if (!xact_may_record("outbox.invalidate()"))
		return PointerGetDatum(NULL);
	set = template_set_get(trigger);
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		record_all(trigger, set, "TRUNCATE");
	else
		record_change(trigger, set);
	return PointerGetDatum(NULL);
}

/* On the extension's own tables: a logical replication that copies or applies them must not bring
 * foreign rows. Our own rows never come this way. */
Datum
outbox_discard_trigger(PG_FUNCTION_ARGS)
{
	trigger_check_call(fcinfo, "outbox.discard()");
	return PointerGetDatum(NULL);
}

/* Enabled or not: who asks wants all keys of the table to go. Returns whether there was a trigger. */
static bool
record_all_of(Relation relation)
{
	TriggerDesc *triggers = CopyTriggerDesc(relation->trigdesc); /* the cache may be rebuilt */
	bool         any = false;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		TriggerData trigger = {.type = T_TriggerData, .tg_relation = relation};

		trigger.tg_trigger = &triggers->triggers[i];
		if (trigger_function_kind(trigger.tg_trigger->tgfoid) != TRIGGER_INVALIDATES)
			continue;
		record_all(&trigger, template_set_get(&trigger), "outbox.invalidate_all()");
		any = true;
	}
	return any;
}

/* What TRUNCATE of the table would record, by the templates of all its triggers. */
Datum
outbox_invalidate_all(PG_FUNCTION_ARGS)
{
	Oid      oid = trigger_relation_argument(fcinfo);
	Relation relation = relation_open(oid, AccessShareLock);

	if (xact_may_record("outbox.invalidate_all()") && !record_all_of(relation))
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		        errmsg("table \"%s\" is not watched", RelationGetRelationName(relation)),
		        errdetail("Without key templates it has no keys."),
		        errhint("Use outbox.watch(), or name the keys by outbox.invalidate_pattern()."));
	relation_close(relation, NoLock);
	PG_RETURN_VOID();
}

/* The row is not visible to a catalog snapshot yet. */
static void
check_created(Oid trigger)
{
	TriggerRow     *row = trigger_row_read(trigger, SnapshotSelf);
	TemplateProblem problem;

	if (row == NULL || row->kind == TRIGGER_OF_OTHERS)
		return;
	if (!trigger_row_is_right(row, &problem))
		template_report(&problem);
}

static void
trigger_hook(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (previous_hook != NULL)
		previous_hook(access, class, object, sub, arg);
	if (access == OAT_POST_CREATE && class == TriggerRelationId)
		check_created(object);
}

void
trigger_init(void)
{
	previous_hook = object_access_hook;
	object_access_hook = trigger_hook;
}
