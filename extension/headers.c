/*
 * headers.c
 *    The headers and properties of a message, checked at the call.
 *
 * What the broker or the codec would refuse once it is published must fail here, while somebody can
 * still correct it. A message that is refused later holds up its destination.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "compat.h"
#include "headers.h"
#include "settings.h"
#include "text.h"

#define MAX_HEADER_BYTES (32 * 1024)
#define MAX_HEADER_DEPTH 16
#define RESERVED_PREFIX "x-outbox-"
#define MAX_EXPIRATION_MS 4294967295.0 /* RabbitMQ's longest timer */
#define MAX_PRIORITY 255.0

static Jsonb *
get_jsonb(Datum value)
{
	return (Jsonb *) DatumGetPointer(value);
}

static char *
string_of(const JsonbValue *value)
{
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static char *
number_text(const JsonbValue *value)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
}

static void
check_object(Datum value, const char *what)
{
	if (!JB_ROOT_IS_OBJECT(get_jsonb(value)))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		        errmsg("%s of a message must be a JSON object", what));
}

static void
check_number(const JsonbValue *value)
{
	if (isinf(strtod(number_text(value), NULL)))
		ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
		        errmsg("a number in the headers of a message is out of range"),
		        errdetail("It fits neither AMQP's 64-bit integer nor its double."));
}

/* depth: of the container that the name stands in; 1 is the headers themselves. */
static void
check_header_name(const JsonbValue *name, int depth)
{
	char *text = string_of(name);

	text_check_name("the name of a header", text);
	if (depth == 1 && strncmp(text, RESERVED_PREFIX, strlen(RESERVED_PREFIX)) == 0)
		ereport(ERROR, errcode(ERRCODE_RESERVED_NAME), errmsg("header \"%s\" is reserved", text),
		        errdetail("Headers whose name begins with \"%s\" are pg_outbox's own.",
		                  RESERVED_PREFIX));
	pfree(text);
}

/* CC and BCC are read by the broker, which closes the channel over anything else. */
static void
check_recipients(Jsonb *headers, const char *name)
{
	JsonbValue         found;
	JsonbIterator     *iterator;
	JsonbValue         item;
	JsonbIteratorToken token;
	bool               fits;

	if (getKeyJsonValueFromContainer(&headers->root, name, strlen(name), &found) == NULL)
		return;
	fits = found.type == jbvBinary && JsonContainerIsArray(found.val.binary.data);
	iterator = fits ? JsonbIteratorInit(found.val.binary.data) : NULL;
	while (fits && (token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM)
			fits =
				item.type == jbvString &&
				text_utf8_length(item.val.string.val, item.val.string.len) <= TEXT_MAX_NAME_BYTES;
	}
	if (!fits)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		        errmsg("header \"%s\" must be an array of strings of at most %d bytes", name,
		               TEXT_MAX_NAME_BYTES));
}

static void
check_header_values(Jsonb *headers)
{
	JsonbIterator     *iterator = JsonbIteratorInit(&headers->root);
	JsonbValue         item;
	JsonbIteratorToken token;
	int                depth = 0;

	while ((token = JsonbIteratorNext(&iterator, &item, false)) != WJB_DONE)
	{
		if (token == WJB_BEGIN_OBJECT || token == WJB_BEGIN_ARRAY)
			depth++;
		else if (token == WJB_END_OBJECT || token == WJB_END_ARRAY)
			depth--;
		else if (token == WJB_KEY)
			check_header_name(&item, depth);
		else if (item.type == jbvNumeric)
			check_number(&item);
		if (depth > MAX_HEADER_DEPTH)
			ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			        errmsg("the headers of a message are nested deeper than %d", MAX_HEADER_DEPTH));
	}
}

void
headers_check(Datum headers)
{
	Jsonb *jsonb = get_jsonb(headers);
	char  *text;
	int    length;

	check_object(headers, "the headers");
	text = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));
	length = text_utf8_length(text, strlen(text));
	pfree(text);
	if (length > MAX_HEADER_BYTES)
		ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		        errmsg("the headers of a message are too large"),
		        errdetail("They have %d bytes; at most %d are allowed.", length, MAX_HEADER_BYTES));
	check_header_values(jsonb);
	check_recipients(jsonb, "CC");
	check_recipients(jsonb, "BCC");
}

static void
check_short_string(const char *name, const JsonbValue *value)
{
	char *text;

	if (value->type != jbvString)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		        errmsg("property \"%s\" must be a string", name));
	text = string_of(value);
	text_check_name(psprintf("property \"%s\"", name), text);
	pfree(text);
}

/* A whole number from 0 to limit; digits in a string do as well where AMQP wants a string. */
static void
check_whole_number(const char *name, const JsonbValue *value, bool string_too, double limit)
{
	const char *text = "";

	if (value->type == jbvNumeric)
		text = number_text(value);
	else if (value->type == jbvString && string_too)
		text = string_of(value);
	if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text) || strtod(text, NULL) > limit)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		        errmsg("property \"%s\" must be a whole number from 0 to %.0f", name, limit));
}

static void
check_property(const char *name, const JsonbValue *value)
{
	static const char *const strings[] = {"message_id", "correlation_id", "reply_to", "type",
	                                      "content_encoding"};

	for (int i = 0; i < lengthof(strings); i++)
	{
		if (strcmp(name, strings[i]) == 0)
		{
			check_short_string(name, value);
			return;
		}
	}
	if (strcmp(name, "expiration") == 0)
		check_whole_number(name, value, true, MAX_EXPIRATION_MS);
	else if (strcmp(name, "priority") == 0)
		check_whole_number(name, value, false, MAX_PRIORITY);
	else
		ereport(
			ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("unknown property \"%s\"", name),
			errhint(
				"Properties are message_id, correlation_id, reply_to, type, content_encoding, expiration and priority; anything else belongs into the headers."));
}

void
properties_check(Datum properties)
{
	JsonbIterator     *iterator;
	JsonbValue         item;
	JsonbIteratorToken token;
	const char        *name = "";

	check_object(properties, "the properties");
	iterator = JsonbIteratorInit(&get_jsonb(properties)->root);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = string_of(&item);
		else if (token == WJB_VALUE)
			check_property(name, &item);
	}
}

/* A jsonb object of one string, or that put over the members of another one. */
static Datum
with_member(Datum object, const char *name, const char *value)
{
	JsonbParseState *state = NULL;
	JsonbValue       key = {.type = jbvString};
	JsonbValue       text = {.type = jbvString};
	Datum            added;

	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	text.val.string.val = unconstify(char *, value);
	text.val.string.len = strlen(value);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&state, WJB_KEY, &key);
	pushJsonbValue(&state, WJB_VALUE, &text);
	added = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	if (object == (Datum) 0)
		return added;
	return DirectFunctionCall2(jsonb_concat, object, added);
}

Datum
headers_with_traceparent(Datum headers)
{
	static const char name[] = "traceparent";
	JsonbValue        found;

	if (setting_traceparent[0] == '\0')
		return headers;
	if (headers != (Datum) 0 &&
	    getKeyJsonValueFromContainer(&get_jsonb(headers)->root, name, strlen(name), &found) != NULL)
		return headers;
	return with_member(headers, name, setting_traceparent);
}

Datum
properties_with_content_type(Datum properties, const char *content_type)
{
	if (content_type == NULL)
		return properties;
	return with_member(properties, PROPERTY_CONTENT_TYPE, content_type);
}
