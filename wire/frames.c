/*
 * frames.c
 *    What the broker says: frames cut from the input, methods to events.
 *
 * Nothing of it is trusted: sizes, channels, the order of a content's frames and its announced size are
 * checked, and what does not fit ends the connection with a reason.
 */
#include "wire/session.h"

#include "wire/properties.h"
#include "wire/session_private.h"

#define KEEP_BODY_BYTES (1024 * 1024) /* larger buffers are given back after the event */

static uint64_t
big_endian(const char *data, int size)
{
	uint64_t value = 0;

	for (int i = 0; i < size; i++)
		value = value << 8 | (unsigned char) data[i];
	return value;
}

/* Copies the peer's words into the event, printable and cut. */
static void
set_text(MqSession *session, MqEvent *event, amqp_bytes_t text)
{
	MqError printable;

	mq_error_set(&printable, MQ_OK, "%.*s", (int) (text.len < 500 ? text.len : 500),
	             text.bytes == NULL ? "" : (const char *) text.bytes);
	memcpy(session->text, printable.text, sizeof(session->text));
	event->text = session->text;
}

static void
copy_name(char out[256], amqp_bytes_t name)
{
	size_t size = name.len < 255 ? name.len : 255; /* short strings cannot be longer */

	if (size > 0)
		memcpy(out, name.bytes, size);
	out[size] = '\0';
}

static void
begin_content(MqSession *session, MqEventKind kind, amqp_bytes_t exchange, amqp_bytes_t routing_key)
{
	Content *content = &session->content;

	content->active = true;
	content->header_seen = false;
	content->kind = kind;
	content->raw.size = content->body.size = 0;
	content->received_bytes = 0;
	copy_name(content->exchange, exchange);
	copy_name(content->routing_key, routing_key);
}

static bool
content_event(MqSession *session, MqEvent *event)
{
	Content *content = &session->content;

	content->active = false;
	event->kind = content->kind;
	event->tag = content->tag;
	event->redelivered = content->redelivered;
	event->reply_code = content->reply_code;
	event->text = session->text;
	event->exchange = mq_bytes_of(content->exchange);
	event->routing_key = mq_bytes_of(content->routing_key);
	event->raw_properties = mq_bytes(content->raw.data, content->raw.size);
	event->body_bytes = content->announced_bytes;
	event->body_skipped = content->announced_bytes > session->options.max_body_bytes;
	event->body =
		mq_bytes(content->body.data == NULL ? "" : content->body.data, content->body.size);
	return true;
}

static bool
on_header_frame(MqSession *session, MqBytes payload, MqEvent *event)
{
	Content *content = &session->content;
	MqBytes  raw;

	if (!content->active || content->header_seen || payload.size < 14)
	{
		session_lose(session, 0, "the broker sent an unexpected content header");
		return false;
	}
	raw = mq_bytes(payload.data + 12, payload.size - 12);
	content->header_seen = true;
	content->announced_bytes = big_endian(payload.data + 4, 8);
	if (!properties_valid(raw))
	{
		session_lose(session, 0, "the broker sent malformed properties");
		return false;
	}
	if (mq_buffer_append(&content->raw, raw.data, raw.size) != MQ_OK)
	{
		session_lose(session, 0, "out of memory");
		return false;
	}
	return content->announced_bytes == 0 && content_event(session, event);
}

static bool
on_body_frame(MqSession *session, MqBytes payload, MqEvent *event)
{
	Content *content = &session->content;

	if (!content->active || !content->header_seen ||
	    payload.size > content->announced_bytes - content->received_bytes)
	{
		session_lose(session, 0, "the broker sent an unexpected message body");
		return false;
	}
	content->received_bytes += payload.size;
	if (content->announced_bytes <= session->options.max_body_bytes &&
	    mq_buffer_append(&content->body, payload.data, payload.size) != MQ_OK)
	{
		session_lose(session, 0, "out of memory");
		return false;
	}
	return content->received_bytes == content->announced_bytes && content_event(session, event);
}

