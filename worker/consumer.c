/*
 * consumer.c
 *    See consumer.h.
 */
#include "worker/consumer.h"

#include "wire/backoff.h"
#include "wire/stream.h"
#include "worker/invalidation.h"
#include "worker/reconnect.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define CONSUMER_TAG "outbox-worker"

/* A body that is too large to be parsed can still be dead-lettered; larger than this (RabbitMQ's
 * default limit) it is not even kept. */
#define MAX_BODY_BYTES ((size_t) 128 * 1024 * 1024)

struct Consumer
{
	const WorkerConfig *config;
	ConsumerState       state;
	MqSession          *session;
	Topology            topology;
	Tags                tags;
	Reconnect           reconnect;
	char                broker[600];
	bool                reading;
	int64_t             ready_since_us; /* the channel */
	int64_t             queue_messages; /* at the last look; -1: none yet */

	MqEvent message; /* handed out last */
	bool    announce_lost;
	char    lost_text[512];
};

static void
consumer_enter(Consumer *consumer, ConsumerState state)
{
	static const unsigned next[] = {
		[CONSUMER_WAITING] = 1u << CONSUMER_CONNECTING,
		[CONSUMER_CONNECTING] = 1u << CONSUMER_DECLARING | 1u << CONSUMER_PAUSED,
		[CONSUMER_DECLARING] = 1u << CONSUMER_PAUSED,
		[CONSUMER_PAUSED] = 1u << CONSUMER_STARTING,
		[CONSUMER_STARTING] = 1u << CONSUMER_CONSUMING,
		[CONSUMER_CONSUMING] = 1u << CONSUMER_CANCELLING,
		[CONSUMER_CANCELLING] = 1u << CONSUMER_PAUSED,
	};

	assert(state == CONSUMER_WAITING || (next[consumer->state] & 1u << state) != 0);
	consumer->state = state;
}

Consumer *
consumer_new(const WorkerConfig *config, uint64_t seed)
{
	Consumer        *consumer = calloc(1, sizeof(*consumer));
	char             name[128];
	MqSessionOptions options = {.name = name, .max_body_bytes = MAX_BODY_BYTES};

	if (consumer == NULL)
		return NULL;
	snprintf(name, sizeof(name), "outbox-worker %.110s", config->name);
	consumer->config = config;
	consumer->reading = true;
	consumer->queue_messages = -1;
	consumer->session = mq_session_new(&options);
	reconnect_init(&consumer->reconnect, config->amqp_url_count, seed);
	strcpy(consumer->topology.queue, config->queue);
	strcpy(consumer->topology.exchange, config->exchange);
	consumer->topology.type = config->queue_type;
	mq_url_describe(&config->amqp_urls[0], consumer->broker, sizeof(consumer->broker));
	if (consumer->session != NULL)
		return consumer;
	consumer_free(consumer);
	return NULL;
}

void
consumer_free(Consumer *consumer)
{
	if (consumer == NULL)
		return;
	if (consumer->session != NULL)
		mq_session_close(consumer->session);
	mq_session_free(consumer->session);
	tags_free(&consumer->tags);
	free(consumer);
}

/* Gives the connection up; the broker will deliver everything again. */
static void
consumer_fail(Consumer *consumer, const char *text, bool settings, int64_t now_us)
{
	mq_session_close(consumer->session);
	tags_reset(&consumer->tags);
	snprintf(consumer->lost_text, sizeof(consumer->lost_text), "%s", text);
	consumer->announce_lost = true;
	consumer->reading = true;
	if (consumer->state >= CONSUMER_PAUSED)
		reconnect_lasted(&consumer->reconnect, now_us - consumer->ready_since_us);
	reconnect_failed(&consumer->reconnect, settings, now_us);
	consumer_enter(consumer, CONSUMER_WAITING);
}

static void
begin_connecting(Consumer *consumer, int64_t now_us)
{
	const MqUrl *url = &consumer->config->amqp_urls[reconnect_address(&consumer->reconnect)];
	MqError      error;

	mq_url_describe(url, consumer->broker, sizeof(consumer->broker));
	consumer_enter(consumer, CONSUMER_CONNECTING);
	mq_session_set_tls(consumer->session, consumer->config->amqp_certificates);
	if (mq_session_connect(consumer->session, url, now_us, &error) != MQ_OK)
		consumer_fail(consumer, error.text, false, now_us);
}

void
consumer_step(Consumer *consumer, int64_t now_us)
{
	if (consumer->state == CONSUMER_WAITING && !consumer->announce_lost &&
	    now_us >= reconnect_due_us(&consumer->reconnect))
		begin_connecting(consumer, now_us);
	mq_session_step(consumer->session, now_us);
}

void
consumer_hurry(Consumer *consumer)
{
	reconnect_hurry(&consumer->reconnect);
}

