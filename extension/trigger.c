/*
 * trigger.c
 *    The trigger function outbox.invalidate(): changed rows to keys.
 *
 * A row trigger expands its templates for the old row and for the new one. An UPDATE that leaves
 * every column as it was records nothing: values are compared detoasted, since a large value
 * written again is stored elsewhere. TRUNCATE shows no rows, and becomes patterns.
 *
 * Wrong use is found by CREATE TRIGGER where this library is loaded, else when the trigger fires.
 */
#include "postgres.h"

#include "access/htup_details.h"
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
#include "trigger_catalog.h"
#include "xact.h"

PG_FUNCTION_INFO_V1(outbox_invalidate_trigger);
PG_FUNCTION_INFO_V1(outbox_discard_trigger);

/* What is being expanded, for the context of an error. */
typedef struct Expansion
{
	const TriggerData *trigger;
	const TemplateSet *set;
	int                index;
} Expansion;

static object_access_hook_type previous_hook;

static void
check_called_as_trigger(FunctionCallInfo fcinfo, const char *function)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(
			ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			errmsg("function \"%s\" must be called as a trigger", function),
			errdetail("It works on the rows of the statement that fires it."),
			errhint(
				"Use it in CREATE TRIGGER ... EXECUTE FUNCTION, or use outbox.watch(); to record keys by hand, give them as arguments."));
}

static void
check_use(const Trigger *trigger)
{
	TemplateProblem problem;

	if (!trigger_use_is_right(trigger->tgname, trigger->tgtype, trigger->tgnargs, &problem))
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
record_key(const char *key, int length)
{
	key_check("key", key, length);
	xact_record_key(key, length);
}

static void
record_row(Expansion *expansion, TupleTableSlot *row, StringInfo key)
{
	for (int i = 0; i < template_set_count(expansion->set); i++)
	{
		expansion->index = i;
		template_set_expand(expansion->set, i, row, key, record_key);
	}
}

static bool
rows_are_same(TupleDesc columns, TupleTableSlot *old_row, TupleTableSlot *new_row)
{
	slot_getallattrs(old_row);
	slot_getallattrs(new_row);
	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns, i);

		if (column->attisdropped)
			continue;
		if (old_row->tts_isnull[i] != new_row->tts_isnull[i])
			return false;
		if (!old_row->tts_isnull[i] &&
		    !datum_image_eq(old_row->tts_values[i], new_row->tts_values[i], column->attbyval,
		                    column->attlen))
			return false;
	}
	return true;
}

static void
record_change(const TriggerData *trigger, const TemplateSet *set)
{
	bool                 is_update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	Expansion            expansion = {trigger, set, 0};
	ErrorContextCallback context = {error_context_stack, add_context, &expansion};
	StringInfoData       key;
	int                  nest_level;

	if (is_update && rows_are_same(RelationGetDescr(trigger->tg_relation), trigger->tg_trigslot,
	                               trigger->tg_newslot))
		return;
	initStringInfo(&key);
	error_context_stack = &context;
	nest_level = render_pin(template_set_needs(set));
	record_row(&expansion, trigger->tg_trigslot, &key);
	if (is_update)
		record_row(&expansion, trigger->tg_newslot, &key);
	render_unpin(nest_level);
	error_context_stack = context.previous;
	pfree(key.data);
}

static void
check_not_everything(const Template *template, const TriggerData *trigger)
{
	if (template_matches_all(template))
		ereport(
			ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("TRUNCATE of \"%s\" would delete every key",
		           RelationGetRelationName(trigger->tg_relation)),
			errdetail(
				"Key template \"%s\" has no text of its own, so its pattern matches all keys.",
				template->text),
			errhint(
				"Give the template a prefix, or drop the TRUNCATE trigger \"%s\" and delete the keys by hand.",
				trigger->tg_trigger->tgname));
}

static void
record_truncate(const TriggerData *trigger, const TemplateSet *set)
{
	for (int i = 0; i < template_set_count(set); i++)
	{
		const Template *template = template_set_text(set, i);
		char *text = template_pattern(template);

		if (template->has_placeholder)
		{
			check_not_everything(template, trigger);
			key_check("pattern", text, strlen(text));
			xact_record_pattern(text, strlen(text));
		}
		else
		{
			StringInfoData key;

			initStringInfo(&key);
			template_set_expand(set, i, NULL, &key, record_key);
		}
	}
}

Datum
outbox_invalidate_trigger(PG_FUNCTION_ARGS)
{
	TriggerData       *trigger = (TriggerData *) fcinfo->context;
	const TemplateSet *set;

	check_called_as_trigger(fcinfo, "outbox.invalidate()");
	check_use(trigger->tg_trigger);
	if (!xact_may_record("outbox.invalidate()"))
		return PointerGetDatum(NULL);
	set = template_set_get(trigger);
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		record_truncate(trigger, set);
	else
		record_change(trigger, set);
	return PointerGetDatum(NULL);
}

/* On the extension's own tables: a logical replication that copies or applies them must not bring
 * foreign rows. Our own rows never come this way. */
Datum
outbox_discard_trigger(PG_FUNCTION_ARGS)
{
	check_called_as_trigger(fcinfo, "outbox.discard()");
	return PointerGetDatum(NULL);
}

/* The row is not visible to a catalog snapshot yet. */
static void
check_created(Oid trigger)
{
	TriggerRow     *row = trigger_row_read(trigger, SnapshotSelf);
	TemplateProblem problem;

	if (row == NULL || !trigger_function_is_ours(row->function))
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
