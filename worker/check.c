/*
 * check.c
 *    See check.h. Changes nothing: a missing queue is looked for, not declared.
 */
#include "worker/check.h"

#include "wire/session.h"
#include "wire/stream.h"
#include "worker/await.h"
#include "worker/redis.h"

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

static bool
check_redis(const WorkerConfig *config)
{
	RedisLink *link = redis_link_new(&config->redis_url, config->redis_certificates, 1);
	char       name[600];
	RedisEvent event;
	bool       ready;

	redis_url_describe(&config->redis_url, name, sizeof(name));
	if (link == NULL)
	{
		printf("redis %s: out of memory\n", name);
		return false;
	}
	redis_link_step(link, mq_clock_us());
	while (!redis_link_next(link, mq_clock_us(), &event))
	{
		await_socket(redis_link_fd(link), redis_link_wants(link),
					 redis_link_due_us(link));
		redis_link_step(link, mq_clock_us());
	}
	ready = event.kind == REDIS_EVENT_READY;
	printf("redis %s: %s\n", name, ready ? "ok" : event.text);
	redis_link_free(link);
	return ready;
}

int
check_run(const WorkerConfig *config)
{
	bool broker = check_broker(config);
	bool redis = check_redis(config);

	return broker && redis ? 0 : 1;
}
