/*
 * codec.c
 *    Frames: AMQP 0-9-1 specification, section 4.2.3.
 */
#include "wire/codec.h"

#define METHOD_ROOM_BYTES 8192 /* names and tables that we send in methods are far smaller */
#define MAX_TABLE_DEPTH 17     /* headers: 16 levels below the table itself */

static MqResult
append_frame_header(MqBuffer *out, unsigned type, uint16_t channel, size_t size)
{
	unsigned char header[FRAME_HEADER_BYTES] = {
		(unsigned char) type,         (unsigned char) (channel >> 8), (unsigned char) channel,
		(unsigned char) (size >> 24), (unsigned char) (size >> 16),   (unsigned char) (size >> 8),
		(unsigned char) size,
	};

	return mq_buffer_append(out, header, sizeof(header));
}

static MqResult
append_frame_end(MqBuffer *out)
{
	static const unsigned char end = AMQP_FRAME_END;

	return mq_buffer_append(out, &end, 1);
}

/* A whole frame around a payload of two pieces. */
static MqResult
append_frame(MqBuffer *out, unsigned type, uint16_t channel, MqBytes first, MqBytes second,
             MqError *error)
{
	if (append_frame_header(out, type, channel, first.size + second.size) != MQ_OK ||
	    mq_buffer_append(out, first.data, first.size) != MQ_OK ||
	    mq_buffer_append(out, second.data, second.size) != MQ_OK || append_frame_end(out) != MQ_OK)
		return mq_error_set(error, MQ_NOMEM, "out of memory");
	return MQ_OK;
}

MqResult
codec_append_method(MqBuffer *out, uint16_t channel, amqp_method_number_t id, void *method,
                    MqError *error)
{
	unsigned char payload[METHOD_ROOM_BYTES];
	unsigned char number[4] = {(unsigned char) (id >> 24), (unsigned char) (id >> 16),
	                           (unsigned char) (id >> 8), (unsigned char) id};
	int           size;

	size = amqp_encode_method(id, method, (amqp_bytes_t){.len = sizeof(payload), .bytes = payload});
	if (size < 0)
		return mq_error_set(error, MQ_INVALID, "could not encode %s: %s", amqp_method_name(id),
		                    amqp_error_string2(size));
	return append_frame(out, AMQP_FRAME_METHOD, channel, mq_bytes(number, sizeof(number)),
	                    mq_bytes(payload, (size_t) size), error);
}

MqResult
codec_append_content(MqBuffer *out, uint16_t channel, uint32_t frame_max, MqBytes raw, MqBytes body,
                     MqError *error)
{
	unsigned char header[12] = {0, AMQP_BASIC_CLASS}; /* class, weight 0, body size */
	size_t        piece_max = frame_max - FRAME_OVERHEAD_BYTES;
	MqResult      result;

	for (int i = 0; i < 8; i++)
		header[4 + i] = (unsigned char) ((uint64_t) body.size >> 8 * (7 - i));
	if (sizeof(header) + raw.size > piece_max)
		return mq_error_set(error, MQ_INVALID, "headers of %zu bytes do not fit into one frame",
		                    raw.size);
	result =
		append_frame(out, AMQP_FRAME_HEADER, channel, mq_bytes(header, sizeof(header)), raw, error);
	for (size_t sent = 0; result == MQ_OK && sent < body.size;)
	{
		size_t piece = body.size - sent < piece_max ? body.size - sent : piece_max;

		result = append_frame(out, AMQP_FRAME_BODY, channel, mq_bytes(body.data + sent, piece),
		                      (MqBytes){0}, error);
		sent += piece;
	}
	return result;
}

MqResult
codec_append_heartbeat(MqBuffer *out)
{
	return append_frame(out, AMQP_FRAME_HEARTBEAT, 0, (MqBytes){0}, (MqBytes){0}, NULL);
}

static MqResult codec_value(amqp_pool_t *pool, const MqField *field, int depth,
                            amqp_field_value_t *value, MqError *error);

static MqResult
codec_table_at(amqp_pool_t *pool, const MqField *fields, size_t count, int depth,
               amqp_table_t *table, MqError *error)
{
	*table = amqp_empty_table;
	if (depth > MAX_TABLE_DEPTH)
		return mq_error_set(error, MQ_INVALID, "headers are nested deeper than %d",
		                    MAX_TABLE_DEPTH - 1);
	if (count == 0)
		return MQ_OK;
	table->entries = amqp_pool_alloc(pool, count * sizeof(amqp_table_entry_t));
	if (table->entries == NULL)
		return mq_error_set(error, MQ_NOMEM, "out of memory");
	table->num_entries = (int) count;
	for (size_t i = 0; i < count; i++)
	{
		if (fields[i].name.size > MQ_MAX_SHORT_STRING)
			return mq_error_set(error, MQ_INVALID, "a header's name is longer than 255 bytes");
		table->entries[i].key = codec_bytes(fields[i].name);
		if (codec_value(pool, &fields[i], depth, &table->entries[i].value, error) != MQ_OK)
			return error == NULL ? MQ_INVALID : error->code;
	}
	return MQ_OK;
}