/* The channel is ready for consuming. */
static void
channel_is_ready(Consumer *consumer, int64_t now_us)
{
	consumer_enter(consumer, CONSUMER_PAUSED);
	consumer->ready_since_us = now_us;
	reconnect_reached(&consumer->reconnect);
}

static void
take_topology(Consumer *consumer, TopologyState state, const MqError *error, int64_t now_us)
{
	switch (state)
	{
	case TOPOLOGY_BUSY:
		break;
	case TOPOLOGY_READY:
		channel_is_ready(consumer, now_us);
		break;
	case TOPOLOGY_FAILED:
		consumer_fail(consumer, error->text, reconnect_is_refusal(error->reply_code, true), now_us);
		break;
	}
}

static void
channel_is_open(Consumer *consumer, int64_t now_us)
{
	MqError error = {0};

	if (consumer->config->no_declare)
	{
		channel_is_ready(consumer, now_us);
		return;
	}
	consumer_enter(consumer, CONSUMER_DECLARING);
	take_topology(consumer, topology_begin(&consumer->topology, consumer->session, &error), &error,
	              now_us);
}

static void
request_answered(Consumer *consumer, const MqEvent *reply)
{
	uint32_t method = reply->method;

	if (method == MQ_QUEUE_DECLARE_OK)
		consumer->queue_messages = reply->message_count;
	else if (consumer->state == CONSUMER_STARTING && method == MQ_BASIC_CONSUME_OK)
		consumer_enter(consumer, CONSUMER_CONSUMING);
	else if (consumer->state == CONSUMER_CANCELLING && method == MQ_BASIC_CANCEL_OK)
		consumer_enter(consumer, CONSUMER_PAUSED);
}

/* true: *event is for the owner. */
static bool
take_delivery(Consumer *consumer, ConsumerEvent *event, int64_t now_us)
{
	/* Of a connection that has ended: it will come again. */
	if (!mq_session_is_open(consumer->session))
		return false;
	*event = (ConsumerEvent){.kind = CONSUMER_EVENT_DELIVERY, .message = &consumer->message};
	if (tags_add(&consumer->tags, consumer->message.tag, &event->ref))
		return true;
	consumer_fail(consumer, "delivery tag out of order, or out of memory", false, now_us);
	return false;
}

/* RabbitMQ says only that the login was refused. */
static bool
is_guest_from_afar(const Consumer *consumer, const MqEvent *lost)
{
	const MqUrl *url = &consumer->config->amqp_urls[reconnect_address(&consumer->reconnect)];

	return consumer->state == CONSUMER_CONNECTING && lost->reply_code == 403 && !url->external &&
	       strcmp(url->user, "guest") == 0 && !reconnect_is_local(url->host);
}

static void
connection_lost(Consumer *consumer, const MqEvent *lost, int64_t now_us)
{
	char text[sizeof(consumer->lost_text)];

	snprintf(text, sizeof(text), "%.400s%s", lost->text,
	         is_guest_from_afar(consumer, lost)
	             ? " (guest may log in from the broker's own machine only)"
	             : "");
	consumer_fail(consumer, text, reconnect_is_refusal(lost->reply_code, false), now_us);
}

static bool
take_event(Consumer *consumer, ConsumerEvent *event, int64_t now_us)
{
	const MqEvent *message = &consumer->message;
	MqError        error = {0};

	switch (message->kind)
	{
	case MQ_EVENT_DELIVER:
		return take_delivery(consumer, event, now_us);
	case MQ_EVENT_LOST:
		connection_lost(consumer, message, now_us);
		return false;
	case MQ_EVENT_CANCEL:
		/* Its unacknowledged deliveries went with the queue: begin with everything anew. */
		consumer_fail(consumer, "the broker cancelled the consumer: the queue is gone or moved",
		              false, now_us);
		return false;
	case MQ_EVENT_OPEN:
	case MQ_EVENT_REPLY:
	case MQ_EVENT_CHANNEL_CLOSED:
		break;
	case MQ_EVENT_ACK:
	case MQ_EVENT_NACK:
	case MQ_EVENT_RETURN:
	case MQ_EVENT_BLOCKED: /* nothing is published here */
	case MQ_EVENT_UNBLOCKED:
		return false;
	}
	if (consumer->state == CONSUMER_DECLARING)
	{
		TopologyState state =
			topology_event(&consumer->topology, consumer->session, message, &error);

		take_topology(consumer, state, &error, now_us);
	}
	else if (message->kind == MQ_EVENT_CHANNEL_CLOSED)
		consumer_fail(consumer, message->text, reconnect_is_refusal(message->reply_code, false),
		              now_us);
	else if (message->kind == MQ_EVENT_OPEN && consumer->state == CONSUMER_CONNECTING)
		channel_is_open(consumer, now_us);
	else if (message->kind == MQ_EVENT_REPLY)
		request_answered(consumer, message);
	return false;
}

