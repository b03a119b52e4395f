/*
 * session.c
 *    The states of an AMQP connection: login, channel, frames in, heartbeats, time limits.
 *
 * Sources: AMQP 0-9-1 specification; RabbitMQ's extensions connection.blocked, basic.nack,
 * consumer_cancel_notify, publisher_confirms (their capabilities are asked for at login: without
 * them the broker says nothing when it blocks or when a queue goes away).
 */
#include "wire/session.h"

#include "wire/properties.h"
#include "wire/session_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LOGIN_LIMIT_US 10000000
#define REQUEST_LIMIT_US 30000000
#define DEFAULT_OUTPUT_LIMIT_BYTES (4 * 1024 * 1024)
#define INPUT_LIMIT_BYTES (512 * 1024) /* read, not yet decoded; holds three frames of any size */
#define READ_BYTES (64 * 1024)
#define KEEP_BODY_BYTES (1024 * 1024) /* larger buffers are given back after the event */
#define POOL_PAGE_BYTES 4096

static int64_t
min_us(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

MqSession *
mq_session_new(const MqSessionOptions *options)
{
	MqSession *session = calloc(1, sizeof(*session));
	size_t     limit = options->output_limit_bytes;

	if (session == NULL)
		return NULL;
	session->stream = stream_new(limit == 0 ? DEFAULT_OUTPUT_LIMIT_BYTES : limit);
	if (session->stream == NULL)
	{
		free(session);
		return NULL;
	}
	session->options = *options;
	snprintf(session->name, sizeof(session->name), "%s",
			 options->name == NULL ? "pg_outbox" : options->name);
	session->options.name = session->name;
	init_amqp_pool(&session->pool, POOL_PAGE_BYTES);
	return session;
}

void
mq_session_free(MqSession *session)
{
	if (session == NULL)
		return;
	stream_free(session->stream);
	empty_amqp_pool(&session->pool);
	mq_buffer_free(&session->input);
	mq_buffer_free(&session->scratch);
	mq_buffer_free(&session->content.raw);
	mq_buffer_free(&session->content.body);
	memset(&session->url, 0, sizeof(session->url));
	free(session);
}

void
session_lose(MqSession *session, int reply_code, const char *format, ...)
{
	char    text[sizeof(session->lost_error.text)];
	va_list arguments;

	if (!session->lost)
	{
		va_start(arguments, format);
		vsnprintf(text, sizeof(text), format, arguments);
		va_end(arguments);
		mq_error_set(&session->lost_error, MQ_LOST, "%s", text);
		session->lost_error.reply_code = reply_code;
		session->lost = true;
	}
	stream_close(session->stream);
}

MqResult
session_put_method(MqSession *session, uint16_t channel, amqp_method_number_t id, void *method,
				   MqError *error)
{
	MqResult result;

	if (stream_state(session->stream) != STREAM_OPEN)
		return mq_error_set(error, MQ_LOST, "no connection to the broker");
	session->scratch.size = 0;
	result = codec_append_method(&session->scratch, channel, id, method, error);
	if (result == MQ_OK)
		result = stream_put(session->stream, session->scratch.data, session->scratch.size);
	if (result == MQ_FULL)
	{
		/* Methods are small and answered: a peer that takes none of 4 MB is lost in all but name. */
		session_lose(session, 0, "the broker takes no data");
		return mq_error_set(error, MQ_LOST, "the broker takes no data");
	}
	if (result == MQ_OK)
		session->sent_something = true;
	return result;
}

/* ---- login ------------------------------------------------------------------------------------ */

static void
begin_phase(MqSession *session, SessionPhase phase)
{
	session->phase = phase;
}

void
mq_session_set_tls(MqSession *session, TlsContext *context)
{
	session->tls = context;
}

MqResult
mq_session_connect(MqSession *session, const MqUrl *url, int64_t now_us, MqError *error)
{
	MqResult result;

	if (url->tls && session->tls == NULL)
		return mq_error_set(error, MQ_INVALID, "amqps:// without certificates to verify it by");
	session->url = *url;
	stream_set_tls(session->stream, url->tls ? session->tls : NULL);
	session->input.size = session->input_used = 0;
	session->frame_max = FRAME_MAX_BYTES;
	session->heartbeat_us = 0;
	session->last_sent_us = session->last_received_us = now_us;
	session->login_limit_at_us = now_us + LOGIN_LIMIT_US;
	session->request_since_us = 0;
	session->requests = 0;
	session->reading = true;
	session->blocked = session->lost = session->sent_something = false;
	session->content.active = false;
	result = stream_connect(session->stream, url->host, url->port, now_us, LOGIN_LIMIT_US, error);
	begin_phase(session, result == MQ_OK ? SESSION_CONNECTING : SESSION_CLOSED);
	return result;
}

/* The socket is open: say which protocol we speak. */
static void
send_protocol_header(MqSession *session)
{
	static const char header[8] = {'A', 'M', 'Q', 'P', 0, 0, 9, 1};

	if (stream_put(session->stream, header, sizeof(header)) != MQ_OK)
		session_lose(session, 0, "out of memory");
	session->sent_something = true;
	begin_phase(session, SESSION_STARTING);
}

/* Is word one of those that text lists, separated by spaces? */
static bool
lists_word(amqp_bytes_t text, const char *word)
{
	const char *at = text.bytes;
	const char *end = at + text.len;
	size_t      size = strlen(word);

	while (at < end)
	{
		const char *space = memchr(at, ' ', (size_t) (end - at));
		const char *stop = space == NULL ? end : space;

		if ((size_t) (stop - at) == size && memcmp(at, word, size) == 0)
			return true;
		at = stop + 1;
	}
	return false;
}

static void
on_start(MqSession *session, const amqp_connection_start_t *start)
{
	static const MqField capabilities[] = {
		{{"publisher_confirms", 18}, MQ_FIELD_BOOL, {.boolean = true}},
		{{"basic.nack", 10}, MQ_FIELD_BOOL, {.boolean = true}},
		{{"consumer_cancel_notify", 22}, MQ_FIELD_BOOL, {.boolean = true}},
		{{"connection.blocked", 18}, MQ_FIELD_BOOL, {.boolean = true}},
		{{"authentication_failure_close", 28}, MQ_FIELD_BOOL, {.boolean = true}},
	};
	MqField client[] = {
		mq_field_string("product", mq_bytes_of("pg_outbox")),
		mq_field_string("version", mq_bytes_of(OUTBOX_VERSION)),
		mq_field_string("connection_name", mq_bytes_of(session->name)),
		{{"capabilities", 12},
		 MQ_FIELD_TABLE,
		 {.items = {capabilities, sizeof(capabilities) / sizeof(capabilities[0])}}},
	};
	char   response[sizeof(session->url.user) + sizeof(session->url.password) + 2];
	size_t user_size = strlen(session->url.user);
	size_t password_size = strlen(session->url.password);
	amqp_connection_start_ok_t ok = {
		.mechanism = amqp_cstring_bytes("PLAIN"),
		.response = {.len = 2 + user_size + password_size, .bytes = response},
		.locale = amqp_cstring_bytes("en_US"),
	};

	if (!lists_word(start->mechanisms, "PLAIN"))
	{
		session_lose(session, 0, "the broker does not offer PLAIN authentication");
		return;
	}
	response[0] = '\0';
	memcpy(response + 1, session->url.user, user_size);
	response[1 + user_size] = '\0';
	memcpy(response + 2 + user_size, session->url.password, password_size);
	if (codec_table(&session->pool, client, sizeof(client) / sizeof(client[0]),
					&ok.client_properties, NULL) != MQ_OK ||
		session_put_method(session, 0, AMQP_CONNECTION_START_OK_METHOD, &ok, NULL) != MQ_OK)
		session_lose(session, 0, "could not send the login");
	memset(response, 0, sizeof(response));
	begin_phase(session, SESSION_TUNING);
}

static void
on_tune(MqSession *session, const amqp_connection_tune_t *tune)
{
	int ours_s = session->url.heartbeat_s;
	int heartbeat_s = tune->heartbeat == 0 || (ours_s < tune->heartbeat) ? ours_s : tune->heartbeat;
	amqp_connection_tune_ok_t ok = {.channel_max = CHANNEL, .frame_max = FRAME_MAX_BYTES};
	amqp_connection_open_t    open = {
		   .virtual_host = amqp_cstring_bytes(session->url.vhost),
		   .capabilities = amqp_empty_bytes,
	};

	if (tune->frame_max != 0 && tune->frame_max < FRAME_MIN_BYTES)
	{
		session_lose(session, 0, "the broker asks for frames of %u bytes, fewer than AMQP allows",
					 (unsigned) tune->frame_max);
		return;
	}
	if (tune->frame_max != 0 && tune->frame_max < ok.frame_max)
		ok.frame_max = tune->frame_max;
	ok.heartbeat = (uint16_t) heartbeat_s;
	session->frame_max = ok.frame_max;
	session->heartbeat_us = (int64_t) heartbeat_s * 1000000;
	if (session_put_method(session, 0, AMQP_CONNECTION_TUNE_OK_METHOD, &ok, NULL) != MQ_OK ||
		session_put_method(session, 0, AMQP_CONNECTION_OPEN_METHOD, &open, NULL) != MQ_OK)
		session_lose(session, 0, "could not send the login");
	begin_phase(session, SESSION_OPENING);
}

static MqResult
open_channel(MqSession *session, MqError *error)
{
	amqp_channel_open_t open = {.out_of_band = amqp_empty_bytes};

	begin_phase(session, SESSION_CHANNEL_OPENING);
	return session_put_method(session, CHANNEL, AMQP_CHANNEL_OPEN_METHOD, &open, error);
}

MqResult
mq_channel_reopen(MqSession *session, MqError *error)
{
	if (session->phase != SESSION_NO_CHANNEL)
		return mq_error_set(error, MQ_LOST, "the connection to the broker is gone");
	session->requests++;
	return open_channel(session, error);
}

/* ---- frames in -------------------------------------------------------------------------------- */

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
	event->body = mq_bytes(content->body.data == NULL ? "" : content->body.data,
						   content->body.size);
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
	begin_phase(session, SESSION_NO_CHANNEL);
	session->requests = 0;
	session->request_since_us = 0;
	session->content.active = false;
	event->kind = MQ_EVENT_CHANNEL_CLOSED;
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
		on_start(session, method->decoded);
		return false;
	case AMQP_CONNECTION_TUNE_METHOD:
		if (session->phase != SESSION_TUNING)
			break;
		on_tune(session, method->decoded);
		return false;
	case AMQP_CONNECTION_OPEN_OK_METHOD:
		if (session->phase != SESSION_OPENING)
			break;
		if (open_channel(session, NULL) != MQ_OK)
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
		event->message_count = ((amqp_queue_declare_ok_t *) method->decoded)->message_count;
		return on_reply(session, method->id, event);
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
		begin_phase(session, SESSION_OPEN);
		session->requests = 0;
		session->request_since_us = 0;
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
	begin_phase(session, SESSION_CLOSED);
	return true;
}