static MqResult
codec_array(amqp_pool_t *pool, const MqField *field, int depth, amqp_array_t *array, MqError *error)
{
	size_t count = field->value.items.count;

	*array = amqp_empty_array;
	if (depth > MAX_TABLE_DEPTH)
		return mq_error_set(error, MQ_INVALID, "headers are nested deeper than %d",
		                    MAX_TABLE_DEPTH - 1);
	if (count == 0)
		return MQ_OK;
	array->entries = amqp_pool_alloc(pool, count * sizeof(amqp_field_value_t));
	if (array->entries == NULL)
		return mq_error_set(error, MQ_NOMEM, "out of memory");
	array->num_entries = (int) count;
	for (size_t i = 0; i < count; i++)
	{
		MqResult result =
			codec_value(pool, &field->value.items.fields[i], depth, &array->entries[i], error);

		if (result != MQ_OK)
			return result;
	}
	return MQ_OK;
}

static MqResult
codec_value(amqp_pool_t *pool, const MqField *field, int depth, amqp_field_value_t *value,
            MqError *error)
{
	switch (field->type)
	{
	case MQ_FIELD_VOID:
		value->kind = AMQP_FIELD_KIND_VOID;
		return MQ_OK;
	case MQ_FIELD_BOOL:
		value->kind = AMQP_FIELD_KIND_BOOLEAN;
		value->value.boolean = field->value.boolean;
		return MQ_OK;
	case MQ_FIELD_INT64:
		value->kind = AMQP_FIELD_KIND_I64;
		value->value.i64 = field->value.integer;
		return MQ_OK;
	case MQ_FIELD_DOUBLE:
		value->kind = AMQP_FIELD_KIND_F64;
		value->value.f64 = field->value.number;
		return MQ_OK;
	case MQ_FIELD_STRING:
		value->kind = AMQP_FIELD_KIND_UTF8;
		value->value.bytes = codec_bytes(field->value.string);
		return MQ_OK;
	case MQ_FIELD_TABLE:
		value->kind = AMQP_FIELD_KIND_TABLE;
		return codec_table_at(pool, field->value.items.fields, field->value.items.count, depth + 1,
		                      &value->value.table, error);
	case MQ_FIELD_ARRAY:
		value->kind = AMQP_FIELD_KIND_ARRAY;
		return codec_array(pool, field, depth + 1, &value->value.array, error);
	}
	return mq_error_set(error, MQ_INVALID, "unknown type of a header");
}

MqResult
codec_table(amqp_pool_t *pool, const MqField *fields, size_t count, amqp_table_t *table,
            MqError *error)
{
	return codec_table_at(pool, fields, count, 1, table, error);
}

/* Sets one string property if it is there. */
static bool
set_string(amqp_basic_properties_t *encoded, amqp_flags_t flag, amqp_bytes_t *field, MqBytes value)
{
	if (value.data == NULL)
		return true;
	encoded->_flags |= flag;
	*field = codec_bytes(value);
	return value.size <= MQ_MAX_SHORT_STRING;
}

static bool
set_strings(amqp_basic_properties_t *to, const MqProperties *from)
{
	return set_string(to, AMQP_BASIC_CONTENT_TYPE_FLAG, &to->content_type, from->content_type) &&
	       set_string(to, AMQP_BASIC_CONTENT_ENCODING_FLAG, &to->content_encoding,
	                  from->content_encoding) &&
	       set_string(to, AMQP_BASIC_CORRELATION_ID_FLAG, &to->correlation_id,
	                  from->correlation_id) &&
	       set_string(to, AMQP_BASIC_REPLY_TO_FLAG, &to->reply_to, from->reply_to) &&
	       set_string(to, AMQP_BASIC_EXPIRATION_FLAG, &to->expiration, from->expiration) &&
	       set_string(to, AMQP_BASIC_MESSAGE_ID_FLAG, &to->message_id, from->message_id) &&
	       set_string(to, AMQP_BASIC_TYPE_FLAG, &to->type, from->type) &&
	       set_string(to, AMQP_BASIC_APP_ID_FLAG, &to->app_id, from->app_id);
}

MqResult
codec_append_properties(MqBuffer *out, amqp_pool_t *pool, const MqProperties *properties,
                        MqError *error)
{
	amqp_basic_properties_t encoded = {0};
	int                     size;

	if (!set_strings(&encoded, properties))
		return mq_error_set(error, MQ_INVALID, "a property is longer than 255 bytes");
	if (properties->priority >= 0)
	{
		encoded._flags |= AMQP_BASIC_PRIORITY_FLAG;
		encoded.priority = (uint8_t) properties->priority;
	}
	if (properties->timestamp_s != 0)
	{
		encoded._flags |= AMQP_BASIC_TIMESTAMP_FLAG;
		encoded.timestamp = (uint64_t) properties->timestamp_s;
	}
	encoded._flags |= AMQP_BASIC_DELIVERY_MODE_FLAG;
	encoded.delivery_mode = (uint8_t) properties->delivery_mode;
	if (properties->header_count > 0)
	{
		MqResult result = codec_table(pool, properties->headers, properties->header_count,
		                              &encoded.headers, error);

		if (result != MQ_OK)
			return result;
		encoded._flags |= AMQP_BASIC_HEADERS_FLAG;
	}
	if (mq_buffer_reserve(out, FRAME_MAX_BYTES) != MQ_OK)
		return mq_error_set(error, MQ_NOMEM, "out of memory");
	size = amqp_encode_properties(
		AMQP_BASIC_CLASS, &encoded,
		(amqp_bytes_t){.len = out->capacity - out->size, .bytes = out->data + out->size});
	if (size < 0)
		return mq_error_set(error, MQ_INVALID, "could not encode the headers: %s",
		                    amqp_error_string2(size));
	out->size += (size_t) size;
	return MQ_OK;
}
