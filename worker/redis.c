/*
 * redis.c
 *    See redis.h.
 */
#include "worker/redis.h"

#include "wire/backoff.h"
#include "wire/stream.h"
#include "worker/refusal.h"
#include "worker/resp.h"

#include <assert.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUTPUT_LIMIT_BYTES ((size_t) 2 * 1024 * 1024)
#define READ_BYTES ((size_t) 64 * 1024)
#define MAX_READS_PER_STEP 16 /* then others have their turn */
#define MAX_REPLY_BYTES ((size_t) 64 * 1024 * 1024)
#define FIRST_PAUSE_US ((int64_t) 100000)
#define LONGEST_PAUSE_US ((int64_t) 2000000)
#define FIRST_SETTINGS_PAUSE_US ((int64_t) 1000000)
#define LONGEST_SETTINGS_PAUSE_US ((int64_t) 30000000)

struct RedisLink
{
	RedisUrl     url;
	TlsContext  *certificates;
	RedisState   state;
	Stream      *stream;
	MqBuffer     input; /* read and not yet looked at, from input_at on */
	size_t       input_at;
	redisReader *reader;
	bool         reader_busy; /* it has a part of an answer, or more of them */
	redisReply  *reply;       /* handed out last */
	redisReply   integer;     /* that one, if the reader was not needed */

	int64_t answer_limit_us;
	size_t  unanswered;    /* commands */
	bool    ping_first;    /* the oldest of them is our own PING */
	bool    hello_asked;   /* and not answered */
	bool    hello_skipped; /* by the next login: this peer hung up on it */
	bool    announce_ready;
	bool    announce_lost;
	bool    has_last_words; /* lost_text is what the peer said before it hung up */
	char    lost_text[512];
	int64_t answer_due_us; /* of the oldest unanswered command */
	int64_t ping_due_us;
	int64_t retry_due_us;
	Backoff pause;          /* it may pass by itself */
	Backoff settings_pause; /* it will not */
};

static void
link_enter(RedisLink *link, RedisState state)
{
	assert(state == REDIS_WAITING || state == link->state + 1);
	link->state = state;
}

RedisLink *
redis_link_new(const RedisUrl *url, TlsContext *certificates, uint64_t seed)
{
	RedisLink *link = calloc(1, sizeof(*link));

	if (link == NULL)
		return NULL;
	link->url = *url;
	link->certificates = certificates;
	link->answer_limit_us = REDIS_ANSWER_LIMIT_US;
	link->integer.type = REDIS_REPLY_INTEGER;
	link->stream = stream_new(OUTPUT_LIMIT_BYTES);
	backoff_init(&link->pause, FIRST_PAUSE_US, LONGEST_PAUSE_US, seed);
	backoff_init(&link->settings_pause, FIRST_SETTINGS_PAUSE_US, LONGEST_SETTINGS_PAUSE_US, seed);
	if (link->stream != NULL)
		return link;
	redis_link_free(link);
	return NULL;
}

void
redis_link_renew(RedisLink *link, const RedisUrl *url, TlsContext *certificates)
{
	memcpy(link->url.password, url->password, sizeof(link->url.password));
	link->certificates = certificates;
	link->retry_due_us = 0;
}

void
redis_link_aim(RedisLink *link, const RedisHost *host, bool at_once)
{
	assert(link->state == REDIS_WAITING);
	memcpy(link->url.host, host->host, sizeof(link->url.host));
	link->url.port = host->port;
	if (at_once)
		link->retry_due_us = 0;
}

static void
forget_reply(RedisLink *link)
{
	if (link->reply != NULL && link->reply != &link->integer)
		freeReplyObject(link->reply);
	link->reply = NULL;
}

static void
forget_reader(RedisLink *link)
{
	forget_reply(link);
	if (link->reader != NULL)
		redisReaderFree(link->reader);
	link->reader = NULL;
	link->reader_busy = false;
	link->input.size = link->input_at = 0;
}

void
redis_link_free(RedisLink *link)
{
	if (link == NULL)
		return;
	forget_reader(link);
	mq_buffer_free(&link->input);
	stream_free(link->stream);
	explicit_bzero(&link->url, sizeof(link->url));
	free(link);
}

void
redis_link_drop(RedisLink *link, bool settings, int64_t now_us)
{
	stream_close(link->stream);
	forget_reader(link);
	link->unanswered = 0;
	link->ping_first = false;
	link->announce_ready = false;
	link->retry_due_us = now_us + backoff_next_us(settings ? &link->settings_pause : &link->pause);
	link_enter(link, REDIS_WAITING);
}

