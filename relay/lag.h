/*
 * lag.h
 *    How much is committed and not yet confirmed: see status.c.
 */
#ifndef OUTBOX_LAG_H
#define OUTBOX_LAG_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "extension/shmem.h"

#define LAG_EXACT_EVENTS 10000

typedef struct Lag
{
	int64       pending_events; /* above LAG_EXACT_EVENTS an estimate */
	TimestampTz pending_since;  /* the oldest one's; 0: none is pending */
	int64       outbox_bytes;
} Lag;

/* In constant time, in the backend that asks. slot: NULL where there is none. */
void lag_look(OutboxSlot *slot, Lag *lag);

#endif