static bool
on_channel_close(MqSession *session, const amqp_channel_close_t *close, MqEvent *event)
{
	amqp_channel_close_ok_t ok = {0};

	session_put_method(session, CHANNEL, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok, NULL);
	session_enter(session, SESSION_NO_CHANNEL);
	session->requests = 0;
	session->request_since_us = 0;
	session->content.active = false;
	event->kind = MQ_EVENT_CHANNEL_CLOSED;
	event->method = (uint32_t) close->class_id << 16 | close->method_id;
	event->reply_code = close->reply_code;
	set_text(session, event, close->reply_text);
	return true;
}

static bool
on_connection_close(MqSession *session, const amqp_connection_close_t *close)
{
	amqp_connection_close_ok_t ok = {0};

	session_put_method(session, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok, NULL);
	stream_step(session->stream, 0, NULL);
	session_lose(session, close->reply_code, "the broker closed the connection: %.*s",
	             (int) (close->reply_text.len < 400 ? close->reply_text.len : 400),
	             close->reply_text.bytes == NULL ? "" : (const char *) close->reply_text.bytes);
	return false;
}

/* connection.* : channel 0. */
static bool
on_connection_method(MqSession *session, amqp_method_t *method, MqEvent *event)
{
	switch (method->id)
	{
	case AMQP_CONNECTION_START_METHOD:
		if (session->phase != SESSION_STARTING)
			break;
		login_on_start(session, method->decoded);
		return false;
	case AMQP_CONNECTION_TUNE_METHOD:
		if (session->phase != SESSION_TUNING)
			break;
		login_on_tune(session, method->decoded);
		return false;
	case AMQP_CONNECTION_OPEN_OK_METHOD:
		if (session->phase != SESSION_OPENING)
			break;
		if (login_open_channel(session, NULL) != MQ_OK)
			session_lose(session, 0, "could not open a channel");
		return false;
	case AMQP_CONNECTION_CLOSE_METHOD:
		return on_connection_close(session, method->decoded);
	case AMQP_CONNECTION_BLOCKED_METHOD:
		session->blocked = true;
		event->kind = MQ_EVENT_BLOCKED;
		set_text(session, event, ((amqp_connection_blocked_t *) method->decoded)->reason);
		return true;
	case AMQP_CONNECTION_UNBLOCKED_METHOD:
		session->blocked = false;
		event->kind = MQ_EVENT_UNBLOCKED;
		return true;
	}
	session_lose(session, 0, "the broker sent an unexpected %s", amqp_method_name(method->id));
	return false;
}

static bool
on_reply(MqSession *session, uint32_t id, MqEvent *event)
{
	if (session->requests > 0)
		session->requests--;
	session->request_since_us = 0;
	event->kind = MQ_EVENT_REPLY;
	event->method = id;
	return true;
}

static bool
on_confirm(MqEvent *event, MqEventKind kind, uint64_t tag, bool multiple)
{
	event->kind = kind;
	event->tag = tag;
	event->multiple = multiple;
	return true;
}

static bool
on_cancel(MqSession *session, const amqp_basic_cancel_t *cancel, MqEvent *event)
{
	if (!cancel->nowait)
	{
		amqp_basic_cancel_ok_t ok = {.consumer_tag = cancel->consumer_tag};

		session_put_method(session, CHANNEL, AMQP_BASIC_CANCEL_OK_METHOD, &ok, NULL);
	}
	event->kind = MQ_EVENT_CANCEL;
	return true;
}

static void
on_deliver(MqSession *session, const amqp_basic_deliver_t *deliver)
{
	begin_content(session, MQ_EVENT_DELIVER, deliver->exchange, deliver->routing_key);
	session->content.tag = deliver->delivery_tag;
	session->content.redelivered = deliver->redelivered;
	session->content.reply_code = 0;
	session->text[0] = '\0';
}

