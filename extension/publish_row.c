/*
 * publish_row.c
 *    The trigger function outbox.publish_row(queue): a message for each changed row.
 *
 *    {"table": "public.blogs", "op": "UPDATE", "old": {...}, "new": {...}}
 *
 * "table" is qualified and quoted as SQL needs it; for a row of a partition it is the table whose
 * trigger this is, since partitions come and go. Rows are rendered as to_jsonb() does, under the
 * fixed settings of render.c, with the rights of whoever writes. An UPDATE that changes no value
 * sends nothing.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "headers.h"
#include "payload.h"
#include "render.h"
#include "text.h"
#include "trigger.h"
#include "xact.h"

PG_FUNCTION_INFO_V1(outbox_publish_row);

static void
add_context(void *arg)
{
	const TriggerData *trigger = arg;

	errcontext("message of trigger \"%s\" on table \"%s\"", trigger->tg_trigger->tgname,
	           RelationGetRelationName(trigger->tg_relation));
}

/* In a partition: of the table that the trigger was made for. */
static Oid
table_of(const TriggerData *trigger)
{
	Oid         relation = RelationGetRelid(trigger->tg_relation);
	TriggerRow *row = NULL;

	if (!trigger->tg_trigger->tgisclone)
		return relation;
	for (Oid next = trigger->tg_trigger->tgoid; OidIsValid(next); next = row->parent)
	{
		row = trigger_row_read(next, NULL);
		if (row == NULL)
			break;
		relation = row->relation;
	}
	return relation;
}

static const char *
operation_of(const TriggerData *trigger)
{
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		return "INSERT";
	return TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? "UPDATE" : "DELETE";
}

static uint32
needs_of(TupleDesc columns)
{
	uint32 needs = 0;

	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns, i);

		if (!column->attisdropped)
			needs |= render_needs_of_type(column->atttypid);
	}
	return needs;
}

/* row: NULL for one that is not there. */
static void
append_row(StringInfo out, const char *name, TupleTableSlot *row)
{
	Datum json;

	appendStringInfo(out, ", \"%s\": ", name);
	if (row == NULL)
	{
		appendStringInfoString(out, "null");
		return;
	}
	json = DirectFunctionCall1(row_to_json, ExecFetchSlotHeapTupleDatum(row));
	appendStringInfoString(out, TextDatumGetCString(json));
}

/* old_row and new_row: of the change; NULL where there is none. */
static Datum
render_message(const TriggerData *trigger, TupleTableSlot *old_row, TupleTableSlot *new_row)
{
	Oid            table = table_of(trigger);
	int            nest_level = render_pin(needs_of(RelationGetDescr(trigger->tg_relation)));
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, "{\"table\": ");
	escape_json(&text, quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)),
	                                              get_rel_name(table)));
	appendStringInfo(&text, ", \"op\": \"%s\"", operation_of(trigger));
	append_row(&text, "old", old_row);
	append_row(&text, "new", new_row);
	appendStringInfoChar(&text, '}');
	render_unpin(nest_level);
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data));
}

static void
publish_change(const TriggerData *trigger)
{
	bool            is_insert = TRIGGER_FIRED_BY_INSERT(trigger->tg_event);
	bool            is_update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	TupleTableSlot *new_row = is_update ? trigger->tg_newslot : trigger->tg_trigslot;
	EventRow        row = {.exchange = "", .routing_key = trigger->tg_trigger->tgargs[0]};

	if (is_update && trigger_rows_are_same(RelationGetDescr(trigger->tg_relation),
	                                       trigger->tg_trigslot, new_row, NULL, 0))
		return;
	row.payload = render_message(trigger, is_insert ? NULL : trigger->tg_trigslot,
	                             is_insert || is_update ? new_row : NULL);
	payload_check_jsonb(row.payload);
	row.headers = headers_with_traceparent((Datum) 0);
	xact_record_message(&row);
}

static void
check_queue(const char *queue)
{
	text_check_name("the queue of a message", queue);
	if (queue[0] == '\0')
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		        errmsg("the queue of a message must not be empty"));
}

Datum
outbox_publish_row(PG_FUNCTION_ARGS)
{
	TriggerData         *trigger = (TriggerData *) fcinfo->context;
	ErrorContextCallback context = {error_context_stack, add_context, trigger};

	trigger_check_call(fcinfo, "outbox.publish_row()");
	trigger_check_use(TRIGGER_PUBLISHES_ROW, trigger->tg_trigger);
	if (!xact_may_record("outbox.publish_row()"))
		return PointerGetDatum(NULL);
	error_context_stack = &context;
	check_queue(trigger->tg_trigger->tgargs[0]);
	publish_change(trigger);
	error_context_stack = context.previous;
	return PointerGetDatum(NULL);
}