bool
consumer_next(Consumer *consumer, int64_t now_us, ConsumerEvent *event)
{
	while (!consumer->announce_lost)
	{
		if (!mq_session_next(consumer->session, &consumer->message))
			return false;
		if (take_event(consumer, event, now_us))
			return true;
	}
	consumer->announce_lost = false;
	*event = (ConsumerEvent){.kind = CONSUMER_EVENT_LOST, .text = consumer->lost_text};
	return true;
}

static void
begin_consuming(Consumer *consumer, int64_t now_us)
{
	MqError error;

	consumer_enter(consumer, CONSUMER_STARTING);
	if (mq_qos(consumer->session, consumer->config->prefetch, &error) != MQ_OK ||
	    mq_consume(consumer->session, mq_bytes_of(consumer->config->queue),
	               mq_bytes_of(CONSUMER_TAG), &error) != MQ_OK)
		consumer_fail(consumer, error.text, false, now_us);
}

void
consumer_want(Consumer *consumer, bool wanted, int64_t now_us)
{
	MqError error;

	/* The answer has to be read. And what was kept is worked off first: the prefetch counts anew
	 * for each consumer. */
	if (!consumer->reading || !mq_session_is_open(consumer->session))
		return;
	if (consumer->state == CONSUMER_PAUSED && wanted &&
	    tags_outstanding(&consumer->tags) < consumer->config->prefetch)
		begin_consuming(consumer, now_us);
	else if (consumer->state == CONSUMER_CONSUMING && !wanted)
	{
		consumer_enter(consumer, CONSUMER_CANCELLING);
		if (mq_cancel(consumer->session, mq_bytes_of(CONSUMER_TAG), &error) != MQ_OK)
			consumer_fail(consumer, error.text, false, now_us);
	}
}

void
consumer_set_reading(Consumer *consumer, bool reading)
{
	/* Before that there are answers to read, and no deliveries. */
	if (reading == consumer->reading || (!reading && consumer->state < CONSUMER_STARTING))
		return;
	consumer->reading = reading;
	mq_session_set_reading(consumer->session, reading);
}

void
consumer_done(Consumer *consumer, TagRef ref)
{
	tags_done(&consumer->tags, ref);
}

bool
consumer_can_ask_queue(const Consumer *consumer)
{
	return consumer->state == CONSUMER_CONSUMING || consumer->state == CONSUMER_PAUSED;
}

void
consumer_ask_queue(Consumer *consumer)
{
	/* A failure shows as the connection's loss. */
	if (consumer_can_ask_queue(consumer) && consumer->reading)
		mq_queue_declare(consumer->session, mq_bytes_of(consumer->config->queue), true, NULL, 0,
		                 NULL);
}

void
consumer_ack(Consumer *consumer)
{
	uint64_t tag;
	bool     multiple;

	/* A failure shows as the connection's loss. */
	while (tags_next_ack(&consumer->tags, &tag, &multiple))
		if (mq_ack(consumer->session, tag, multiple, NULL) != MQ_OK)
			return;
}

void
consumer_give_back(Consumer *consumer)
{
	uint64_t highest = tags_highest(&consumer->tags);

	if (highest == 0)
		return;
	mq_nack(consumer->session, highest, true, true, NULL);
	tags_reset(&consumer->tags);
}

ConsumerState
consumer_state(const Consumer *consumer)
{
	return consumer->state;
}

size_t
consumer_outstanding(const Consumer *consumer)
{
	return tags_outstanding(&consumer->tags);
}

int64_t
consumer_queue_messages(const Consumer *consumer)
{
	return consumer->queue_messages;
}

bool
consumer_is_cut(const Consumer *consumer)
{
	return consumer->announce_lost || !mq_session_is_open(consumer->session);
}

bool
consumer_is_quiet(const Consumer *consumer)
{
	return consumer->state < CONSUMER_STARTING &&
	       (consumer->state != CONSUMER_PAUSED || mq_session_unsent_bytes(consumer->session) == 0);
}

const char *
consumer_broker(const Consumer *consumer)
{
	return consumer->broker;
}

int
consumer_fd(const Consumer *consumer)
{
	return mq_session_fd(consumer->session);
}

unsigned
consumer_wants(const Consumer *consumer)
{
	return mq_session_wants(consumer->session);
}

int64_t
consumer_due_us(const Consumer *consumer)
{
	if (consumer->announce_lost)
		return 0;
	if (consumer->state == CONSUMER_WAITING)
		return reconnect_due_us(&consumer->reconnect);
	return mq_session_due_us(consumer->session);
}
