/*
 * topology.h
 *    Makes sure that a queue, its dead-letter queue and, where wanted, a fanout exchange exist.
 *
 * A passive look first: what exists is used as it is. Only what is missing (404) is declared, on a
 * channel opened anew, since the failed look closed the first. Relay and worker both do this, in
 * any order and at the same time.
 */
#ifndef MQ_TOPOLOGY_H
#define MQ_TOPOLOGY_H

#include "error.h"
#include "message.h"
#include "session.h"

typedef enum QueueType
{
	QUEUE_CLASSIC, /* durable, no arguments: amqplib's default */
	QUEUE_QUORUM   /* dead-letters at least once to <queue>.dead, rejects when full */
} QueueType;

typedef struct Topology
{
	/* set by the caller before topology_begin */
	char      queue[256];
	char      exchange[256]; /* fanout bound to queue; empty: none */
	QueueType type;

	/* private */
	int  step;
	bool declaring; /* the passive look found nothing */
} Topology;

typedef enum TopologyState
{
	TOPOLOGY_BUSY,  /* waiting for the broker */
	TOPOLOGY_READY, /* everything exists */
	TOPOLOGY_FAILED /* *error: the broker's words. The channel may be closed */
} TopologyState;

/* Starts on an open channel with nothing else under way. */
TopologyState topology_begin(Topology *topology, MqSession *session, MqError *error);

/* Sends all declarations at once, without a look first: for a queue that was just seen to be missing. The
 * answers come as MQ_EVENT_REPLY, *count of them, or as MQ_EVENT_CHANNEL_CLOSED. */
MqResult topology_declare(const Topology *topology, MqSession *session, int *count, MqError *error);

/* Takes every event of the session until READY or FAILED (MQ_EVENT_LOST: the caller's). */
TopologyState topology_event(Topology *topology, MqSession *session, const MqEvent *event,
                             MqError *error);

#endif