static void
on_return(MqSession *session, const amqp_basic_return_t *returned, MqEvent *event)
{
	begin_content(session, MQ_EVENT_RETURN, returned->exchange, returned->routing_key);
	session->content.tag = 0;
	session->content.redelivered = false;
	session->content.reply_code = returned->reply_code;
	set_text(session, event, returned->reply_text);
}

/* Methods of the channel while it is open. */
static bool
on_open_channel_method(MqSession *session, amqp_method_t *method, MqEvent *event)
{
	switch (method->id)
	{
	case AMQP_BASIC_ACK_METHOD:
	{
		const amqp_basic_ack_t *ack = method->decoded;

		return on_confirm(event, MQ_EVENT_ACK, ack->delivery_tag, ack->multiple);
	}
	case AMQP_BASIC_NACK_METHOD:
	{
		const amqp_basic_nack_t *nack = method->decoded;

		return on_confirm(event, MQ_EVENT_NACK, nack->delivery_tag, nack->multiple);
	}
	case AMQP_BASIC_RETURN_METHOD:
		on_return(session, method->decoded, event);
		return false;
	case AMQP_BASIC_DELIVER_METHOD:
		on_deliver(session, method->decoded);
		return false;
	case AMQP_BASIC_CANCEL_METHOD:
		return on_cancel(session, method->decoded, event);
	case AMQP_CHANNEL_FLOW_METHOD:
		session_put_method(session, CHANNEL, AMQP_CHANNEL_FLOW_OK_METHOD, method->decoded, NULL);
		return false;
	case MQ_QUEUE_DECLARE_OK:
	{
		const amqp_queue_declare_ok_t *ok = method->decoded;

		event->message_count = ok->message_count;
		event->consumer_count = ok->consumer_count;
		return on_reply(session, method->id, event);
	}
	case MQ_QUEUE_BIND_OK:
	case MQ_EXCHANGE_DECLARE_OK:
	case MQ_BASIC_QOS_OK:
	case MQ_BASIC_CONSUME_OK:
	case MQ_BASIC_CANCEL_OK:
	case MQ_CONFIRM_SELECT_OK:
		return on_reply(session, method->id, event);
	}
	session_lose(session, 0, "the broker sent an unexpected %s", amqp_method_name(method->id));
	return false;
}

static bool
on_channel_method(MqSession *session, amqp_method_t *method, MqEvent *event)
{
	if (method->id == AMQP_CHANNEL_CLOSE_METHOD)
		return on_channel_close(session, method->decoded, event);
	if (session->phase == SESSION_CHANNEL_OPENING && method->id == AMQP_CHANNEL_OPEN_OK_METHOD)
	{
		session_enter(session, SESSION_OPEN);
		session->requests = 0;
		session->request_since_us = 0;
		/* The login is over; a channel that is opened again later has the limit of requests. */
		session->login_limit_at_us = STREAM_NEVER;
		session->next_tag = 1;
		event->kind = MQ_EVENT_OPEN;
		return true;
	}
	if (session->phase == SESSION_OPEN)
		return on_open_channel_method(session, method, event);
	session_lose(session, 0, "the broker sent an unexpected %s", amqp_method_name(method->id));
	return false;
}

static bool
on_method_frame(MqSession *session, uint16_t channel, MqBytes payload, MqEvent *event)
{
	amqp_method_t method;
	int           result;

	if (payload.size < 4)
	{
		session_lose(session, 0, "the broker sent a method without an id");
		return false;
	}
	method.id = (amqp_method_number_t) big_endian(payload.data, 4);
	recycle_amqp_pool(&session->pool);
	result = amqp_decode_method(method.id, &session->pool,
	                            codec_bytes(mq_bytes(payload.data + 4, payload.size - 4)),
	                            &method.decoded);
	if (result < 0)
	{
		session_lose(session, 0, "the broker sent a malformed method: %s",
		             amqp_error_string2(result));
		return false;
	}
	if (channel == 0)
		return on_connection_method(session, &method, event);
	return on_channel_method(session, &method, event);
}

