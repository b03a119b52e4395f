/*
 * destinations.h
 *    What a relay knows of its destinations, for the views: in a segment of dynamic shared memory.
 *
 * A megabyte for each relay that ever ran, so not part of the server's fixed memory. The slot's field
 * `destinations` names it; it stays with the slot until the server ends, whoever uses that.
 */
#ifndef OUTBOX_DESTINATIONS_H
#define OUTBOX_DESTINATIONS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "extension/shmem.h"

#define SHARED_DESTINATIONS_MAX 1001 /* and one row for all others that are parked */

typedef struct SharedDestination
{
	bool        is_crowd; /* has no names */
	bool        is_parked;
	int32       attempts;
	int64       messages, parked;
	TimestampTz parked_since, tried_at, next_attempt_at; /* 0: none */
	char        exchange[256], routing_key[256];         /* UTF-8 */
	char        last_error[256];
} SharedDestination;

typedef struct SharedDestinations
{
	int               count; /* all of it is guarded by the slot's text_lock */
	SharedDestination rows[SHARED_DESTINATIONS_MAX];
} SharedDestinations;

/* For the relay: the segment of its slot, made if there is none, and mapped until the process ends. */
SharedDestinations *destinations_attach(OutboxSlot *slot);

typedef struct ParkedDestinations
{
	int64             destinations; /* all further ones count as one */
	int64             events;
	SharedDestination longest; /* parked for the longest time, where there is any */
} ParkedDestinations;

/* Which of them are parked. false: no relay has told anything since the server started. */
bool destinations_look(OutboxSlot *slot, ParkedDestinations *parked);

#endif
