/*
 * broker.c
 *    From a session's events to the publisher's.
 */
#include "relay/broker.h"

#include "wire/session.h"
#include "wire/stream.h"
#include "wire/topology.h"

#include <stdio.h>
#include <stdlib.h>

typedef enum BrokerPhase
{
	BROKER_CLOSED,     /* next: CONNECTING */
	BROKER_CONNECTING, /* next: DECLARING, SELECTING, CLOSED */
	BROKER_DECLARING,  /* next: SELECTING, CLOSED */
	BROKER_SELECTING,  /* next: READY, CLOSED */
	BROKER_READY,      /* next: REOPENING, CLOSED */
	BROKER_REOPENING   /* the channel was closed; next: SELECTING, CLOSED */
} BrokerPhase;

struct Broker
{
	BrokerOptions options;
	MqSession    *session;
	Publisher    *publisher;
	Topology      topology;
	BrokerPhase   phase;
	int           url; /* in use */
	char          address[600];
};

Broker *
broker_new(const BrokerOptions *options)
{
	Broker          *broker = calloc(1, sizeof(*broker));
	MqSessionOptions session = {.name = options->name};

	if (broker == NULL)
		return NULL;
	broker->options = *options;
	broker->url = options->url_count - 1;
	broker->session = mq_session_new(&session);
	if (broker->session == NULL)
	{
		free(broker);
		return NULL;
	}
	mq_session_set_tls(broker->session, options->tls);
	return broker;
}

void
broker_free(Broker *broker)
{
	if (broker == NULL)
		return;
	mq_session_close(broker->session);
	mq_session_free(broker->session);
	tls_context_free(broker->options.tls);
	free(broker);
}

void
broker_set_publisher(Broker *broker, Publisher *publisher)
{
	broker->publisher = publisher;
}

/* The connection has failed: tells the publisher, who waits and connects again. */
static void
fail(Broker *broker, const char *reason, int64_t now_us)
{
	mq_session_close(broker->session);
	broker->phase = BROKER_CLOSED;
	publisher_on_lost(broker->publisher, reason, now_us);
}

/* ---- the transport ---------------------------------------------------------------------------- */

static void
transport_connect(void *context, int64_t now_us)
{
	Broker *broker = context;
	MqError error = {0};

	broker->url = (broker->url + 1) % broker->options.url_count;
	mq_url_describe(&broker->options.urls[broker->url], broker->address, sizeof(broker->address));
	broker->phase = BROKER_CONNECTING;
	if (mq_session_connect(broker->session, &broker->options.urls[broker->url], now_us, &error) !=
		MQ_OK)
		fail(broker, error.text, now_us);
}

static void
transport_reopen(void *context)
{
	Broker *broker = context;

	/* If this fails the session is lost, and says so by an event. */
	broker->phase = BROKER_REOPENING;
	mq_channel_reopen(broker->session, NULL);
}

static MqResult
transport_send(void *context, const OutMessage *message, uint64_t *tag, MqError *error)
{
	Broker *broker = context;

	return mq_publish_encoded(broker->session, message->exchange, message->routing_key,
							  message->raw_properties, message->body, tag, error);
}

static void
transport_disconnect(void *context)
{
	Broker *broker = context;

	mq_session_close(broker->session);
	broker->phase = BROKER_CLOSED;
}

PublisherTransport
broker_transport(Broker *broker)
{
	return (PublisherTransport){
		.context = broker,
		.connect = transport_connect,
		.reopen = transport_reopen,
		.send = transport_send,
		.disconnect = transport_disconnect,
	};
}

MqResult
broker_encode(void *context, const MqProperties *properties, MqBuffer *raw, MqError *error)
{
	(void) context;
	return mq_properties_encode(properties, raw, error);
}

/* ---- events ----------------------------------------------------------------------------------- */

static void
select_confirms(Broker *broker, int64_t now_us)
{
	MqError error;

	broker->phase = BROKER_SELECTING;
	if (mq_confirm_select(broker->session, &error) != MQ_OK)
		fail(broker, error.text, now_us);
}

static void
on_topology(Broker *broker, TopologyState state, const MqError *error, int64_t now_us)
{
	switch (state)
	{
	case TOPOLOGY_BUSY:
		return;
	case TOPOLOGY_READY:
		select_confirms(broker, now_us);
		return;
	case TOPOLOGY_FAILED:
		fail(broker, error->text, now_us);
		return;
	}
}

