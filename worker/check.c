/*
 * check.c
 *    See check.h. Changes nothing: what is missing is looked for, not declared.
 */
#include "worker/check.h"

#include "wire/session.h"
#include "wire/stream.h"
#include "wire/topology.h"
#include "worker/await.h"
#include "worker/cache.h"

#include <stdio.h>

#define ANSWER_LIMIT_US ((int64_t) 60000000) /* beyond every limit of a session */

/* The broker's answer to a look at a queue or an exchange. false: the connection is lost. */
static bool
await_answer(MqSession *session, MqEvent *event)
{
	do
	{
		if (!await_event(session, event, ANSWER_LIMIT_US))
			*event = (MqEvent){.kind = MQ_EVENT_LOST, .text = "no answer"};
	} while (event->kind == MQ_EVENT_BLOCKED || event->kind == MQ_EVENT_UNBLOCKED);
	return event->kind != MQ_EVENT_LOST;
}

/* Takes the answer to a passive declaration; a failed one closes the channel, which is opened again.
 * true: nothing to complain of. */
static bool
take_look(MqSession *session, const WorkerConfig *config, const char *what, const char *name)
{
	MqEvent event;
	bool    missing;

	if (await_answer(session, &event) && event.kind == MQ_EVENT_REPLY)
	{
		if (event.method == MQ_QUEUE_DECLARE_OK)
			printf("%s %s: ok, %u messages\n", what, name, (unsigned) event.message_count);
		else
			printf("%s %s: ok\n", what, name);
		return true;
	}
	missing = event.kind == MQ_EVENT_CHANNEL_CLOSED && event.reply_code == 404;
	printf("%s %s: %s\n", what, name,
	       missing && !config->no_declare ? "not there yet, the worker will declare it"
	                                      : event.text);
	if (event.kind == MQ_EVENT_CHANNEL_CLOSED && mq_channel_reopen(session, NULL) == MQ_OK)
		await_answer(session, &event);
	return missing && !config->no_declare;
}

static bool
check_queue(MqSession *session, const WorkerConfig *config, const char *queue)
{
	MqError error;

	if (mq_queue_declare(session, mq_bytes_of(queue), true, NULL, 0, &error) == MQ_OK)
		return take_look(session, config, "queue", queue);
	printf("queue %s: %s\n", queue, error.text);
	return false;
}

/* --no-declare binds nothing, and so needs none. */
static bool
check_exchange(MqSession *session, const WorkerConfig *config)
{
	MqError error;

	if (config->exchange[0] == '\0' || config->no_declare)
		return true;
	if (mq_exchange_declare(session, mq_bytes_of(config->exchange), true, &error) == MQ_OK)
		return take_look(session, config, "exchange", config->exchange);
	printf("exchange %s: %s\n", config->exchange, error.text);
	return false;
}

/* On an open channel: everything that the worker uses. */
static bool
check_topology(MqSession *session, const WorkerConfig *config)
{
	char dead[sizeof(config->queue) + sizeof(MQ_DEAD_SUFFIX)];
	bool fine = check_queue(session, config, config->queue);

	snprintf(dead, sizeof(dead), "%s" MQ_DEAD_SUFFIX, config->queue);
	fine = check_queue(session, config, dead) && fine;
	return check_exchange(session, config) && fine;
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
	fine = fine && check_topology(session, config);
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
