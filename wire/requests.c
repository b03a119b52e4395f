/*
 * requests.c
 *    What an owner of a session sends: messages, acknowledgements, declarations.
 */
#include "wire/session.h"

#include "wire/properties.h"
#include "wire/session_private.h"

#define PUBLISH_OVERHEAD_BYTES 1024    /* method, content header and one frame's framing */
#define SEND_AT_ONCE_BYTES (64 * 1024) /* buffered: the broker may as well work on it meanwhile */

static MqResult
require_open(const MqSession *session, MqError *error)
{
	if (session->phase != SESSION_OPEN || session->lost)
		return mq_error_set(error, MQ_LOST, "no channel is open to the broker");
	return MQ_OK;
}

static MqResult
require_name(MqBytes name, const char *what, MqError *error)
{
	if (name.size > MQ_MAX_SHORT_STRING)
		return mq_error_set(error, MQ_INVALID, "the %s is longer than 255 bytes", what);
	return MQ_OK;
}

/* A request that the broker answers: counted, so that a missing answer is noticed. */
static MqResult
ask(MqSession *session, amqp_method_number_t id, void *method, MqError *error)
{
	MqResult result = session_put_method(session, CHANNEL, id, method, error);

	if (result == MQ_OK)
		session->requests++;
	return result;
}

/* ---- publishing ------------------------------------------------------------------------------- */

/* Is there room for a message of about so many bytes? A message that finds nothing unsent always
 * fits. */
static bool
has_room(const MqSession *session, size_t size)
{
	return stream_unsent(session->stream) == 0 || size <= stream_room(session->stream);
}

static MqResult
put_publish(MqSession *session, MqBytes exchange, MqBytes routing_key, MqError *error)
{
	amqp_basic_publish_t publish = {
		.exchange = codec_bytes(exchange),
		.routing_key = codec_bytes(routing_key),
		.mandatory = 1,
	};

	session->scratch.size = 0;
	return codec_append_method(&session->scratch, CHANNEL, AMQP_BASIC_PUBLISH_METHOD, &publish,
	                           error);
}

static MqResult
check_publish(MqSession *session, MqBytes exchange, MqBytes routing_key, size_t size,
              MqError *error)
{
	MqResult result = require_open(session, error);

	if (result == MQ_OK)
		result = require_name(exchange, "exchange's name", error);
	if (result == MQ_OK)
		result = require_name(routing_key, "routing key", error);
	if (result == MQ_OK && !has_room(session, size))
		result = mq_error_set(error, MQ_FULL, "the output buffer is full");
	return result;
}

/* The method is in scratch; adds the content and hands everything over at once, so that a failure
 * leaves no half message behind. */
static MqResult
put_content(MqSession *session, MqBytes raw, MqBytes body, uint64_t *tag, MqError *error)
{
	MqResult result;

	result = codec_append_content(&session->scratch, CHANNEL, session->frame_max, raw, body, error);
	if (result == MQ_OK)
		result = session_put(session, error);
	if (result == MQ_OK)
	{
		if (tag != NULL)
			*tag = session->next_tag;
		session->next_tag++;
	}
	if (session->scratch.capacity > 2 * FRAME_MAX_BYTES)
		mq_buffer_free(&session->scratch);
	return result;
}

MqResult
mq_properties_encode(const MqProperties *properties, MqBuffer *raw, MqError *error)
{
	amqp_pool_t pool;
	MqResult    result;

	init_amqp_pool(&pool, 4096);
	result = codec_append_properties(raw, &pool, properties, error);
	empty_amqp_pool(&pool);
	return result;
}

/* The first message of a step is not kept waiting by what its owner does next; of many, the rest leaves in
 * larger pieces. */
static void
send_early(MqSession *session, bool first)
{
	if (first || stream_unsent(session->stream) >= SEND_AT_ONCE_BYTES)
		mq_session_flush(session);
}

MqResult
mq_publish_encoded(MqSession *session, MqBytes exchange, MqBytes routing_key,
                   MqBytes raw_properties, MqBytes body, uint64_t *tag, MqError *error)
{
	bool     first = !session->sent_something;
	MqResult result;

	result =
		check_publish(session, exchange, routing_key, body.size + PUBLISH_OVERHEAD_BYTES, error);
	if (result == MQ_OK)
		result = put_publish(session, exchange, routing_key, error);
	if (result == MQ_OK)
		result = put_content(session, raw_properties, body, tag, error);
	if (result == MQ_OK)
		send_early(session, first);
	return result;
}

MqResult
mq_publish(MqSession *session, const MqMessage *message, uint64_t *tag, MqError *error)
{
	MqBuffer raw = {0};
	MqResult result = mq_properties_encode(&message->properties, &raw, error);

	if (result == MQ_OK)
		result = mq_publish_encoded(session, message->exchange, message->routing_key,
		                            mq_bytes(raw.data, raw.size), message->body, tag, error);
	mq_buffer_free(&raw);
	return result;
}

