/*
 * latency.c
 *    How long after a commit its key is gone from Redis, measured by someone who stands at both ends.
 *
 *    latency commits COUNT   one change at a time: commit, then wait for the key to go. The clock
 *                            starts when the server has acknowledged the commit and stops when
 *                            Redis tells of the deletion (keyspace notification): no polling. A key
 *                            that goes before the acknowledgement is here counts as gone at once.
 *    latency bulk COUNT      one UPDATE of COUNT rows; stops when the last key is gone.
 *
 * Reads BENCH_PG (connection string) and BENCH_REDIS_PORT; needs the table and keys of bench/latency.
 * Prints one JSON object. Waits at most TIME_LIMIT_S for anything.
 */
#include "common.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define TIME_LIMIT_S 60
#define WARM_UP_COUNT 20
#define MAX_COUNT 1000000
#define MAX_PAUSE_US 4000 /* between changes, so that they do not march in step with anything */
#define LOOK_INTERVAL_US 500

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

static int64_t
measure_one(PGconn *postgres, redisContext *redis, redisContext *subscription, int id)
{
	char    key[64];
	char    sql[128];
	int64_t committed_us;

	snprintf(key, sizeof(key), "blog:%d", id);
	snprintf(sql, sizeof(sql), "UPDATE blogs SET author_id = author_id + 1 WHERE id = %d", id);
	freeReplyObject(checked(redis, redisCommand(redis, "SET %s 1", key)));
	run_sql(postgres, sql);
	committed_us = now_us();
	wait_deleted(subscription, key);
	return now_us() - committed_us;
}

static void
measure_commits(int count)
{
	PGconn       *postgres = connect_postgres();
	redisContext *redis = connect_redis();
	redisContext *subscription = connect_redis();
	int64_t      *times_us = calloc((size_t) count, sizeof(*times_us));

	if (times_us == NULL)
		fail("out of memory");
	freeReplyObject(checked(redis, redisCommand(redis, "CONFIG SET notify-keyspace-events Eg")));
	freeReplyObject(checked(subscription, redisCommand(subscription, "PSUBSCRIBE __keyevent@*__:del")));

	srandom(1);
	for (int i = -WARM_UP_COUNT; i < count; i++)
	{
		int64_t time_us = measure_one(postgres, redis, subscription, i + WARM_UP_COUNT + 1);

		if (i >= 0)
			times_us[i] = time_us;
		pause_us(random() % MAX_PAUSE_US);
	}
	sort_times(times_us, count);
	printf("{\"commits\": %d, \"median_ms\": %.3f, \"p90_ms\": %.3f, \"p99_ms\": %.3f, "
		   "\"max_ms\": %.3f}\n",
		   count, percentile_ms(times_us, count, 50), percentile_ms(times_us, count, 90),
		   percentile_ms(times_us, count, 99), percentile_ms(times_us, count, 100));
	free(times_us);
	redisFree(subscription);
	redisFree(redis);
	PQfinish(postgres);
}

static void
set_keys(redisContext *redis, int count)
{
	for (int id = 1; id <= count; id++)
		redisAppendCommand(redis, "SET blog:%d 1", id);
	for (int id = 1; id <= count; id++)
	{
		void *answer = NULL;

		if (redisGetReply(redis, &answer) != REDIS_OK)
			fail("Redis: %s", redis->errstr);
		freeReplyObject(checked(redis, answer));
	}
}

static void
measure_bulk(int count)
{
	PGconn       *postgres = connect_postgres();
	redisContext *redis = connect_redis();
	char          sql[128];
	int64_t       began_us, committed_us;

	freeReplyObject(checked(redis, redisCommand(redis, "CONFIG SET notify-keyspace-events %s", "")));
	set_keys(redis, count);
	if (redis_integer(redis, "DBSIZE") != count)
		fail("other keys are in the way");
	snprintf(sql, sizeof(sql), "UPDATE blogs SET author_id = author_id + 1 WHERE id <= %d", count);
	began_us = now_us();
	run_sql(postgres, sql);
	committed_us = now_us();
	while (redis_integer(redis, "DBSIZE") > 0)
	{
		if (now_us() - committed_us > (int64_t) TIME_LIMIT_S * 1000000)
			fail("keys are left after %d s", TIME_LIMIT_S);
		pause_us(LOOK_INTERVAL_US);
	}
	printf("{\"keys\": %d, \"update_s\": %.3f, \"gone_after_commit_s\": %.3f}\n", count,
		   (double) (committed_us - began_us) / 1e6, (double) (now_us() - committed_us) / 1e6);
	redisFree(redis);
	PQfinish(postgres);
}

int
main(int argc, char **argv)
{
	int count = argc == 3 ? atoi(argv[2]) : 0;

	if (count < 1 || count > MAX_COUNT)
		fail("usage: latency commits|bulk COUNT");
	if (strcmp(argv[1], "commits") == 0)
		measure_commits(count);
	else if (strcmp(argv[1], "bulk") == 0)
		measure_bulk(count);
	else
		fail("unknown measurement \"%s\"", argv[1]);
	return 0;
}
