/*
 * sentinel.c
 *    See sentinel.h.
 */
#include "worker/sentinel.h"

#include "wire/stream.h"
#include "worker/polled.h"
#include "worker/redis.h"
#include "worker/refusal.h"
#include "worker/resp.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBLEM_BYTES 200
#define QUESTIONS 2

/* One Sentinel. */
typedef struct Voice
{
	RedisLink *link;
	bool       heard;      /* it has answered, or could not */
	int        unanswered; /* questions */
	RedisHost  master;     /* the first answer; port 0: it names none */
	int64_t    epoch;      /* this and the rest are of the second; 0: not told */
	int64_t    replicas;
	int64_t    down_after_us;
	int64_t    asked_us;
	char       problem[PROBLEM_BYTES];
} Voice;

struct Sentinel
{
	RedisUrl url;
	Claims   claims;
	Voice    voices[REDIS_MAX_HOSTS];
	MqBuffer questions[QUESTIONS];
	bool     all_heard; /* or waited for long enough */
	int64_t  begun_us;  /* 0: not yet */
};

/* One address, with Sentinel's own login. */
static RedisUrl
voice_url(const RedisUrl *url, int who)
{
	RedisUrl voice = {.kind = REDIS_SENTINEL, .tls = url->tls, .port = url->hosts[who].port};

	memcpy(voice.host, url->hosts[who].host, sizeof(voice.host));
	memcpy(voice.user, url->sentinel_user, sizeof(voice.user));
	memcpy(voice.password, url->sentinel_password, sizeof(voice.password));
	return voice;
}

static bool
write_questions(Sentinel *sentinel)
{
	static const char *const verbs[QUESTIONS] = {"GET-MASTER-ADDR-BY-NAME", "MASTER"};
	bool                     fine = true;

	for (int i = 0; fine && i < QUESTIONS; i++)
	{
		MqBytes words[] = {mq_bytes_of("SENTINEL"), mq_bytes_of(verbs[i]),
		                   mq_bytes_of(sentinel->url.master)};

		fine = resp_append_command(&sentinel->questions[i], words, 3);
	}
	return fine;
}

Sentinel *
sentinel_new(const RedisUrl *url, TlsContext *certificates, uint64_t seed)
{
	Sentinel *sentinel = calloc(1, sizeof(*sentinel));
	bool      fine;

	if (sentinel == NULL)
		return NULL;
	sentinel->url = *url;
	sentinel->claims.count = url->host_count;
	fine = write_questions(sentinel);
	for (int i = 0; fine && i < url->host_count; i++)
	{
		RedisUrl voice = voice_url(url, i);

		sentinel->voices[i].link = redis_link_new(&voice, certificates, seed + (uint64_t) i);
		fine = sentinel->voices[i].link != NULL;
		explicit_bzero(&voice, sizeof(voice));
	}
	if (fine)
		return sentinel;
	sentinel_free(sentinel);
	return NULL;
}

void
sentinel_free(Sentinel *sentinel)
{
	if (sentinel == NULL)
		return;
	for (int i = 0; i < sentinel->url.host_count; i++)
		redis_link_free(sentinel->voices[i].link);
	for (int i = 0; i < QUESTIONS; i++)
		mq_buffer_free(&sentinel->questions[i]);
	explicit_bzero(&sentinel->url, sizeof(sentinel->url));
	free(sentinel);
}

void
sentinel_renew(Sentinel *sentinel, const RedisUrl *url, TlsContext *certificates)
{
	for (int i = 0; i < sentinel->url.host_count; i++)
	{
		RedisUrl voice = voice_url(url, i);

		redis_link_renew(sentinel->voices[i].link, &voice, certificates);
		explicit_bzero(&voice, sizeof(voice));
	}
}

/* ---- what one says ---- */

/* It names no master. What it said before is still believed for a while if it is only away. */
static void
voice_failed(Sentinel *sentinel, int who, bool away, const char *reason)
{
	Voice *voice = &sentinel->voices[who];

	snprintf(voice->problem, sizeof(voice->problem), "%.*s", PROBLEM_BYTES - 1, reason);
	voice->heard = true;
	if (!away)
		claims_withdraw(&sentinel->claims, who);
}

