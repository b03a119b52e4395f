/*
 * decode.c
 *    Rows to events: detoasted, in UTF-8, JSON headers as AMQP fields.
 */
#include "postgres.h"

#include "relay/decode.h"

#include "catalog/pg_type.h"
#include "extension/event.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include <errno.h>

/* Text of the database's encoding as UTF-8; the result is the input where nothing is to be done. */
static MqBytes
to_utf8(char *text, int size)
{
	char *converted = pg_server_to_any(text, size, PG_UTF8);

	return converted == text ? mq_bytes(text, (size_t) size) : mq_bytes_of(converted);
}

static MqBytes
text_to_utf8(Datum datum)
{
	text *value = DatumGetTextPCopy(datum);

	return to_utf8(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/* A text column; data NULL where it is NULL. */
static MqBytes
column_text(TupleTableSlot *row, AttrNumber column)
{
	bool  is_null;
	Datum value = slot_getattr(row, column, &is_null);

	return is_null ? (MqBytes){0} : text_to_utf8(value);
}

/* A text[] column; *count 0 where it is NULL. */
static const MqBytes *
column_texts(TupleTableSlot *row, AttrNumber column, size_t *count)
{
	bool     is_null;
	Datum    value = slot_getattr(row, column, &is_null);
	Datum   *elements;
	int      element_count;
	MqBytes *texts;

	*count = 0;
	if (is_null)
		return NULL;
	deconstruct_array(DatumGetArrayTypePCopy(value), TEXTOID, -1, false, TYPALIGN_INT, &elements,
	                  NULL, &element_count);
	texts = palloc(Max(element_count, 1) * sizeof(MqBytes));
	for (int i = 0; i < element_count; i++)
	{
		text *element = (text *) DatumGetPointer(elements[i]);

		texts[i] = to_utf8(VARDATA_ANY(element), VARSIZE_ANY_EXHDR(element));
	}
	pfree(elements);
	*count = (size_t) element_count;
	return texts;
}

/* A jsonb column, NULL where it is NULL. */
static Jsonb *
column_jsonb(TupleTableSlot *row, AttrNumber column)
{
	bool  is_null;
	Datum value = slot_getattr(row, column, &is_null);

	return is_null ? NULL : DatumGetJsonbPCopy(value);
}

/* ---- headers ---------------------------------------------------------------------------------- */

/* Integers as int64, other numbers as double; recording has refused what fits neither. */
static void
number_field(Numeric numeric, MqField *field)
{
	char *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(numeric)));
	char *end;

	errno = 0;
	field->type = MQ_FIELD_INT64;
	field->value.integer = strtoll(text, &end, 10);
	if (*end == '\0' && errno == 0)
		return;
	field->type = MQ_FIELD_DOUBLE;
	field->value.number = strtod(text, NULL);
}

static void container_fields(JsonbContainer *container, MqField *field);

static void
value_field(const JsonbValue *value, MqField *field)
{
	switch (value->type)
	{
	case jbvNull:
		field->type = MQ_FIELD_VOID;
		break;
	case jbvBool:
		field->type = MQ_FIELD_BOOL;
		field->value.boolean = value->val.boolean;
		break;
	case jbvNumeric:
		number_field(value->val.numeric, field);
		break;
	case jbvString:
		field->type = MQ_FIELD_STRING;
		field->value.string = to_utf8(value->val.string.val, value->val.string.len);
		break;
	case jbvBinary:
		container_fields(value->val.binary.data, field);
		break;
	case jbvArray:
	case jbvObject:
	case jbvDatetime:
		elog(ERROR, "unexpected type %d of a jsonb value", (int) value->type);
	}
}

/* An object as a table, an array as an array. Depth: recording allows 16. */
static void
container_fields(JsonbContainer *container, MqField *field)
{
	bool               is_object = JsonContainerIsObject(container);
	size_t             count = JsonContainerSize(container);
	MqField           *fields = palloc0(Max(count, 1) * sizeof(MqField));
	JsonbIterator     *iterator = JsonbIteratorInit(container);
	JsonbValue         value;
	JsonbIteratorToken token;
	size_t             i = 0;

	check_stack_depth();
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			fields[i].name = to_utf8(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE || token == WJB_ELEM)
			value_field(&value, &fields[i++]);
	}
	field->type = is_object ? MQ_FIELD_TABLE : MQ_FIELD_ARRAY;
	field->value.items.fields = fields;
	field->value.items.count = i;
}