/* ---- moving bytes ----------------------------------------------------------------------------- */

/* Reads what has arrived, up to INPUT_LIMIT_BYTES that are not decoded yet. */
static void
read_input(MqSession *session, int64_t now_us)
{
	MqError error = {0};

	if (session->input_used > 0)
	{
		session->input.size -= session->input_used;
		memmove(session->input.data, session->input.data + session->input_used,
				session->input.size);
		session->input_used = 0;
	}
	while (session->input.size < INPUT_LIMIT_BYTES)
	{
		ssize_t size;

		if (mq_buffer_reserve(&session->input, READ_BYTES) != MQ_OK)
		{
			session_lose(session, 0, "out of memory");
			return;
		}
		size = stream_read(session->stream, session->input.data + session->input.size, READ_BYTES,
						   &error);
		if (size > 0)
		{
			session->input.size += (size_t) size;
			session->last_received_us = now_us;
		}
		if (size < 0)
			session_lose(session, 0, "%s", error.text);
		if (size <= 0 || (size < READ_BYTES && !stream_has_pending(session->stream)))
			return;
	}
}

static void
check_limits(MqSession *session, int64_t now_us)
{
	if (session->phase < SESSION_OPEN && now_us >= session->login_limit_at_us)
		session_lose(session, 0, "the broker did not finish the login within %d s",
					 LOGIN_LIMIT_US / 1000000);
	else if (session->request_since_us != 0 &&
			 now_us >= session->request_since_us + REQUEST_LIMIT_US)
		session_lose(session, 0, "the broker did not answer a request within %d s",
					 REQUEST_LIMIT_US / 1000000);
	else if (session->heartbeat_us > 0 && session->reading &&
			 now_us >= session->last_received_us + 2 * session->heartbeat_us)
		session_lose(session, 0, "the broker was silent for two heartbeats");
}

