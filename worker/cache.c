/*
 * cache.c
 *    See cache.h.
 */
#include "worker/cache.h"

#include "wire/stream.h"
#include "worker/cluster.h"
#include "worker/master.h"
#include "worker/sentinel.h"

#include <stdio.h>
#include <stdlib.h>

struct Cache
{
	Deletion   *deletion;
	Cluster    *cluster; /* NULL: the rest counts */
	Master     *master;
	CacheHealth health;
	char        problem[CACHE_PROBLEM_BYTES];
	int64_t     now_us; /* of this turn */
};

static MqResult
send_command(void *context, int node, MqBytes commands, size_t count)
{
	const Cache *cache = context;

	return master_send(cache->master, cache->now_us, commands, count);
}

/* false: out of memory. */
static bool
open_connections(Cache *cache, const CacheOptions *options, DeletionOutput *output)
{
	if (options->url->kind == REDIS_CLUSTER)
	{
		cache->cluster = cluster_new(options->url, options->certificates, options->seed);
		if (cache->cluster != NULL)
			cluster_output(cache->cluster, output);
		return cache->cluster != NULL;
	}
	cache->master = master_new(options->url, options->certificates, options->seed);
	output->send_context = cache;
	output->send = send_command;
	return cache->master != NULL;
}

Cache *
cache_new(const CacheOptions *options)
{
	Cache         *cache = calloc(1, sizeof(*cache));
	DeletionOutput output = {.context = options->context, .deleted = options->deleted};

	if (cache == NULL)
		return NULL;
	if (!open_connections(cache, options, &output))
	{
		cache_free(cache);
		return NULL;
	}
	cache->deletion = deletion_new(output, options->key_prefix, options->second_delete_us);
	if (cache->deletion == NULL)
	{
		cache_free(cache);
		return NULL;
	}
	if (cache->cluster != NULL)
		cluster_serve(cache->cluster, cache->deletion);
	if (options->url->kind == REDIS_SENTINEL)
		deletion_keep_recent(cache->deletion, SENTINEL_DOWN_AFTER_US + MASTER_KEEP_US);
	return cache;
}

void
cache_free(Cache *cache)
{
	if (cache == NULL)
		return;
	cluster_free(cache->cluster);
	master_free(cache->master);
	deletion_free(cache->deletion);
	free(cache);
}

void
cache_renew(Cache *cache, const RedisUrl *url, TlsContext *certificates)
{
	if (cache->cluster != NULL)
		cluster_renew(cache->cluster, url, certificates);
	else
		master_renew(cache->master, url, certificates);
}

/* ---- keys and messages ---- */

bool
cache_add_key(Cache *cache, MqBytes key)
{
	return deletion_add_key(cache->deletion, key);
}

bool
cache_add_pattern(Cache *cache, MqBytes pattern)
{
	return deletion_add_pattern(cache->deletion, pattern);
}

bool
cache_close_ticket(Cache *cache, TagRef ref)
{
	return deletion_close_ticket(cache->deletion, ref);
}

bool
cache_next_done(Cache *cache, TagRef *ref)
{
	return deletion_next_done(cache->deletion, ref);
}

void
cache_forget(Cache *cache)
{
	deletion_forget(cache->deletion);
}

void
cache_hurry(Cache *cache)
{
	deletion_hurry(cache->deletion);
}

bool
cache_has_second(const Cache *cache)
{
	return deletion_has_second(cache->deletion) || deletion_has_again(cache->deletion);
}

size_t
cache_waiting_bytes(const Cache *cache)
{
	return deletion_waiting_bytes(cache->deletion);
}

const DeletionCounters *
cache_counters(const Cache *cache)
{
	return deletion_counters(cache->deletion);
}

/* ---- the connection ---- */

static void
cache_went(Cache *cache, const char *reason)
{
	deletion_lost(cache->deletion, DELETION_NODE);
	snprintf(cache->problem, sizeof(cache->problem), "%s", reason);
	cache->health = CACHE_AWAY;
}

static void
cache_came(Cache *cache)
{
	if (cache->health == CACHE_WORKS || deletion_is_troubled(cache->deletion, DELETION_NODE))
		return;
	master_worked(cache->master);
	cache->problem[0] = '\0';
	cache->health = CACHE_WORKS;
}

static void
take_reply(Cache *cache, const struct redisReply *reply)
{
	char            error[CACHE_PROBLEM_BYTES];
	DeletionVerdict verdict =
		deletion_reply(cache->deletion, DELETION_NODE, reply, cache->now_us, error);

	if (verdict == DELETION_DONE)
	{
		cache_came(cache);
		return;
	}
	master_drop(cache->master, verdict == DELETION_SETTINGS, cache->now_us);
	cache_went(cache, error);
}

bool
cache_step(Cache *cache, int64_t now_us)
{
	RedisEvent event;
	bool       busy;

	if (cache->cluster != NULL)
		return cluster_step(cache->cluster, now_us);
	cache->now_us = now_us;
	busy = master_step(cache->master, now_us);
	while (master_next(cache->master, now_us, &event))
	{
		busy = true;
		switch (event.kind)
		{
		case REDIS_EVENT_READY:
			cache_came(cache);
			break;
		case REDIS_EVENT_REPLY:
			take_reply(cache, event.reply);
			break;
		case REDIS_EVENT_ROLE:
			deletion_keep_recent(cache->deletion, event.keep_us);
			deletion_replicas(cache->deletion, DELETION_NODE, event.role, event.replicated, now_us);
			break;
		case REDIS_EVENT_LOST:
			cache_went(cache, event.text);
			break;
		}
	}
	return busy;
}

void
cache_send(Cache *cache, int64_t now_us)
{
	if (cache->cluster != NULL)
	{
		cluster_send(cache->cluster, now_us);
		return;
	}
	cache->now_us = now_us;
	if (!master_is_ready(cache->master))
		return;
	deletion_send(cache->deletion, DELETION_NODE, now_us);
	master_flush(cache->master, now_us);
}

CacheHealth
cache_health(const Cache *cache)
{
	return cache->cluster != NULL ? cluster_health(cache->cluster) : cache->health;
}

const char *
cache_problem(const Cache *cache)
{
	return cache->cluster != NULL ? cluster_problem(cache->cluster) : cache->problem;
}

const char *
cache_scan_problem(const Cache *cache)
{
	return cache->cluster != NULL ? cluster_scan_problem(cache->cluster)
	                              : deletion_scan_problem(cache->deletion);
}

const char *
cache_name(const Cache *cache)
{
	return cache->cluster != NULL ? cluster_name(cache->cluster) : master_name(cache->master);
}

size_t
cache_poll(const Cache *cache, struct pollfd *fds, size_t room)
{
	if (cache->cluster != NULL)
		return cluster_poll(cache->cluster, fds, room);
	return master_poll(cache->master, fds, room);
}

int64_t
cache_due_us(const Cache *cache)
{
	int64_t due_us, deletion_us;

	if (cache->cluster != NULL)
		return cluster_due_us(cache->cluster);
	due_us = master_due_us(cache->master);
	deletion_us = deletion_due_us(cache->deletion, DELETION_NODE);
	if (master_is_ready(cache->master) && deletion_us < due_us)
		return deletion_us;
	return due_us;
}
