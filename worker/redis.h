/*
 * redis.h
 *    One connection to one Redis, never blocking; hiredis serves as codec only.
 *
 * States: WAITING -> CONNECTING -> LOGIN -> READY -> WAITING. Login is AUTH and SELECT where the
 * URL asks for them, then PING, so that a Redis that is still LOADING is not taken for ready. With a
 * URL of a single server HELLO in between: a node of a cluster has a part of the keys only, and says so
 * of single keys, but not when it is asked for all that match a pattern; and a Sentinel answers PING like
 * any other. Who refuses HELLO, or hangs up on it (an old Redis, a proxy, an ACL), is not asked.
 *
 * After a time limit, a broken answer or a refusal the connection is closed and never used again: a
 * late answer would be taken for that of the next command. The next try comes after a pause, short
 * where the trouble may pass by itself, long where somebody has to change something.
 *
 * Limits: connecting (TLS included) 5 s, every answer 5 s; an idle connection is asked with PING each 30 s.
 */
#ifndef WORKER_REDIS_H
#define WORKER_REDIS_H

#include "wire/error.h"
#include "wire/tls.h"
#include "wire/url.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redisReply; /* hiredis */

#define REDIS_CONNECT_LIMIT_US ((int64_t) 5000000)
#define REDIS_ANSWER_LIMIT_US ((int64_t) 5000000)
#define REDIS_IDLE_PING_US ((int64_t) 30000000)

typedef struct RedisLink RedisLink;

typedef enum RedisState
{
	REDIS_WAITING,    /* next: CONNECTING */
	REDIS_CONNECTING, /* next: LOGIN, WAITING */
	REDIS_LOGIN,      /* next: READY, WAITING */
	REDIS_READY       /* next: WAITING */
} RedisState;

typedef enum RedisEventKind
{
	REDIS_EVENT_READY, /* logged in */
	REDIS_EVENT_REPLY, /* the answer to the oldest unanswered command */
	REDIS_EVENT_ROLE,  /* of a Master alone (master.h): how far its replicas are */
	REDIS_EVENT_LOST   /* or could not be reached: text says why */
} RedisEventKind;

typedef struct RedisEvent
{
	RedisEventKind           kind;
	const struct redisReply *reply; /* until the next call with this link */
	const char              *text;  /* LOST: one line, without password */

	const struct Role *role;       /* ROLE: all that was answered before is below its offset */
	bool               replicated; /* every replica is counted in it */
	int64_t            keep_us;    /* how long what is not replicated may matter */
} RedisEvent;

/* url: copied. certificates: for rediss://, borrowed. seed: see backoff.h. Begins to connect at the
 * first step. NULL: out of memory. */
RedisLink *redis_link_new(const RedisUrl *url, TlsContext *certificates, uint64_t seed);
void       redis_link_free(RedisLink *link);

/* Connections to come log in with the password of this URL and use these certificates; if it waits,
 * it tries again at once. */
void redis_link_renew(RedisLink *link, const RedisUrl *url, TlsContext *certificates);

/* Connections to come go to this host; it must wait. at_once: it has not been tried yet, so no pause. */
void redis_link_aim(RedisLink *link, const RedisHost *host, bool at_once);

/* Moves bytes and looks at time limits. What happened comes out of redis_link_next. */
void redis_link_step(RedisLink *link, int64_t now_us);

/* Writes what redis_link_send appended, without reading. */
void redis_link_flush(RedisLink *link, int64_t now_us);

/* The next event; false: none is waiting. */
bool redis_link_next(RedisLink *link, int64_t now_us, RedisEvent *event);

/* Answers are waited for so long, in place of REDIS_ANSWER_LIMIT_US. */
void redis_link_limit_answers(RedisLink *link, int64_t limit_us);

/* Appends commands, whole and in Redis' protocol. MQ_OK; MQ_FULL: later; MQ_LOST: not READY; MQ_NOMEM. */
MqResult redis_link_send(RedisLink *link, int64_t now_us, MqBytes commands, size_t count);

/* Gives this connection up (REDIS_EVENT_LOST does not follow). settings: the long pause. */
void redis_link_drop(RedisLink *link, bool settings, int64_t now_us);

/* It does its work: the next pause is the first again. */
void redis_link_worked(RedisLink *link);

RedisState redis_link_state(const RedisLink *link);
int        redis_link_fd(const RedisLink *link);
unsigned   redis_link_wants(const RedisLink *link); /* STREAM_WANT_* */
int64_t    redis_link_due_us(const RedisLink *link);

#endif