static void
keep_time(MqSession *session, int64_t now_us)
{
	if (session->heartbeat_us > 0 && !session->sent_something &&
		now_us >= session->last_sent_us + session->heartbeat_us / 2)
	{
		session->scratch.size = 0;
		if (codec_append_heartbeat(&session->scratch) == MQ_OK)
			stream_put(session->stream, session->scratch.data, session->scratch.size);
		session->sent_something = true;
	}
	if (session->sent_something)
		session->last_sent_us = now_us;
	session->sent_something = false;
	if (session->requests == 0)
		session->request_since_us = 0;
	else if (session->request_since_us == 0 || session->blocked || !session->reading)
		session->request_since_us = now_us; /* the answer cannot come, or cannot be seen */
}

void
mq_session_step(MqSession *session, int64_t now_us)
{
	MqError error;

	if (session->phase == SESSION_CLOSED || session->lost)
		return;
	if (session->phase == SESSION_CONNECTING)
	{
		if (stream_step(session->stream, now_us, &error) != MQ_OK)
			session_lose(session, 0, "%s", error.text);
		else if (stream_state(session->stream) == STREAM_OPEN)
			send_protocol_header(session);
	}
	if (session->reading && !session->lost)
		read_input(session, now_us);
	if (!session->lost)
		keep_time(session, now_us);
	if (!session->lost && stream_step(session->stream, now_us, &error) != MQ_OK)
		session_lose(session, 0, "%s", error.text);
	if (!session->lost)
		check_limits(session, now_us);
}