/* The first channel of a connection is open. */
static void
on_connected(Broker *broker, int64_t now_us)
{
	MqError error = {0};

	if (!broker->options.declare)
	{
		select_confirms(broker, now_us);
		return;
	}
	broker->phase = BROKER_DECLARING;
	snprintf(broker->topology.queue, sizeof(broker->topology.queue), "%s", broker->options.queue);
	snprintf(broker->topology.exchange, sizeof(broker->topology.exchange), "%s",
			 broker->options.exchange);
	broker->topology.type = broker->options.quorum ? QUEUE_QUORUM : QUEUE_CLASSIC;
	on_topology(broker, topology_begin(&broker->topology, broker->session, &error), &error, now_us);
}

static void
on_return(Broker *broker, const MqEvent *event, int64_t now_us)
{
	int64_t first_id, last_id, part;

	if (mq_event_header_int64(event, "x-outbox-first-id", &first_id) &&
		mq_event_header_int64(event, "x-outbox-last-id", &last_id) &&
		mq_event_header_int64(event, "x-outbox-part", &part))
		publisher_on_return(broker->publisher, event->exchange, event->routing_key, first_id,
							last_id, part, event->text, now_us);
}

static void
on_channel_closed(Broker *broker, const MqEvent *event, int64_t now_us)
{
	char text[600];

	snprintf(text, sizeof(text), "the broker closed the channel: %s", event->text);
	if (broker->phase == BROKER_READY)
		publisher_on_channel_closed(broker->publisher, text, now_us);
	else
		fail(broker, text, now_us);
}

static void
on_event(Broker *broker, const MqEvent *event, int64_t now_us)
{
	MqError error = {0};

	if (broker->phase == BROKER_DECLARING && event->kind != MQ_EVENT_LOST &&
		event->kind != MQ_EVENT_BLOCKED && event->kind != MQ_EVENT_UNBLOCKED)
	{
		on_topology(broker, topology_event(&broker->topology, broker->session, event, &error),
					&error, now_us);
		return;
	}
	switch (event->kind)
	{
	case MQ_EVENT_OPEN:
		if (broker->phase == BROKER_REOPENING)
			select_confirms(broker, now_us);
		else
			on_connected(broker, now_us);
		break;
	case MQ_EVENT_REPLY:
		broker->phase = BROKER_READY;
		publisher_on_ready(broker->publisher, now_us);
		break;
	case MQ_EVENT_ACK:
		publisher_on_ack(broker->publisher, event->tag, event->multiple, now_us);
		break;
	case MQ_EVENT_NACK:
		publisher_on_nack(broker->publisher, event->tag, event->multiple, now_us);
		break;
	case MQ_EVENT_RETURN:
		on_return(broker, event, now_us);
		break;
	case MQ_EVENT_BLOCKED:
		publisher_on_blocked(broker->publisher, event->text);
		break;
	case MQ_EVENT_UNBLOCKED:
		publisher_on_unblocked(broker->publisher, now_us);
		break;
	case MQ_EVENT_CHANNEL_CLOSED:
		on_channel_closed(broker, event, now_us);
		break;
	case MQ_EVENT_LOST:
		broker->phase = BROKER_CLOSED;
		publisher_on_lost(broker->publisher, event->text, now_us);
		break;
	case MQ_EVENT_DELIVER:
	case MQ_EVENT_CANCEL:
		break; /* we consume nothing */
	}
}

void
broker_step(Broker *broker, int64_t now_us)
{
	MqEvent event;

	mq_session_step(broker->session, now_us);
	while (broker->phase != BROKER_CLOSED && mq_session_next(broker->session, &event))
		on_event(broker, &event, now_us);
}

void
broker_flush(Broker *broker)
{
	mq_session_flush(broker->session);
}

int
broker_fd(const Broker *broker)
{
	return mq_session_fd(broker->session);
}

unsigned
broker_wants(const Broker *broker)
{
	return mq_session_wants(broker->session);
}

int64_t
broker_due_us(const Broker *broker)
{
	return mq_session_due_us(broker->session);
}

const char *
broker_address(const Broker *broker)
{
	return broker->address;
}