/* Address and port; nil: it does not know the name. */
static void
take_address(Sentinel *sentinel, int who, const redisReply *reply)
{
	Voice *voice = &sentinel->voices[who];
	long   port;

	voice->master = (RedisHost){0};
	if (reply->type == REDIS_REPLY_NIL)
		voice_failed(sentinel, who, false, "does not know this name");
	else if (reply->type == REDIS_REPLY_ERROR)
	{
		char text[PROBLEM_BYTES];

		refusal_describe(text, sizeof(text), reply, "SENTINEL");
		voice_failed(sentinel, who, false, text);
	}
	else if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
	         reply->element[0]->type != REDIS_REPLY_STRING ||
	         reply->element[1]->type != REDIS_REPLY_STRING ||
	         reply->element[0]->len >= sizeof(voice->master.host) ||
	         (port = strtol(reply->element[1]->str, NULL, 10)) < 1 || port > UINT16_MAX)
		voice_failed(sentinel, who, false, "gives an answer that is no address");
	else
	{
		memcpy(voice->master.host, reply->element[0]->str, reply->element[0]->len + 1);
		voice->master.port = (uint16_t) port;
	}
}

/* Names and values, in turn. */
static void
take_state(Voice *voice, const redisReply *reply)
{
	voice->epoch = CLAIM_NO_EPOCH;
	voice->replicas = 0;
	voice->down_after_us = 0;
	if (reply->type != REDIS_REPLY_ARRAY)
		return;
	for (size_t i = 0; i + 1 < reply->elements; i += 2)
	{
		const redisReply *name = reply->element[i], *value = reply->element[i + 1];

		if (name->type != REDIS_REPLY_STRING || value->type != REDIS_REPLY_STRING)
			continue;
		if (strcmp(name->str, "config-epoch") == 0)
			voice->epoch = strtoll(value->str, NULL, 10);
		else if (strcmp(name->str, "num-slaves") == 0)
			voice->replicas = strtoll(value->str, NULL, 10);
		else if (strcmp(name->str, "down-after-milliseconds") == 0)
			voice->down_after_us = strtoll(value->str, NULL, 10) * 1000;
	}
}

static void
take_answer(Sentinel *sentinel, int who, const redisReply *reply, int64_t now_us)
{
	Voice *voice = &sentinel->voices[who];

	if (voice->unanswered == QUESTIONS)
		take_address(sentinel, who, reply);
	else
		take_state(voice, reply);
	if (--voice->unanswered > 0 || voice->master.port == 0)
		return;
	claims_say(&sentinel->claims, who, voice->master.host, voice->master.port, voice->epoch,
	           now_us);
	voice->heard = true;
	voice->problem[0] = '\0';
	redis_link_worked(voice->link);
}

static int64_t
ask_due_us(const Voice *voice, bool hurry)
{
	return voice->asked_us + (hurry ? SENTINEL_HURRY_US : SENTINEL_ASK_US);
}

static void
ask(Sentinel *sentinel, Voice *voice, bool hurry, int64_t now_us)
{
	if (redis_link_state(voice->link) != REDIS_READY || voice->unanswered > 0 ||
	    now_us < ask_due_us(voice, hurry))
		return;
	voice->asked_us = now_us;
	for (voice->unanswered = 0; voice->unanswered < QUESTIONS; voice->unanswered++)
	{
		const MqBuffer *question = &sentinel->questions[voice->unanswered];

		if (redis_link_send(voice->link, now_us, mq_bytes(question->data, question->size), 1) ==
		    MQ_OK)
			continue;
		/* Half a question would have its answers taken for one another. */
		redis_link_drop(voice->link, false, now_us);
		voice->unanswered = 0;
		return;
	}
	redis_link_flush(voice->link, now_us);
}