static void
link_lost(RedisLink *link, const char *text, bool settings, int64_t now_us)
{
	if (text != link->lost_text)
		snprintf(link->lost_text, sizeof(link->lost_text), "%s", text);
	link->announce_lost = true;
	redis_link_drop(link, settings, now_us);
}

static MqResult
put_commands(RedisLink *link, int64_t now_us, MqBytes commands, size_t count)
{
	MqResult result = stream_put(link->stream, commands.data, commands.size);

	if (result != MQ_OK)
		return result;
	if (link->unanswered == 0)
		link->answer_due_us = now_us + link->answer_limit_us;
	link->unanswered += count;
	return MQ_OK;
}

MqResult
redis_link_send(RedisLink *link, int64_t now_us, MqBytes commands, size_t count)
{
	if (link->state != REDIS_READY)
		return MQ_LOST;
	return put_commands(link, now_us, commands, count);
}

void
redis_link_limit_answers(RedisLink *link, int64_t limit_us)
{
	link->answer_limit_us = limit_us;
}

static MqResult
put_words(RedisLink *link, int64_t now_us, size_t count, const char *const *words)
{
	MqBuffer buffer = {0};
	MqBytes  bytes[3];
	MqResult result = MQ_NOMEM;

	for (size_t i = 0; i < count; i++)
		bytes[i] = mq_bytes_of(words[i]);
	if (resp_append_command(&buffer, bytes, count))
		result = put_commands(link, now_us, mq_bytes(buffer.data, buffer.size), 1);
	if (buffer.data != NULL)
		explicit_bzero(buffer.data, buffer.size); /* a password, maybe */
	mq_buffer_free(&buffer);
	return result;
}

static void
begin_login(RedisLink *link, int64_t now_us)
{
	const RedisUrl *url = &link->url;
	const char     *auth[] = {"AUTH", url->user, url->password};
	const char     *auth_default[] = {"AUTH", url->password};
	char            database[16];
	const char     *select[] = {"SELECT", database};
	const char     *hello[] = {"HELLO", "2"};
	const char     *ping[] = {"PING"};
	MqResult        result = MQ_OK;

	link_enter(link, REDIS_LOGIN);
	link->reader = redisReaderCreate();
	if (link->reader == NULL)
		result = MQ_NOMEM;
	snprintf(database, sizeof(database), "%d", url->database);
	if (result == MQ_OK && url->password[0] != '\0')
		result = url->user[0] != '\0' ? put_words(link, now_us, 3, auth)
		                              : put_words(link, now_us, 2, auth_default);
	if (result == MQ_OK && url->database != 0)
		result = put_words(link, now_us, 2, select);
	link->hello_asked = link->url.kind == REDIS_SERVER && !link->hello_skipped;
	link->hello_skipped = false;
	if (result == MQ_OK && link->hello_asked)
		result = put_words(link, now_us, 2, hello);
	if (result == MQ_OK)
		result = put_words(link, now_us, 1, ping);
	if (result != MQ_OK)
		link_lost(link, "out of memory", false, now_us);
}

static void
begin_connecting(RedisLink *link, int64_t now_us)
{
	MqError  error;
	MqResult result;

	link_enter(link, REDIS_CONNECTING);
	snprintf(link->lost_text, sizeof(link->lost_text), "connection closed");
	link->has_last_words = false;
	stream_set_tls(link->stream, link->url.tls ? link->certificates : NULL);
	if (link->url.path[0] != '\0')
		result = stream_connect_unix(link->stream, link->url.path, now_us, REDIS_CONNECT_LIMIT_US,
		                             &error);
	else
		result = stream_connect(link->stream, link->url.host, link->url.port, now_us,
		                        REDIS_CONNECT_LIMIT_US, &error);
	if (result != MQ_OK)
		link_lost(link, error.text, false, now_us);
}

static void
read_answers(RedisLink *link, int64_t now_us)
{
	char    buffer[READ_BYTES];
	MqError error;
	ssize_t n = 1;

	for (int i = 0; i < MAX_READS_PER_STEP && n > 0; i++)
	{
		n = stream_read(link->stream, buffer, sizeof(buffer), &error);
		if (n > 0 && mq_buffer_append(&link->input, buffer, (size_t) n) != MQ_OK)
		{
			link_lost(link, "out of memory", false, now_us);
			return;
		}
		if (n > 0 && (size_t) n < sizeof(buffer) && !stream_has_pending(link->stream))
			return;
	}
	/* What came before the end is still handed out: maybe it says why (too many clients). */
	if (n < 0 && !link->has_last_words)
		snprintf(link->lost_text, sizeof(link->lost_text), "%s", error.text);
}

