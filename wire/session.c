/*
 * session.c
 *    The life of an AMQP connection: connecting, bytes in and out, heartbeats, time limits.
 *
 * login.c opens the channel, frames.c makes events of what arrives, requests.c sends.
 * Source: AMQP 0-9-1 specification.
 */
#include "wire/session.h"

#include "wire/session_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LOGIN_LIMIT_US 10000000
#define REQUEST_LIMIT_US 30000000
#define DEFAULT_OUTPUT_LIMIT_BYTES (4 * 1024 * 1024)
#define INPUT_LIMIT_BYTES (256 * 1024) /* read, not yet decoded */
#define READ_BYTES (64 * 1024)
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
session_put(MqSession *session, MqError *error)
{
	MqResult result = stream_put(session->stream, session->scratch.data, session->scratch.size);

	if (result == MQ_OK)
		session->sent_something = true;
	else
		mq_error_set(error, result,
		             result == MQ_FULL ? "the output buffer is full"
		                               : "could not buffer what is to be sent");
	return result;
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
		result = session_put(session, error);
	if (result == MQ_FULL)
	{
		/* Methods are small and answered: a peer that takes none of 4 MB is lost in all but name. */
		session_lose(session, 0, "the broker takes no data");
		return mq_error_set(error, MQ_LOST, "the broker takes no data");
	}
	return result;
}

void
session_enter(MqSession *session, SessionPhase phase)
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
	session_enter(session, result == MQ_OK ? SESSION_CONNECTING : SESSION_CLOSED);
	return result;
}

/* ---- moving bytes ----------------------------------------------------------------------------- */

/* Reads what has arrived, up to INPUT_LIMIT_BYTES that are not decoded yet. While a whole frame of any
 * size is there, the owner has enough to do: what is left would be moved again and again. */
static void
read_input(MqSession *session, int64_t now_us)
{
	MqError error = {0};
	size_t  left = session->input.size - session->input_used;

	if (left >= FRAME_MAX_BYTES)
		return;
	if (session->input_used > 0)
	{
		memmove(session->input.data, session->input.data + session->input_used, left);
		session->input.size = left;
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
			login_begin(session);
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
	session_enter(session, SESSION_CLOSED);
}
