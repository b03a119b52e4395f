/*
 * parked_status.h
 *    How much is parked and how much is dead: see parked_status.c.
 */
#ifndef OUTBOX_PARKED_STATUS_H
#define OUTBOX_PARKED_STATUS_H

#include "postgres.h"

#include "shmem.h"

typedef struct ParkedStatus
{
	int64 destinations; /* parked ones; those that have no row of their own in outbox.destination are one */
	int64 events;       /* that wait for them */
	int64 dead;         /* 1,000: as many or more */
} ParkedStatus;

/* In constant time. slot: NULL where there is none. */
void parked_status(OutboxSlot *slot, ParkedStatus *status);

#endif