static bool
voice_step(Sentinel *sentinel, int who, bool hurry, int64_t now_us)
{
	Voice     *voice = &sentinel->voices[who];
	RedisEvent event;
	bool       busy = false;

	redis_link_step(voice->link, now_us);
	while (redis_link_next(voice->link, now_us, &event))
	{
		busy = true;
		switch (event.kind)
		{
		case REDIS_EVENT_READY:
			voice->unanswered = 0;
			voice->asked_us = now_us - SENTINEL_ASK_US; /* at once */
			break;
		case REDIS_EVENT_REPLY:
			take_answer(sentinel, who, event.reply, now_us);
			break;
		case REDIS_EVENT_LOST:
			voice->unanswered = 0;
			voice_failed(sentinel, who, true, event.text);
			break;
		case REDIS_EVENT_ROLE:
			break; /* of a Master alone */
		}
	}
	ask(sentinel, voice, hurry, now_us);
	return busy;
}

bool
sentinel_step(Sentinel *sentinel, bool hurry, int64_t now_us)
{
	bool busy = false, all = true;

	if (sentinel->begun_us == 0)
		sentinel->begun_us = now_us;
	for (int i = 0; i < sentinel->url.host_count; i++)
	{
		busy |= voice_step(sentinel, i, hurry, now_us);
		all &= sentinel->voices[i].heard;
	}
	sentinel->all_heard =
		sentinel->all_heard || all || now_us >= sentinel->begun_us + SENTINEL_FIRST_ROUND_US;
	return busy;
}

/* ---- what they say together ---- */

Claims *
sentinel_claims(Sentinel *sentinel)
{
	return sentinel->all_heard ? &sentinel->claims : NULL;
}

bool
sentinel_has_master(const Sentinel *sentinel)
{
	return sentinel->all_heard && sentinel->claims.chosen;
}

void
sentinel_describe(const Sentinel *sentinel, int who, char *out, size_t size)
{
	redis_host_describe(&sentinel->url.hosts[who], out, size);
}

void
sentinel_describe_problem(const Sentinel *sentinel, char *out, size_t size)
{
	size_t used =
		(size_t) snprintf(out, size, "no Sentinel names a master \"%.64s\"", sentinel->url.master);

	for (int i = 0; i < sentinel->url.host_count && used < size; i++)
	{
		const char *problem = sentinel->voices[i].problem;
		char        name[300];

		sentinel_describe(sentinel, i, name, sizeof(name));
		used += (size_t) snprintf(out + used, size - used, "%s%s %s", i == 0 ? ": " : "; ", name,
		                          problem[0] == '\0' ? "has not answered yet" : problem);
	}
}

int
sentinel_replicas(const Sentinel *sentinel)
{
	int64_t most = 0;

	for (int i = 0; i < sentinel->url.host_count; i++)
		if (sentinel->voices[i].replicas > most)
			most = sentinel->voices[i].replicas;
	return most > INT32_MAX ? INT32_MAX : (int) most;
}

int64_t
sentinel_down_after_us(const Sentinel *sentinel)
{
	int64_t longest = 0;

	for (int i = 0; i < sentinel->url.host_count; i++)
		if (sentinel->voices[i].down_after_us > longest)
			longest = sentinel->voices[i].down_after_us;
	return longest > 0 ? longest : SENTINEL_DOWN_AFTER_US;
}

size_t
sentinel_poll(const Sentinel *sentinel, struct pollfd *fds, size_t room)
{
	size_t count = 0;

	for (int i = 0; i < sentinel->url.host_count && count < room; i++)
		count += polled_add(&fds[count], redis_link_fd(sentinel->voices[i].link),
		                    redis_link_wants(sentinel->voices[i].link));
	return count;
}

int64_t
sentinel_due_us(const Sentinel *sentinel, bool hurry)
{
	int64_t due_us = STREAM_NEVER;

	if (!sentinel->all_heard)
		due_us = sentinel->begun_us + SENTINEL_FIRST_ROUND_US;
	for (int i = 0; i < sentinel->url.host_count; i++)
	{
		const Voice *voice = &sentinel->voices[i];
		int64_t      own_us = redis_link_due_us(voice->link);

		if (redis_link_state(voice->link) == REDIS_READY && voice->unanswered == 0 &&
		    ask_due_us(voice, hurry) < own_us)
			own_us = ask_due_us(voice, hurry);
		if (own_us < due_us)
			due_us = own_us;
	}
	return due_us;
}