/* Asks whether an idle peer is still there; a connection that was cut without a word would
 * otherwise be found by the next message only. */
static void
ping_idle(RedisLink *link, int64_t now_us)
{
	const char *ping[] = {"PING"};

	if (link->unanswered > 0 || now_us < link->ping_due_us)
		return;
	if (put_words(link, now_us, 1, ping) == MQ_OK)
		link->ping_first = true;
	link->ping_due_us = now_us + REDIS_IDLE_PING_US;
}

void
redis_link_step(RedisLink *link, int64_t now_us)
{
	MqError error;

	if (link->state == REDIS_WAITING && now_us >= link->retry_due_us && !link->announce_lost)
		begin_connecting(link, now_us);
	if (link->state == REDIS_WAITING)
		return;
	if (link->state == REDIS_READY)
		ping_idle(link, now_us);
	if (stream_state(link->stream) != STREAM_CLOSED &&
	    stream_step(link->stream, now_us, &error) != MQ_OK)
	{
		link_lost(link, link->has_last_words ? link->lost_text : error.text, false, now_us);
		return;
	}
	if (link->state == REDIS_CONNECTING && stream_state(link->stream) == STREAM_OPEN)
	{
		begin_login(link, now_us);
		if (link->state == REDIS_LOGIN && stream_step(link->stream, now_us, &error) != MQ_OK)
			link_lost(link, error.text, false, now_us);
	}
	if (link->state >= REDIS_LOGIN && stream_state(link->stream) == STREAM_OPEN)
		read_answers(link, now_us);
}

void
redis_link_flush(RedisLink *link, int64_t now_us)
{
	MqError error;

	if (link->state == REDIS_READY && stream_unsent(link->stream) > 0 &&
	    stream_step(link->stream, now_us, &error) != MQ_OK)
		link_lost(link, error.text, false, now_us);
}

/* HELLO answers with names and values. Why this server is not one for all keys; NULL: it is. */
static const char *
unfit_mode(const redisReply *reply)
{
	for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i + 1 < reply->elements; i += 2)
	{
		const redisReply *name = reply->element[i];
		const redisReply *value = reply->element[i + 1];

		if (name->type != REDIS_REPLY_STRING || strcmp(name->str, "mode") != 0 ||
		    value->type != REDIS_REPLY_STRING)
			continue;
		if (strcmp(value->str, "cluster") == 0)
			return "it is a node of a Redis Cluster, where others answer MOVED: use redis+cluster://";
		if (strcmp(value->str, "sentinel") == 0)
			return "it is a Sentinel, which holds no keys: use redis+sentinel://";
	}
	return NULL;
}

/* An error may be about HELLO, or the last words of a peer that hangs up (too many clients). */
static void
hello_answered(RedisLink *link, int64_t now_us)
{
	const char *unfit = unfit_mode(link->reply);

	link->hello_asked = false;
	if (unfit != NULL)
		link_lost(link, unfit, true, now_us);
	else if (link->reply->type == REDIS_REPLY_ERROR)
	{
		snprintf(link->lost_text, sizeof(link->lost_text), "%s", link->reply->str);
		link->has_last_words = true;
	}
}

/* During login every answer is ours. */
static void
login_answered(RedisLink *link, int64_t now_us)
{
	const redisReply *reply = link->reply;
	char              text[sizeof(link->lost_text)];

	if (link->hello_asked && link->unanswered == 1)
	{
		hello_answered(link, now_us);
		return;
	}
	if (reply->type == REDIS_REPLY_ERROR)
	{
		snprintf(text, sizeof(text), "%s", reply->str);
		refusal_unquote(text);
		link_lost(link, text, refusal_classify(text, strlen(text)) == DELETION_SETTINGS, now_us);
		return;
	}
	if (link->unanswered > 0)
		return;
	link_enter(link, REDIS_READY);
	link->has_last_words = false; /* it was about HELLO */
	link->announce_ready = true;
	link->ping_due_us = now_us + REDIS_IDLE_PING_US;
}

/* ":123\r\n" is what a cluster answers to every key: taken without the reader, which allocates for
 * each answer. false: something else, or not whole. */
