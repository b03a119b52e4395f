/*
 * latency.c
 *    How long after a commit its key is gone from Redis, measured by someone who stands at both ends.
 *
 *    latency commits TABLE COUNT   one change at a time: commit, then wait for the key to go. The clock
 *                                  starts when the server has acknowledged the commit and stops when
 *                                  Redis tells of the deletion (keyspace notification): no polling.
 *                                  A key that goes before the acknowledgement is here is gone at once. With BENCH_PUBLISH=1 this program itself publishes the key
 *                                  then, with a confirm: the floor.
 *    latency bulk TABLE COUNT      one UPDATE of COUNT rows; stops when the last key is gone.
 *
 * Reads BENCH_PG (connection string), BENCH_REDIS_PORT, and BENCH_AMQP_PORT if it publishes; needs a table
 * like those of bench/recording.sql, whose key blog:<id> is watched. Single changes are of the rows from
 * single_rows() on, which writers.c leaves alone. Prints one JSON object. Waits at most TIME_LIMIT_S for
 * anything.
 */
#include "broker.h"
#include "common.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define TIME_LIMIT_S 30
#define WARM_UP_COUNT 20
#define MAX_COUNT 10000000
#define MAX_PAUSE_US 4000     /* between changes, so that they do not march in step with anything */
#define LOOK_INTERVAL_US 2000 /* a look costs Redis as much as some dozen keys */
#define SET_WINDOW 1000

static redisContext *
connect_redis(void)
{
	struct timeval limit = {.tv_sec = TIME_LIMIT_S};
	redisContext  *redis = redisConnect("127.0.0.1", atoi(need("BENCH_REDIS_PORT")));

	if (redis == NULL || redis->err)
		fail("Redis: %s", redis == NULL ? "out of memory" : redis->errstr);
	redisSetTimeout(redis, limit);
	return redis;
}

/* Dies of an error; the caller frees. */
static redisReply *
checked(redisContext *redis, redisReply *reply)
{
	if (reply == NULL)
		fail("Redis: %s", redis->errstr);
	if (reply->type == REDIS_REPLY_ERROR)
		fail("Redis: %s", reply->str);
	return reply;
}

static long long
redis_integer(redisContext *redis, const char *command)
{
	redisReply *reply = checked(redis, redisCommand(redis, command));
	long long   value = reply->integer;

	freeReplyObject(reply);
	return value;
}

/* Waits until the subscription tells that this key was deleted: [pmessage, pattern, channel, key]. */
static void
wait_deleted(redisContext *subscription, const char *key)
{
	bool found = false;

	while (!found)
	{
		void *answer = NULL;

		if (redisGetReply(subscription, &answer) != REDIS_OK)
			fail("key %s is not deleted: %s", key, subscription->errstr);
		redisReply *reply = checked(subscription, answer);

		found = reply->type == REDIS_REPLY_ARRAY && reply->elements == 4 &&
		        strcmp(reply->element[3]->str, key) == 0;
		freeReplyObject(reply);
	}
}

typedef struct Ends
{
	PGconn                 *postgres;
	redisContext           *redis, *subscription;
	amqp_connection_state_t broker; /* NULL: somebody else publishes */
	const char             *table;
	uint64_t                tags;
} Ends;

static void
publish_key(Ends *ends, const char *key)
{
	char body[128];
	int  size = snprintf(body, sizeof(body), "{\"keys\":[\"%s\"]}", key);

	broker_publish(ends->broker, body, (size_t) size);
	ends->tags++;
}

/* How long until the key was gone. */
typedef struct Span
{
	int64_t since_sent_us;      /* since the statement was sent: nothing can flatter this one */
	int64_t since_committed_us; /* since its commit was acknowledged */
} Span;

/* The confirm is taken last: the key may be gone before it is here. */
static Span
measure_one(Ends *ends, int id)
{
	char    key[64];
	char    sql[128];
	int64_t sent_us, committed_us, gone_us;

	snprintf(key, sizeof(key), "blog:%d", id);
	snprintf(sql, sizeof(sql), "UPDATE %s SET views = views + 1 WHERE id = %d", ends->table, id);
	freeReplyObject(checked(ends->redis, redisCommand(ends->redis, "SET %s 1", key)));
	sent_us = now_us();
	run_sql(ends->postgres, sql);
	committed_us = now_us();
	if (ends->broker != NULL)
		publish_key(ends, key);
	wait_deleted(ends->subscription, key);
	gone_us = now_us();
	if (ends->broker != NULL)
		broker_confirm_all(ends->broker, ends->tags, 1);
	return (Span){gone_us - sent_us, gone_us - committed_us};
}

