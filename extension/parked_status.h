/*
 * parked_status.h
 *    How much is parked and how much is dead: see parked_status.c.
 */
#ifndef OUTBOX_PARKED_STATUS_H
#define OUTBOX_PARKED_STATUS_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "shmem.h"

#define PARKED_COUNTED_MAX 1000

typedef struct ParkedStatus
{
	int64
		destinations; /* parked; all that have no row of their own in outbox.destination count as one */
	int64       events; /* that wait for them */
	TimestampTz since;  /* of the destination parked longest; 0: none is */
	const char *name;   /* its name, as for a log; NULL: none, or one of many */
	const char *error;  /* why; NULL: not known */

	int64       dead;                   /* PARKED_COUNTED_MAX: as many or more */
	const char *dead_name, *dead_error; /* of one of them; NULL: none, not known */
} ParkedStatus;

/* In constant time, in the current memory context. slot: NULL where there is none. */
void parked_look(OutboxSlot *slot, ParkedStatus *status);

#endif
