/*
 * queue_status.h
 *    How long the queue of the invalidations is and who consumes it: see queue_status.c.
 */
#ifndef OUTBOX_QUEUE_STATUS_H
#define OUTBOX_QUEUE_STATUS_H

#include "postgres.h"

#include "shmem.h"

/* Figures younger than this are good enough; it is also how long others may be behind. */
#define QUEUE_FRESH_S 10

typedef enum QueueKnowledge
{
	QUEUE_KNOWN,   /* messages and consumers, as of looked_at, which is seconds ago */
	QUEUE_REFUSED, /* the broker would not say: problem */
	QUEUE_UNKNOWN, /* no relay is connected that could ask, or the broker has not answered */
	QUEUE_FOREIGN  /* invalidations go to an exchange whose queues the relay does not declare */
} QueueKnowledge;

/* Has the relay ask the broker where the figures are old, and waits for the answer, which takes
 * milliseconds, or not at all. slot: NULL where there is none. */
QueueKnowledge queue_look(OutboxSlot *slot, SharedQueue *queue);

#endif
