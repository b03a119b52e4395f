/*
 * calls.c
 *    The functions that record by hand: outbox.invalidate, invalidate_pattern, publish, publish_to,
 *    publish_bytes.
 *
 * Everything that could fail at commit or at the broker is checked here, at the call. Payloads are
 * detoasted here too: what they point to may be gone at commit.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "compat.h"
#include "event.h"
#include "headers.h"
#include "keys.h"
#include "payload.h"
#include "text.h"
#include "xact.h"

PG_FUNCTION_INFO_V1(outbox_invalidate);
PG_FUNCTION_INFO_V1(outbox_invalidate_pattern);
PG_FUNCTION_INFO_V1(outbox_publish);
PG_FUNCTION_INFO_V1(outbox_publish_to);
PG_FUNCTION_INFO_V1(outbox_publish_bytes);

static void
check_not_null(bool is_null, const char *what)
{
	if (is_null)
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
		        errmsg("%s must not be NULL", what));
}

/* what: "key" or "pattern". */
static void
record_all(FunctionCallInfo fcinfo, const char *call, const char *what,
           void (*record)(const char *text, int length))
{
	Datum *elements;
	bool  *nulls;
	int    count;

	check_not_null(PG_ARGISNULL(0), psprintf("the array of %ss", what));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls,
	                  &count);
	for (int i = 0; i < count; i++)
	{
		check_not_null(nulls[i], psprintf("a %s", what));
		key_check(what, VARDATA_ANY(DatumGetPointer(elements[i])),
		          VARSIZE_ANY_EXHDR(DatumGetPointer(elements[i])));
	}
	if (!xact_may_record(call))
		return;
	for (int i = 0; i < count; i++)
		record(VARDATA_ANY(DatumGetPointer(elements[i])),
		       VARSIZE_ANY_EXHDR(DatumGetPointer(elements[i])));
}

Datum
outbox_invalidate(PG_FUNCTION_ARGS)
{
	record_all(fcinfo, "outbox.invalidate()", "key", xact_record_key);
	PG_RETURN_VOID();
}

Datum
outbox_invalidate_pattern(PG_FUNCTION_ARGS)
{
	record_all(fcinfo, "outbox.invalidate_pattern()", "pattern", xact_record_pattern);
	PG_RETURN_VOID();
}

static char *
get_name(FunctionCallInfo fcinfo, int argument, const char *what)
{
	char *name;

	check_not_null(PG_ARGISNULL(argument), psprintf("the %s of a message", what));
	name = text_to_cstring(PG_GETARG_TEXT_PP(argument));
	text_check_name(psprintf("the %s of a message", what), name);
	return name;
}

static void
check_destination(const char *exchange, const char *routing_key)
{
	if (exchange[0] == '\0' && routing_key[0] == '\0')
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		        errmsg("the queue of a message must not be empty"));
}

static Datum
get_payload(FunctionCallInfo fcinfo, int argument)
{
	Datum payload;

	check_not_null(PG_ARGISNULL(argument), "the payload of a message");
	payload = JsonbPGetDatum(PG_GETARG_JSONB_P(argument));
	payload_check_jsonb(payload);
	return payload;
}

static Datum
get_headers(FunctionCallInfo fcinfo, int argument)
{
	Datum headers = (Datum) 0;

	if (!PG_ARGISNULL(argument))
	{
		headers = JsonbPGetDatum(PG_GETARG_JSONB_P(argument));
		headers_check(headers);
	}
	return headers_with_traceparent(headers);
}

static Datum
get_properties(FunctionCallInfo fcinfo, int argument)
{
	Datum properties;

	if (PG_ARGISNULL(argument))
		return (Datum) 0;
	properties = JsonbPGetDatum(PG_GETARG_JSONB_P(argument));
	properties_check(properties);
	return properties;
}

static void
record_message(const EventRow *row, const char *call)
{
	check_destination(row->exchange, row->routing_key);
	if (xact_may_record(call))
		xact_record_message(row);
}

Datum
outbox_publish(PG_FUNCTION_ARGS)
{
	EventRow row = {.exchange = ""};

	row.routing_key = get_name(fcinfo, 0, "queue");
	row.payload = get_payload(fcinfo, 1);
	row.headers = get_headers(fcinfo, 2);
	row.properties = get_properties(fcinfo, 3);
	record_message(&row, "outbox.publish()");
	PG_RETURN_VOID();
}

Datum
outbox_publish_to(PG_FUNCTION_ARGS)
{
	EventRow row = {0};

	row.exchange = get_name(fcinfo, 0, "exchange");
	row.routing_key = get_name(fcinfo, 1, "routing key");
	row.payload = get_payload(fcinfo, 2);
	row.headers = get_headers(fcinfo, 3);
	row.properties = get_properties(fcinfo, 4);
	record_message(&row, "outbox.publish_to()");
	PG_RETURN_VOID();
}

Datum
outbox_publish_bytes(PG_FUNCTION_ARGS)
{
	EventRow row = {0};
	char    *content_type = NULL;

	row.exchange = get_name(fcinfo, 0, "exchange");
	row.routing_key = get_name(fcinfo, 1, "routing key");
	check_not_null(PG_ARGISNULL(2), "the body of a message");
	row.body = PointerGetDatum(PG_GETARG_BYTEA_P(2));
	payload_check_size(VARSIZE_ANY_EXHDR(DatumGetPointer(row.body)));
	if (!PG_ARGISNULL(3))
		content_type = get_name(fcinfo, 3, "content type");
	row.headers = get_headers(fcinfo, 4);
	row.properties = properties_with_content_type(get_properties(fcinfo, 5), content_type);
	record_message(&row, "outbox.publish_bytes()");
	PG_RETURN_VOID();
}