void
mq_session_flush(MqSession *session)
{
	MqError error;

	if (session->phase > SESSION_CONNECTING && !session->lost &&
		stream_step(session->stream, 0, &error) != MQ_OK)
		session_lose(session, 0, "%s", error.text);
}

/* ---- what an owner asks ----------------------------------------------------------------------- */

bool
mq_session_is_open(const MqSession *session)
{
	return session->phase == SESSION_OPEN && !session->lost;
}

bool
mq_session_is_closed(const MqSession *session)
{
	return session->phase == SESSION_CLOSED;
}

bool
mq_session_is_blocked(const MqSession *session)
{
	return session->blocked;
}

int
mq_session_fd(const MqSession *session)
{
	return stream_fd(session->stream);
}

unsigned
mq_session_wants(const MqSession *session)
{
	unsigned wants = stream_wants(session->stream);

	return session->reading ? wants : wants & ~STREAM_WANT_READ;
}

size_t
mq_session_unsent_bytes(const MqSession *session)
{
	return stream_unsent(session->stream);
}

int64_t
mq_session_due_us(const MqSession *session)
{
	int64_t due = stream_due_us(session->stream);

	if (session->phase == SESSION_CLOSED)
		return STREAM_NEVER;
	/* Something waits to be taken by mq_session_next, or to be noticed by the next step. */
	if (session->lost || session->sent_something ||
		(session->reading && stream_has_pending(session->stream)) ||
		(session->requests > 0) != (session->request_since_us > 0))
		return 0;
	if (session->phase < SESSION_OPEN)
		due = min_us(due, session->login_limit_at_us);
	if (session->request_since_us != 0 && session->reading && !session->blocked)
		due = min_us(due, session->request_since_us + REQUEST_LIMIT_US);
	if (session->heartbeat_us > 0)
	{
		due = min_us(due, session->last_sent_us + session->heartbeat_us / 2);
		if (session->reading)
			due = min_us(due, session->last_received_us + 2 * session->heartbeat_us);
	}
	return due;
}

void
mq_session_set_reading(MqSession *session, bool reading)
{
	/* The silence while nobody read does not count. */
	if (reading && !session->reading)
		session->last_received_us = mq_clock_us();
	session->reading = reading;
}

void
mq_session_close(MqSession *session)
{
	amqp_connection_close_t close = {
		.reply_code = AMQP_REPLY_SUCCESS,
		.reply_text = amqp_cstring_bytes("goodbye"),
	};

	/* What does not fit into the socket now is not waited for: a blocked broker reads nothing. */
	if (session->phase >= SESSION_OPEN && !session->lost &&
		session_put_method(session, 0, AMQP_CONNECTION_CLOSE_METHOD, &close, NULL) == MQ_OK)
		stream_step(session->stream, 0, NULL);
	stream_close(session->stream);
	session->lost = false;
	begin_phase(session, SESSION_CLOSED);
}

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
