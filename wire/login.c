/*
 * login.c
 *    From an open socket to an open channel: what we say, and what the broker must offer.
 *
 * Asks for RabbitMQ's extensions connection.blocked, basic.nack, consumer_cancel_notify and
 * publisher_confirms by their capabilities: without them the broker says nothing when it blocks or
 * when a queue goes away.
 */
#include "wire/session.h"

#include "wire/session_private.h"

/* The socket is open: say which protocol we speak. */
void
login_begin(MqSession *session)
{
	static const char header[8] = {'A', 'M', 'Q', 'P', 0, 0, 9, 1};

	if (stream_put(session->stream, header, sizeof(header)) != MQ_OK)
		session_lose(session, 0, "out of memory");
	session->sent_something = true;
	session_enter(session, SESSION_STARTING);
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

#define RESPONSE_BYTES (sizeof(((MqUrl *) NULL)->user) + sizeof(((MqUrl *) NULL)->password) + 2)

/* PLAIN: NUL, user, NUL, password. EXTERNAL: nothing, the broker takes the name from our certificate.
 * Returns its size. */
static size_t
make_response(const MqUrl *url, char response[RESPONSE_BYTES])
{
	size_t user_size = strlen(url->user);
	size_t password_size = strlen(url->password);

	if (url->external)
		return 0;
	response[0] = '\0';
	memcpy(response + 1, url->user, user_size);
	response[1 + user_size] = '\0';
	memcpy(response + 2 + user_size, url->password, password_size);
	return 2 + user_size + password_size;
}

void
login_on_start(MqSession *session, const amqp_connection_start_t *start)
{
	char                 response[RESPONSE_BYTES];
	const char          *mechanism = session->url.external ? "EXTERNAL" : "PLAIN";
	static const MqField capabilities[] = {
		{{"publisher_confirms", 18}, MQ_FIELD_BOOL, {.boolean = true}},
		{{"basic.nack", 10}, MQ_FIELD_BOOL, {.boolean = true}},
		{{"consumer_cancel_notify", 22}, MQ_FIELD_BOOL, {.boolean = true}},
		{{"connection.blocked", 18}, MQ_FIELD_BOOL, {.boolean = true}},
		{{"authentication_failure_close", 28}, MQ_FIELD_BOOL, {.boolean = true}},
	};
	MqField client[] = {
		mq_field_string("product", mq_bytes_of("pg_outbox")),
		mq_field_string("version", mq_bytes_of(OUTBOX_RELEASE)),
		mq_field_string("connection_name", mq_bytes_of(session->name)),
		{{"capabilities", 12},
	     MQ_FIELD_TABLE,
	     {.items = {capabilities, sizeof(capabilities) / sizeof(capabilities[0])}}},
	};
	amqp_connection_start_ok_t ok = {
		.mechanism = amqp_cstring_bytes(mechanism),
		.response = {.len = make_response(&session->url, response), .bytes = response},
		.locale = amqp_cstring_bytes("en_US"),
	};

	if (!lists_word(start->mechanisms, mechanism))
	{
		session_lose(session, 0, "the broker does not offer %s authentication", mechanism);
		return;
	}
	if (codec_table(&session->pool, client, sizeof(client) / sizeof(client[0]),
	                &ok.client_properties, NULL) != MQ_OK ||
	    session_put_method(session, 0, AMQP_CONNECTION_START_OK_METHOD, &ok, NULL) != MQ_OK)
		session_lose(session, 0, "could not send the login");
	explicit_bzero(response, sizeof(response));
	session_enter(session, SESSION_TUNING);
}

void
login_on_tune(MqSession *session, const amqp_connection_tune_t *tune)
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
	session_enter(session, SESSION_OPENING);
}

MqResult
login_open_channel(MqSession *session, MqError *error)
{
	amqp_channel_open_t open = {.out_of_band = amqp_empty_bytes};

	session_enter(session, SESSION_CHANNEL_OPENING);
	return session_put_method(session, CHANNEL, AMQP_CHANNEL_OPEN_METHOD, &open, error);
}

MqResult
mq_channel_reopen(MqSession *session, MqError *error)
{
	if (session->phase != SESSION_NO_CHANNEL)
		return mq_error_set(error, MQ_LOST, "the connection to the broker is gone");
	session->requests++;
	return login_open_channel(session, error);
}
