/*
 * check.c
 *    See check.h. Changes nothing: a missing queue is looked for, not declared.
 */
#include "worker/check.h"

#include "wire/session.h"
#include "wire/stream.h"
#include "worker/await.h"
#include "worker/cache.h"

#include <stdio.h>

#define ANSWER_LIMIT_US ((int64_t) 60000000) /* beyond every limit of a session */

/* Looks for a queue on an open channel. true: nothing to complain of. */
static bool
check_queue(MqSession *session, const WorkerConfig *config, const char *queue)
{
	MqEvent event;
	MqError error;

	if (mq_queue_declare(session, mq_bytes_of(queue), true, NULL, 0, &error) != MQ_OK)
	{
		printf("queue %s: %s\n", queue, error.text);
		return false;
	}
	do
	{
		if (!await_event(session, &event, ANSWER_LIMIT_US))
			event = (MqEvent){.kind = MQ_EVENT_LOST, .text = "no answer"};
	} while (event.kind == MQ_EVENT_BLOCKED || event.kind == MQ_EVENT_UNBLOCKED);
	if (event.kind == MQ_EVENT_REPLY)
	{
		printf("queue %s: ok, %u messages\n", queue, (unsigned) event.message_count);
		return true;
	}
	if (event.kind == MQ_EVENT_CHANNEL_CLOSED && event.reply_code == 404 && !config->no_declare)
	{
		printf("queue %s: not there yet, the worker will declare it\n", queue);
		return true;
	}
	printf("queue %s: %s\n", queue, event.text);
	return false;
}

/* Logs in at one address. true: a channel is open. */
static bool
check_address(MqSession *session, const MqUrl *url)
{
	char    name[600];
	MqEvent event;
	bool    open;

	mq_url_describe(url, name, sizeof(name));
	open = await_open(session, url, &event);
	printf("broker %s: %s\n", name, open ? "ok" : event.text);
	return open;
}

static bool
check_broker(const WorkerConfig *config)
{
	MqSessionOptions options = {.name = "outbox-worker --check"};
	MqSession       *session = mq_session_new(&options);
	bool             fine = false;

	if (session == NULL)
	{
		printf("broker: out of memory\n");
		return false;
	}
	mq_session_set_tls(session, config->amqp_certificates);
	for (int i = 0; i < config->amqp_url_count && !fine; i++)
		fine = check_address(session, &config->amqp_urls[i]);
	fine = fine && check_queue(session, config, config->queue);
	mq_session_close(session);
	mq_session_free(session);
	return fine;
}

/* Until it works, or says why not: every wait of a connection has a limit of its own. */
static bool
check_cache(const WorkerConfig *config, const RedisUrl *url)
{
	CacheOptions options = {
		.url = url, .certificates = config->redis_certificates, .key_prefix = "", .seed = 1};
	Cache *cache = cache_new(&options);
	bool   works;

	if (cache == NULL)
	{
		printf("redis: out of memory\n");
		return false;
	}
	cache_step(cache, mq_clock_us());
	while (cache_health(cache) != CACHE_WORKS && cache_problem(cache)[0] == '\0')
	{
		struct pollfd fds[CACHE_MAX_FDS];

		await_polled(fds, cache_poll(cache, fds, CACHE_MAX_FDS), cache_due_us(cache));
		cache_step(cache, mq_clock_us());
	}
	works = cache_health(cache) == CACHE_WORKS;
	printf("redis %s: %s\n", cache_name(cache), works ? "ok" : cache_problem(cache));
	cache_free(cache);
	return works;
}

static bool
check_redis(const WorkerConfig *config)
{
	bool fine = true;

	for (int i = 0; i < config->redis_url_count; i++)
		fine = check_cache(config, &config->redis_urls[i]) && fine;
	return fine;
}

int
check_run(const WorkerConfig *config)
{
	bool broker = check_broker(config);
	bool redis = check_redis(config);

	return broker && redis ? 0 : 1;
}
