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
	bool missing;   /* what topology declares was seen to be missing: the next try declares it */
	int  declaring; /* answers to come, while READY */
	BrokerPhase phase;
	int         url; /* in use */
	char        address[600];

	bool     looking; /* at the queue, for broker_queue: the next answer is its */
	uint64_t looks;   /* answered */
	uint32_t messages, consumers;
	char     look_problem[256];
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
fail(Broker *broker, int code, const char *reason, int64_t now_us)
{
	mq_session_close(broker->session);
	broker->phase = BROKER_CLOSED;
	broker->looking = false;
	publisher_on_lost(broker->publisher, code, reason, now_us);
}

/* Where invalidations go: what we declare. */
static bool
is_ours(const Broker *broker, MqBytes exchange, MqBytes routing_key)
{
	const BrokerOptions *options = &broker->options;

	if (!options->declare || !mq_bytes_equal(exchange, mq_bytes_of(options->exchange)))
		return false;
	return options->exchange[0] != '\0' || mq_bytes_equal(routing_key, mq_bytes_of(options->queue));
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
		fail(broker, 0, error.text, now_us);
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
	Broker  *broker = context;
	MqResult result = MQ_OK;

	/* Nothing else is under way: see publisher_on_return. */
	if (broker->missing && is_ours(broker, message->exchange, message->routing_key))
	{
		broker->missing = false;
		result = topology_declare(&broker->topology, broker->session, &broker->declaring, error);
	}
	if (result == MQ_OK)
		result = mq_publish_encoded(broker->session, message->exchange, message->routing_key,
		                            message->raw_properties, message->body, tag, error);
	return result;
}

static void
transport_disconnect(void *context)
{
	Broker *broker = context;

	mq_session_close(broker->session);
	broker->phase = BROKER_CLOSED;
	broker->looking = false;
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
		fail(broker, 0, error.text, now_us);
}

/* The broker would not have us declare something (closed: and closed the channel over it): that need
 * not stop messages to other destinations. Whether those to ours arrive will be seen. */
static void
on_topology(Broker *broker, TopologyState state, bool closed, const MqError *error, int64_t now_us)
{
	switch (state)
	{
	case TOPOLOGY_BUSY:
		return;
	case TOPOLOGY_READY:
		select_confirms(broker, now_us);
		return;
	case TOPOLOGY_FAILED:
		if (!closed)
		{
			fail(broker, 0, error->text, now_us);
			return;
		}
		publisher_note(broker->publisher, error->text);
		transport_reopen(broker);
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
	on_topology(broker, topology_begin(&broker->topology, broker->session, &error), false, &error,
	            now_us);
}

static void
on_return(Broker *broker, const MqEvent *event)
{
	int64_t first_id, last_id, part;

	if (mq_event_header_int64(event, "x-outbox-first-id", &first_id) &&
	    mq_event_header_int64(event, "x-outbox-last-id", &last_id) &&
	    mq_event_header_int64(event, "x-outbox-part", &part))
	{
		bool ours = is_ours(broker, event->exchange, event->routing_key);

		broker->missing = broker->missing || ours;
		publisher_on_return(broker->publisher, event->exchange, event->routing_key, first_id,
		                    last_id, part, event->text, ours);
	}
}

/* The queue that somebody wanted to know about: what became of that look. */
static void
end_look(Broker *broker, const MqEvent *event, const char *problem)
{
	broker->looking = false;
	broker->looks++;
	broker->messages = event->message_count;
	broker->consumers = event->consumer_count;
	snprintf(broker->look_problem, sizeof(broker->look_problem), "%s", problem);
}

/* Was it a look that closed the channel? It is answered before any declaration sent after it. */
static bool
closed_by_look(const Broker *broker, const MqEvent *event)
{
	return broker->phase == BROKER_READY && broker->looking && event->method == MQ_QUEUE_DECLARE;
}

static void
on_channel_closed(Broker *broker, const MqEvent *event, int64_t now_us)
{
	char text[600];

	if (closed_by_look(broker, event))
	{
		end_look(broker, event, event->text);
		broker->missing = broker->missing || broker->declaring > 0;
		broker->declaring = 0;
		publisher_on_channel_lost(broker->publisher, now_us);
		return;
	}
	broker->looking = false;
	snprintf(text, sizeof(text), "the broker closed the channel: %s", event->text);
	if (broker->phase != BROKER_READY)
	{
		fail(broker, event->reply_code, text, now_us);
		return;
	}
	/* A declaration's failure is not the message's, whatever the code. */
	publisher_on_channel_closed(broker->publisher, broker->declaring > 0 ? 0 : event->reply_code,
	                            text, now_us);
	broker->missing = broker->missing || event->reply_code == 404;
	broker->declaring = 0;
}

static void
on_event(Broker *broker, const MqEvent *event, int64_t now_us)
{
	MqError error = {0};

	if (broker->phase == BROKER_DECLARING && event->kind != MQ_EVENT_LOST &&
	    event->kind != MQ_EVENT_BLOCKED && event->kind != MQ_EVENT_UNBLOCKED)
	{
		on_topology(broker, topology_event(&broker->topology, broker->session, event, &error),
		            event->kind == MQ_EVENT_CHANNEL_CLOSED, &error, now_us);
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
		if (broker->phase == BROKER_READY && broker->looking)
		{
			end_look(broker, event, "");
			break;
		}
		if (broker->phase == BROKER_READY)
		{
			broker->declaring--;
			break;
		}
		broker->phase = BROKER_READY;
		broker->declaring = 0;
		publisher_on_ready(broker->publisher, now_us);
		break;
	case MQ_EVENT_ACK:
		publisher_on_ack(broker->publisher, event->tag, event->multiple, now_us);
		break;
	case MQ_EVENT_NACK:
		publisher_on_nack(broker->publisher, event->tag, event->multiple, now_us);
		break;
	case MQ_EVENT_RETURN:
		on_return(broker, event);
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
		broker->looking = false;
		publisher_on_lost(broker->publisher, event->reply_code, event->text, now_us);
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

void
broker_ask_queue(Broker *broker)
{
	MqError error;

	/* Declarations under way are answered first, and their answers counted. */
	if (broker->phase != BROKER_READY || broker->looking || broker->declaring > 0 ||
	    mq_session_is_blocked(broker->session))
		return;
	/* If it cannot be sent the session is lost, and says so by an event. */
	broker->looking = mq_queue_declare(broker->session, mq_bytes_of(broker->options.queue), true,
	                                   NULL, 0, &error) == MQ_OK;
}

BrokerQueue
broker_queue(const Broker *broker)
{
	return (BrokerQueue){
		.answers = broker->looks,
		.messages = broker->messages,
		.consumers = broker->consumers,
		.problem = broker->look_problem,
	};
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
