/*
 * topology.c
 *    Look, declare what is missing, bind: one request at a time.
 */
#include "wire/topology.h"

#include <stdio.h>

typedef enum TopologyStep
{
	STEP_DEAD_QUEUE, /* first: the queue's dead letters must have somewhere to go */
	STEP_QUEUE,
	STEP_EXCHANGE, /* skipped without an exchange */
	STEP_BIND,
	STEP_DONE
} TopologyStep;

static MqResult
declare_queue(const Topology *topology, MqSession *session, MqError *error)
{
	char    dead[sizeof(topology->queue) + sizeof(MQ_DEAD_SUFFIX)];
	bool    is_dead = topology->step == STEP_DEAD_QUEUE;
	MqField arguments[] = {
		mq_field_string("x-queue-type", mq_bytes_of("quorum")),
		/* The dead-letter queue has the type and no other argument. */
		mq_field_string("x-dead-letter-exchange", mq_bytes_of("")),
		mq_field_string("x-dead-letter-routing-key", mq_bytes_of("")), /* filled in below */
		mq_field_string("x-dead-letter-strategy", mq_bytes_of("at-least-once")),
		mq_field_string("x-overflow", mq_bytes_of("reject-publish")),
	};
	size_t count = topology->type == QUEUE_CLASSIC || !topology->declaring ? 0 : is_dead ? 1 : 5;

	snprintf(dead, sizeof(dead), "%s" MQ_DEAD_SUFFIX, topology->queue);
	arguments[2].value.string = mq_bytes_of(dead);
	return mq_queue_declare(session, mq_bytes_of(is_dead ? dead : topology->queue),
	                        !topology->declaring, arguments, count, error);
}

/* The request of a step other than the last. */
static MqResult
send_declaration(const Topology *topology, MqSession *session, MqError *error)
{
	switch ((TopologyStep) topology->step)
	{
	case STEP_DEAD_QUEUE:
	case STEP_QUEUE:
		return declare_queue(topology, session, error);
	case STEP_EXCHANGE:
		return mq_exchange_declare(session, mq_bytes_of(topology->exchange), !topology->declaring,
		                           error);
	case STEP_BIND:
		return mq_queue_bind(session, mq_bytes_of(topology->queue), mq_bytes_of(topology->exchange),
		                     error);
	case STEP_DONE:
		break;
	}
	return MQ_OK;
}

static TopologyState
send_step(Topology *topology, MqSession *session, MqError *error)
{
	if (topology->step == STEP_EXCHANGE && topology->exchange[0] == '\0')
		topology->step = STEP_DONE;
	if (topology->step == STEP_DONE)
		return TOPOLOGY_READY;
	return send_declaration(topology, session, error) == MQ_OK ? TOPOLOGY_BUSY : TOPOLOGY_FAILED;
}

MqResult
topology_declare(const Topology *topology, MqSession *session, int *count, MqError *error)
{
	Topology copy = *topology;
	MqResult result = MQ_OK;

	*count = 0;
	for (copy.step = STEP_DEAD_QUEUE; copy.step != STEP_DONE && result == MQ_OK; copy.step++)
	{
		copy.declaring = true;
		if (copy.step == STEP_EXCHANGE && copy.exchange[0] == '\0')
			break;
		result = send_declaration(&copy, session, error);
		++*count;
	}
	return result;
}

TopologyState
topology_begin(Topology *topology, MqSession *session, MqError *error)
{
	topology->step = STEP_DEAD_QUEUE;
	topology->declaring = false;
	return send_step(topology, session, error);
}

static TopologyState
fail(const MqEvent *event, MqError *error)
{
	mq_error_set(error, MQ_REFUSED, "could not declare the queues: %s", event->text);
	if (error != NULL)
		error->reply_code = event->reply_code;
	return TOPOLOGY_FAILED;
}

TopologyState
topology_event(Topology *topology, MqSession *session, const MqEvent *event, MqError *error)
{
	switch (event->kind)
	{
	case MQ_EVENT_REPLY:
		topology->declaring = false;
		topology->step++;
		return send_step(topology, session, error);
	case MQ_EVENT_CHANNEL_CLOSED:
		/* 404 to a look: declare it. Anything else is the broker's no. */
		if (event->reply_code != 404 || topology->declaring || topology->step == STEP_BIND)
			return fail(event, error);
		topology->declaring = true;
		return mq_channel_reopen(session, error) == MQ_OK ? TOPOLOGY_BUSY : TOPOLOGY_FAILED;
	case MQ_EVENT_OPEN:
		return send_step(topology, session, error);
	case MQ_EVENT_LOST:
		return fail(event, error);
	case MQ_EVENT_ACK:
	case MQ_EVENT_NACK:
	case MQ_EVENT_RETURN:
	case MQ_EVENT_DELIVER:
	case MQ_EVENT_CANCEL:
	case MQ_EVENT_BLOCKED:
	case MQ_EVENT_UNBLOCKED:
		return TOPOLOGY_BUSY;
	}
	return TOPOLOGY_BUSY;
}
