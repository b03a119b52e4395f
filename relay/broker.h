/*
 * broker.h
 *    The publisher's transport: an AMQP session with its queues declared and confirms on.
 *
 * Joins wire/ and the core; knows nothing of PostgreSQL. Several URLs are tried in turn. States:
 * closed -> connecting -> (declaring) -> selecting confirms -> ready; a channel that is opened
 * again selects confirms again.
 */
#ifndef OUTBOX_BROKER_H
#define OUTBOX_BROKER_H

#include "relay/publisher.h"
#include "wire/tls.h"
#include "wire/url.h"

typedef struct BrokerOptions
{
	MqUrl urls[MQ_MAX_URLS];
	int   url_count;
	char  name[128];     /* connection_name */
	char  queue[256];    /* of the invalidations */
	char  exchange[256]; /* fanout in its place; empty: the default exchange */
	bool  quorum;        /* type of a queue that is declared */
	bool  declare;       /* declare what is missing */

	TlsContext *tls; /* for amqps://; the broker frees it */
} BrokerOptions;

typedef struct Broker Broker;

/* Copies options; tls is the broker's from then on. NULL: out of memory. */
Broker *broker_new(const BrokerOptions *options);

/* Says goodbye if that goes without waiting, and frees. */
void broker_free(Broker *broker);

/* What publisher_new takes. */
PublisherTransport broker_transport(Broker *broker);

/* Encodes properties: BatchOptions.encode. */
MqResult broker_encode(void *context, const MqProperties *properties, MqBuffer *raw,
                       MqError *error);

/* Who is told what the broker says; before the first broker_step. */
void broker_set_publisher(Broker *broker, Publisher *publisher);

/* Moves bytes and tells the publisher what came of it. Never blocks. */
void broker_step(Broker *broker, int64_t now_us);

/* Writes out what the publisher has just handed over, as far as the socket takes it. */
void broker_flush(Broker *broker);

/* Asks how long the queue of the invalidations is and who consumes it; broker_queue tells. Nothing
 * happens where it is asked already, or where no channel is open. A queue that is not there closes the
 * channel, as AMQP has it: messages under way are sent again. */
void broker_ask_queue(Broker *broker);

typedef struct BrokerQueue
{
	uint64_t    answers; /* so far; with one more the rest is new */
	int64_t     messages, consumers;
	const char *problem; /* why the broker would not say; "": it did */
} BrokerQueue;

BrokerQueue broker_queue(const Broker *broker);

int      broker_fd(const Broker *broker);    /* -1: none */
unsigned broker_wants(const Broker *broker); /* STREAM_WANT_* */
int64_t  broker_due_us(const Broker *broker);

/* Where it is connected, or tries to: "host:port/vhost". */
const char *broker_address(const Broker *broker);

#endif