static bool
take_integer(RedisLink *link)
{
	const char *at = link->input.data + link->input_at;
	const char *end = link->input.data + link->input.size;
	long long   value = 0;
	int         digits = 0;

	if (link->reader_busy || at == end || *at++ != ':')
		return false;
	for (; at < end && *at >= '0' && *at <= '9' && digits < 18; digits++)
		value = value * 10 + (*at++ - '0');
	if (digits == 0 || end - at < 2 || at[0] != '\r' || at[1] != '\n')
		return false;
	link->integer.integer = value;
	link->reply = &link->integer;
	link->input_at = (size_t) (at + 2 - link->input.data);
	return true;
}

/* Takes the next whole answer out of the input, if there is one. false: the connection is lost. */
static bool
parse_reply(RedisLink *link, int64_t now_us)
{
	size_t unread = link->input.size - link->input_at;
	void  *reply = NULL;

	if (take_integer(link))
		return true;
	if (unread > 0)
	{
		if (redisReaderFeed(link->reader, link->input.data + link->input_at, unread) != REDIS_OK)
		{
			link_lost(link, "out of memory", false, now_us);
			return false;
		}
		link->reader_busy = true;
	}
	link->input.size = link->input_at = 0;
	if (redisReaderGetReply(link->reader, &reply) != REDIS_OK)
	{
		link_lost(link, "the answer is not the Redis protocol", true, now_us);
		return false;
	}
	link->reply = reply;
	if (reply != NULL)
		link->reader_busy = link->reader->len > link->reader->pos;
	else if (link->reader->len - link->reader->pos > MAX_REPLY_BYTES)
	{
		link_lost(link, "an answer is larger than 64 MB", true, now_us);
		return false;
	}
	return true;
}

/* Takes the next whole answer into link->reply. false: there is none, or the connection is lost. */
static bool
next_reply(RedisLink *link, int64_t now_us)
{
	forget_reply(link);
	if (link->reader == NULL || !parse_reply(link, now_us))
		return false;
	if (link->reply == NULL)
	{
		if (stream_state(link->stream) == STREAM_CLOSED)
		{
			link->hello_skipped = link->hello_asked;
			link_lost(link, link->lost_text, false, now_us);
		}
		else if (link->unanswered > 0 && now_us >= link->answer_due_us)
			link_lost(link,
			          link->answer_limit_us == REDIS_ANSWER_LIMIT_US ? "no answer for 5 s"
			                                                         : "no answer in time",
			          false, now_us);
		return false;
	}
	link->answer_due_us = now_us + link->answer_limit_us;
	link->ping_due_us = now_us + REDIS_IDLE_PING_US;
	if (link->unanswered > 0)
		link->unanswered--;
	return true;
}

static bool
pending_announcement(RedisLink *link, RedisEvent *event)
{
	if (link->announce_lost)
	{
		link->announce_lost = false;
		*event = (RedisEvent){.kind = REDIS_EVENT_LOST, .text = link->lost_text};
		return true;
	}
	if (link->announce_ready)
	{
		link->announce_ready = false;
		*event = (RedisEvent){.kind = REDIS_EVENT_READY};
		return true;
	}
	return false;
}

bool
redis_link_next(RedisLink *link, int64_t now_us, RedisEvent *event)
{
	while (!pending_announcement(link, event))
	{
		if (!next_reply(link, now_us))
		{
			if (link->announce_lost)
				continue;
			return false;
		}
		if (link->state == REDIS_LOGIN)
			login_answered(link, now_us);
		else if (link->ping_first)
		{
			link->ping_first = false;
			if (link->reply->type == REDIS_REPLY_ERROR)
				link_lost(link, link->reply->str, false, now_us);
		}
		else
		{
			*event = (RedisEvent){.kind = REDIS_EVENT_REPLY, .reply = link->reply};
			return true;
		}
	}
	return true;
}

void
redis_link_worked(RedisLink *link)
{
	backoff_reset(&link->pause);
	backoff_reset(&link->settings_pause);
}

RedisState
redis_link_state(const RedisLink *link)
{
	return link->state;
}

int
redis_link_fd(const RedisLink *link)
{
	return stream_fd(link->stream);
}

unsigned
redis_link_wants(const RedisLink *link)
{
	return stream_wants(link->stream);
}

int64_t
redis_link_due_us(const RedisLink *link)
{
	int64_t due_us = stream_due_us(link->stream);
	int64_t own_us = link->ping_due_us;

	if (link->state == REDIS_WAITING)
		return link->announce_lost ? 0 : link->retry_due_us;
	if (link->state == REDIS_CONNECTING)
		return due_us;
	if (stream_has_pending(link->stream))
		return 0;
	if (link->unanswered > 0)
		own_us = link->answer_due_us;
	return own_us < due_us ? own_us : due_us;
}
