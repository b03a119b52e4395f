/*
 * message.h
 *    One AMQP message as the relay makes it, and the bodies of invalidations.
 *
 * Plain structs without rabbitmq-c's types, so that the relay's core and unit tests can build
 * messages; session.c translates them. Everything is borrowed.
 */
#ifndef MQ_MESSAGE_H
#define MQ_MESSAGE_H

#include "bytes.h"
#include "error.h"

#include <stdint.h>

#define MQ_MAX_SHORT_STRING 255 /* names, routing keys, most properties: AMQP's short string */
#define MQ_DEAD_SUFFIX ".dead"  /* of the name of a queue's dead-letter queue */

typedef enum MqFieldType
{
	MQ_FIELD_VOID,
	MQ_FIELD_BOOL,
	MQ_FIELD_INT64,
	MQ_FIELD_DOUBLE,
	MQ_FIELD_STRING,
	MQ_FIELD_TABLE,
	MQ_FIELD_ARRAY /* items without names */
} MqFieldType;

typedef struct MqField MqField;

struct MqField
{
	MqBytes     name; /* header name, at most 255 bytes; ignored in arrays */
	MqFieldType type;
	union
	{
		bool    boolean;
		int64_t integer;
		double  number;
		MqBytes string;
		struct
		{
			const MqField *fields;
			size_t         count;
		} items; /* TABLE, ARRAY */
	} value;
};

typedef struct MqProperties
{
	MqBytes        content_type, content_encoding, correlation_id, reply_to, expiration, message_id;
	MqBytes        type, app_id;
	int            priority;      /* 0 to 255; -1: absent */
	int            delivery_mode; /* 2: persistent */
	int64_t        timestamp_s;   /* seconds since 1970; 0: absent */
	const MqField *headers;
	size_t         header_count;
} MqProperties;

typedef struct MqMessage
{
	MqBytes      exchange; /* empty: the default exchange, routing_key is a queue */
	MqBytes      routing_key;
	MqProperties properties;
	MqBytes      body;
} MqMessage;

static inline MqField
mq_field_int64(const char *name, int64_t value)
{
	return (MqField){.name = mq_bytes_of(name), .type = MQ_FIELD_INT64, .value.integer = value};
}

static inline MqField
mq_field_string(const char *name, MqBytes value)
{
	return (MqField){.name = mq_bytes_of(name), .type = MQ_FIELD_STRING, .value.string = value};
}

/* A growing buffer for a message body. Zeroed is empty. */
typedef struct MqBuffer
{
	char  *data;
	size_t size;
	size_t capacity;
} MqBuffer;

/* Makes room for size more bytes. MQ_OK or MQ_NOMEM. */
MqResult mq_buffer_reserve(MqBuffer *buffer, size_t size);

/* Appends. MQ_OK or MQ_NOMEM. */
MqResult mq_buffer_append(MqBuffer *buffer, const void *data, size_t size);

/* Appends what printf would write, whole, without its NUL. MQ_OK or MQ_NOMEM. */
MqResult mq_buffer_printf(MqBuffer *buffer, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Appends text (valid UTF-8) as a JSON string with its quotes: RFC 8259, section 7. */
MqResult mq_buffer_append_json(MqBuffer *buffer, MqBytes text);

/* How many bytes mq_buffer_append_json would append. */
size_t mq_json_string_size(MqBytes text);

/* Frees the memory and leaves the buffer empty. */
void mq_buffer_free(MqBuffer *buffer);

#endif
