/*
 * canary.h
 *    Every few seconds a message without keys, so that the delay of the whole way is known also when
 *    nobody writes: outbox.canary_interval.
 *
 * It begins as a row of the outbox, in a transaction of the relay's own, and from there nothing tells it
 * from any other message: window, fence, broker, queue, worker, a round trip with Redis. Nothing piles
 * up: none is written while the one before is not confirmed, while nothing can be sent, or while its
 * destination is parked. An idle relay is woken for it alone, and not at all where it is off.
 */
#ifndef OUTBOX_CANARY_H
#define OUTBOX_CANARY_H

#include "postgres.h"

#include "relay/publisher.h"

typedef struct Canary
{
	int64_t wrote_at_us; /* or would have, but for its parked destination; 0: never */
	bool    under_way;   /* written and not settled; at the start: what is in the outbox then */
	bool    seen;        /* by a look: it is in `window`, or an earlier one */
	uint64  window;      /* 0: none was opened yet */
	uint64  written;     /* so far */
} Canary;

void canary_begin(Canary *canary);

/* A look has reached the present; `window` is the last one opened. */
void canary_looked(Canary *canary, uint64 window);

/* When one is due by the clock: PUBLISHER_NEVER where it waits for something else, or is off. */
int64_t canary_due_us(Canary *canary, const Publisher *publisher);

/* Writes one if it is due: true, look for it. Where it goes: as invalidations do. */
bool canary_turn(Canary *canary, const Publisher *publisher, MqBytes exchange, MqBytes routing_key,
                 int64_t now_us);

#endif