static void
set_headers(Jsonb *headers, RelayEvent *event)
{
	MqField table;

	if (headers == NULL)
		return;
	container_fields(&headers->root, &table);
	event->properties.headers = table.value.items.fields;
	event->properties.header_count = table.value.items.count;
	for (size_t i = 0; i < event->properties.header_count; i++)
	{
		const MqField *header = &event->properties.headers[i];

		if (header->type == MQ_FIELD_STRING &&
		    mq_bytes_equal(header->name, mq_bytes_of("traceparent")))
			event->traceparent = header->value.string;
	}
}

/* ---- properties ------------------------------------------------------------------------------- */

/* Where a property of that name goes; NULL: none is of this name. */
static MqBytes *
property_place(MqProperties *properties, MqBytes name)
{
	const struct
	{
		const char *name;
		MqBytes    *place;
	} places[] = {
		{"content_type", &properties->content_type},
		{"content_encoding", &properties->content_encoding},
		{"correlation_id", &properties->correlation_id},
		{"reply_to", &properties->reply_to},
		{"expiration", &properties->expiration},
		{"message_id", &properties->message_id},
		{"type", &properties->type},
	};

	for (size_t i = 0; i < lengthof(places); i++)
	{
		if (mq_bytes_equal(name, mq_bytes_of(places[i].name)))
			return places[i].place;
	}
	return NULL;
}

static void
set_properties(Jsonb *properties, RelayEvent *event)
{
	MqField table;

	event->properties.priority = -1;
	if (properties == NULL)
		return;
	container_fields(&properties->root, &table);
	for (size_t i = 0; i < table.value.items.count; i++)
	{
		const MqField *field = &table.value.items.fields[i];
		MqBytes       *place = property_place(&event->properties, field->name);

		if (field->type == MQ_FIELD_INT64 && place == NULL)
			event->properties.priority = (int) field->value.integer;
		else if (field->type == MQ_FIELD_INT64)
			*place = mq_bytes_of(psprintf(INT64_FORMAT, field->value.integer));
		else if (field->type == MQ_FIELD_STRING && place != NULL)
			*place = field->value.string;
	}
}

/* ---- the event -------------------------------------------------------------------------------- */

static void
set_body(TupleTableSlot *row, RelayEvent *event)
{
	Jsonb *payload = column_jsonb(row, EVENT_PAYLOAD);
	bool   is_null;
	Datum  body = slot_getattr(row, EVENT_BODY, &is_null);

	if (payload != NULL)
	{
		char *text = JsonbToCString(NULL, &payload->root, VARSIZE(payload));

		event->body = to_utf8(text, (int) strlen(text));
		event->properties.content_type = mq_bytes_of("application/json");
	}
	else if (!is_null)
	{
		bytea *bytes = DatumGetByteaPCopy(body);

		event->body = mq_bytes(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	}
}

static Size
texts_size(const MqBytes *texts, size_t count)
{
	Size size = count * sizeof(MqBytes);

	for (size_t i = 0; i < count; i++)
		size += texts[i].size;
	return size;
}

Size
decode_event(TupleTableSlot *row, RelayEvent *event)
{
	bool        is_null;
	TimestampTz created_at = DatumGetTimestampTz(slot_getattr(row, EVENT_CREATED_AT, &is_null));

	Datum attempts;

	*event = (RelayEvent){.id = DatumGetInt64(slot_getattr(row, EVENT_ID, &is_null))};
	attempts = slot_getattr(row, EVENT_ATTEMPTS, &is_null);
	event->attempts = is_null ? 0 : DatumGetUInt32(attempts);
	event->created_at_us = created_at + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	event->routing_key = column_text(row, EVENT_ROUTING_KEY);
	event->is_invalidation = event->routing_key.data == NULL;
	event->exchange = column_text(row, EVENT_EXCHANGE);
	if (event->exchange.data == NULL)
		event->exchange = mq_bytes_of("");
	set_properties(column_jsonb(row, EVENT_PROPERTIES), event);
	set_headers(column_jsonb(row, EVENT_HEADERS), event);
	if (event->is_invalidation)
	{
		event->keys = column_texts(row, EVENT_KEYS, &event->key_count);
		event->patterns = column_texts(row, EVENT_PATTERNS, &event->pattern_count);
	}
	else
		set_body(row, event);
	return sizeof(*event) + event->body.size + texts_size(event->keys, event->key_count) +
	       texts_size(event->patterns, event->pattern_count);
}