/* Which events Redis tells of; none, as by default, once nobody listens: told of each deleted key, it
 * deletes a third as many. */
static void
set_notifications(redisContext *redis, const char *events)
{
	freeReplyObject(
		checked(redis, redisCommand(redis, "CONFIG SET notify-keyspace-events %s", events)));
}

static void
measure_commits(const char *table, int count)
{
	Ends  ends = {.postgres = connect_postgres(),
	              .redis = connect_redis(),
	              .subscription = connect_redis(),
	              .table = table};
	Span *spans = calloc((size_t) count, sizeof(*spans));

	if (spans == NULL)
		fail("out of memory");
	if (getenv("BENCH_PUBLISH") != NULL)
	{
		ends.broker = broker_connect();
		broker_confirms(ends.broker);
	}
	set_notifications(ends.redis, "Eg");
	freeReplyObject(checked(ends.subscription,
	                        redisCommand(ends.subscription, "PSUBSCRIBE __keyevent@*__:del")));

	srandom(1);
	for (int i = -WARM_UP_COUNT; i < count; i++)
	{
		int  id = single_rows() + (i + WARM_UP_COUNT) % (table_rows() / 10);
		Span span = measure_one(&ends, id);

		if (i >= 0)
			spans[i] = span;
		pause_us(random() % MAX_PAUSE_US);
	}
	printf("{\"times_us\": [");
	for (int i = 0; i < count; i++)
		printf("%s%" PRId64, i == 0 ? "" : ", ", spans[i].since_committed_us);
	printf("], \"since_sent_us\": [");
	for (int i = 0; i < count; i++)
		printf("%s%" PRId64, i == 0 ? "" : ", ", spans[i].since_sent_us);
	printf("]}\n");
	free(spans);
	set_notifications(ends.redis, "");
	if (ends.broker != NULL)
		broker_close(ends.broker);
	redisFree(ends.subscription);
	redisFree(ends.redis);
	PQfinish(ends.postgres);
}

static void
set_keys(redisContext *redis, int count)
{
	for (int id = 1; id <= count + SET_WINDOW; id++)
	{
		void *answer = NULL;

		if (id <= count)
			redisAppendCommand(redis, "SET blog:%d 1", id);
		if (id <= SET_WINDOW)
			continue;

		if (redisGetReply(redis, &answer) != REDIS_OK)
			fail("Redis: %s", redis->errstr);
		freeReplyObject(checked(redis, answer));
	}
}

static void
measure_bulk(const char *table, int count)
{
	PGconn       *postgres = connect_postgres();
	redisContext *redis = connect_redis();
	char          sql[128];
	int64_t       began_us, committed_us;

	set_keys(redis, count);
	if (redis_integer(redis, "DBSIZE") != count)
		fail("other keys are in the way");
	snprintf(sql, sizeof(sql), "UPDATE %s SET views = views + 1 WHERE id <= %d", table, count);
	began_us = now_us();
	run_sql(postgres, sql);
	committed_us = now_us();
	while (redis_integer(redis, "DBSIZE") > 0)
	{
		if (now_us() - committed_us > (int64_t) TIME_LIMIT_S * 1000000)
			fail("keys are left after %d s", TIME_LIMIT_S);
		pause_us(LOOK_INTERVAL_US);
	}
	printf("{\"keys\": %d, \"update_s\": %.6f, \"gone_after_commit_s\": %.6f}\n", count,
	       (double) (committed_us - began_us) / 1e6, (double) (now_us() - committed_us) / 1e6);
	redisFree(redis);
	PQfinish(postgres);
}

int
main(int argc, char **argv)
{
	const char *what = argc == 4 ? argv[1] : "";

	if (strcmp(what, "commits") == 0)
		measure_commits(argv[2], (int) number(argv[3], MAX_COUNT));
	else if (strcmp(what, "bulk") == 0)
		measure_bulk(argv[2], (int) number(argv[3], MAX_COUNT));
	else
		fail("usage: latency commits|bulk TABLE COUNT");
	return 0;
}