MqResult
mq_publish_raw(MqSession *session, MqBytes exchange, MqBytes routing_key, MqBytes raw_properties,
               const char *header_name, MqBytes header_value, MqBytes body, uint64_t *tag,
               MqError *error)
{
	MqBuffer raw = {0};
	MqResult result = properties_with_header(raw_properties, header_name, header_value, &raw);

	if (result == MQ_OK)
		result = mq_publish_encoded(session, exchange, routing_key, mq_bytes(raw.data, raw.size),
		                            body, tag, error);
	else
		mq_error_set(error, result, "the message's properties are malformed");
	mq_buffer_free(&raw);
	return result;
}

MqResult
mq_confirm_select(MqSession *session, MqError *error)
{
	amqp_confirm_select_t select = {0};
	MqResult              result = require_open(session, error);

	return result == MQ_OK ? ask(session, AMQP_CONFIRM_SELECT_METHOD, &select, error) : result;
}

/* ---- consuming -------------------------------------------------------------------------------- */

MqResult
mq_qos(MqSession *session, uint16_t prefetch, MqError *error)
{
	amqp_basic_qos_t qos = {.prefetch_count = prefetch};
	MqResult         result = require_open(session, error);

	return result == MQ_OK ? ask(session, AMQP_BASIC_QOS_METHOD, &qos, error) : result;
}

MqResult
mq_consume(MqSession *session, MqBytes queue, MqBytes consumer_tag, MqError *error)
{
	amqp_basic_consume_t consume = {
		.queue = codec_bytes(queue),
		.consumer_tag = codec_bytes(consumer_tag),
		.arguments = amqp_empty_table,
	};
	MqResult result = require_open(session, error);

	if (result == MQ_OK)
		result = require_name(queue, "queue's name", error);
	if (result == MQ_OK)
		result = require_name(consumer_tag, "consumer tag", error);
	return result == MQ_OK ? ask(session, AMQP_BASIC_CONSUME_METHOD, &consume, error) : result;
}

MqResult
mq_cancel(MqSession *session, MqBytes consumer_tag, MqError *error)
{
	amqp_basic_cancel_t cancel = {.consumer_tag = codec_bytes(consumer_tag)};
	MqResult            result = require_open(session, error);

	if (result == MQ_OK)
		result = require_name(consumer_tag, "consumer tag", error);
	return result == MQ_OK ? ask(session, AMQP_BASIC_CANCEL_METHOD, &cancel, error) : result;
}

MqResult
mq_ack(MqSession *session, uint64_t tag, bool multiple, MqError *error)
{
	amqp_basic_ack_t ack = {.delivery_tag = tag, .multiple = multiple};
	MqResult         result = require_open(session, error);

	if (result != MQ_OK)
		return result;
	return session_put_method(session, CHANNEL, AMQP_BASIC_ACK_METHOD, &ack, error);
}

MqResult
mq_nack(MqSession *session, uint64_t tag, bool multiple, bool requeue, MqError *error)
{
	amqp_basic_nack_t nack = {.delivery_tag = tag, .multiple = multiple, .requeue = requeue};
	MqResult          result = require_open(session, error);

	if (result != MQ_OK)
		return result;
	return session_put_method(session, CHANNEL, AMQP_BASIC_NACK_METHOD, &nack, error);
}

/* ---- declaring -------------------------------------------------------------------------------- */

MqResult
mq_queue_declare(MqSession *session, MqBytes queue, bool passive, const MqField *arguments,
                 size_t argument_count, MqError *error)
{
	amqp_queue_declare_t declare = {
		.queue = codec_bytes(queue),
		.passive = passive,
		.durable = 1,
	};
	MqResult result = require_open(session, error);

	if (result == MQ_OK)
		result = require_name(queue, "queue's name", error);
	recycle_amqp_pool(&session->pool);
	if (result == MQ_OK)
		result = codec_table(&session->pool, arguments, argument_count, &declare.arguments, error);
	return result == MQ_OK ? ask(session, AMQP_QUEUE_DECLARE_METHOD, &declare, error) : result;
}

MqResult
mq_queue_bind(MqSession *session, MqBytes queue, MqBytes exchange, MqError *error)
{
	amqp_queue_bind_t bind = {
		.queue = codec_bytes(queue),
		.exchange = codec_bytes(exchange),
		.routing_key = amqp_empty_bytes,
		.arguments = amqp_empty_table,
	};
	MqResult result = require_open(session, error);

	if (result == MQ_OK)
		result = require_name(queue, "queue's name", error);
	if (result == MQ_OK)
		result = require_name(exchange, "exchange's name", error);
	return result == MQ_OK ? ask(session, AMQP_QUEUE_BIND_METHOD, &bind, error) : result;
}

MqResult
mq_exchange_declare(MqSession *session, MqBytes exchange, bool passive, MqError *error)
{
	amqp_exchange_declare_t declare = {
		.exchange = codec_bytes(exchange),
		.type = amqp_cstring_bytes("fanout"),
		.passive = passive,
		.durable = 1,
		.arguments = amqp_empty_table,
	};
	MqResult result = require_open(session, error);

	if (result == MQ_OK)
		result = require_name(exchange, "exchange's name", error);
	return result == MQ_OK ? ask(session, AMQP_EXCHANGE_DECLARE_METHOD, &declare, error) : result;
}