/* One whole frame; true: it made an event. */
static bool
on_frame(MqSession *session, int type, uint16_t channel, MqBytes payload, MqEvent *event)
{
	if (channel != 0 && channel != CHANNEL)
	{
		session_lose(session, 0, "the broker sent a frame for channel %u", (unsigned) channel);
		return false;
	}
	switch (type)
	{
	case AMQP_FRAME_METHOD:
		return on_method_frame(session, channel, payload, event);
	case AMQP_FRAME_HEADER:
		return on_header_frame(session, payload, event);
	case AMQP_FRAME_BODY:
		return on_body_frame(session, payload, event);
	case AMQP_FRAME_HEARTBEAT:
		return false;
	}
	session_lose(session, 0, "the broker sent a frame of unknown type %d", type);
	return false;
}

/* Cuts the next whole frame from the input: false if there is none. Between connecting and
 * connection.start anything may come: another protocol, or "AMQP" and the version it wants. */
static bool
cut_frame(MqSession *session, int *type, uint16_t *channel, MqBytes *payload)
{
	const char *data = session->input.data + session->input_used;
	size_t      available = session->input.size - session->input_used;
	uint64_t    size;

	if (available < FRAME_HEADER_BYTES)
		return false;
	if (session->phase == SESSION_STARTING && data[0] != AMQP_FRAME_METHOD)
	{
		session_lose(session, 0, "what listens there does not speak AMQP 0-9-1");
		return false;
	}
	size = big_endian(data + 3, 4);
	if (size > session->frame_max - FRAME_OVERHEAD_BYTES)
	{
		session_lose(session, 0, "the broker sent a frame that is too large");
		return false;
	}
	if (available < size + FRAME_OVERHEAD_BYTES)
		return false;
	if ((unsigned char) data[FRAME_HEADER_BYTES + size] != AMQP_FRAME_END)
	{
		session_lose(session, 0, "the broker sent a frame without an end");
		return false;
	}
	*type = (unsigned char) data[0];
	*channel = (uint16_t) big_endian(data + 1, 2);
	*payload = mq_bytes(data + FRAME_HEADER_BYTES, size);
	session->input_used += size + FRAME_OVERHEAD_BYTES;
	return true;
}

bool
mq_session_next(MqSession *session, MqEvent *event)
{
	int      type;
	uint16_t channel;
	MqBytes  payload;

	if (!session->content.active && session->content.body.capacity > KEEP_BODY_BYTES)
		mq_buffer_free(&session->content.body);
	while (session->phase != SESSION_CLOSED && cut_frame(session, &type, &channel, &payload))
	{
		bool was_lost = session->lost;

		*event = (MqEvent){.text = ""};
		if (on_frame(session, type, channel, payload, event))
			return true;
		/* A frame that ended the connection is the last one; after a plain end of the stream what
		 * had arrived before still counts. */
		if (session->lost && !was_lost)
			session->input_used = session->input.size;
	}
	if (!session->lost)
		return false;
	*event = (MqEvent){
		.kind = MQ_EVENT_LOST,
		.reply_code = session->lost_error.reply_code,
		.text = session->lost_error.text,
	};
	session->lost = false;
	session_enter(session, SESSION_CLOSED);
	return true;
}

/* ---- of an event ------------------------------------------------------------------------------ */

MqBytes
mq_event_content_encoding(const MqEvent *event)
{
	return properties_get(event->raw_properties, PROPERTY_CONTENT_ENCODING);
}

MqBytes
mq_event_message_id(const MqEvent *event)
{
	return properties_get(event->raw_properties, PROPERTY_MESSAGE_ID);
}

bool
mq_event_header_int64(const MqEvent *event, const char *name, int64_t *value)
{
	return properties_header_int64(event->raw_properties, name, value);
}
