/*
 * destination.h
 *    Where messages go, exchange and routing key, and whether the broker takes them there now.
 *
 * A destination is known by name while a message for it is under way or it is parked, and after that
 * until DESTINATIONS_MAX others were used later. One that is forgotten was open, or belongs to the
 * crowd: at most DESTINATIONS_MAX are parked under a name of their own, and whether any other one is
 * parked is asked of the table of parked events. Core: libc only.
 */
#ifndef OUTBOX_DESTINATION_H
#define OUTBOX_DESTINATION_H

#include "wire/backoff.h"
#include "wire/bytes.h"

#include <stdbool.h>
#include <stdint.h>

#define DESTINATIONS_MAX 1000
#define DESTINATION_CHUNK_MAX 512 /* parked events tried together */
#define DESTINATION_RETRY_FIRST_US 100000
#define DESTINATION_RETRY_LIMIT_US 30000000

typedef enum DestinationState
{
	DESTINATION_OPEN, /* messages go out; next: PARKED, CROWD */
	DESTINATION_PARKED, /* events are set aside and tried again from the first on; next: OPEN, CROWD */
	DESTINATION_CROWD /* the same, but without a turn of its own; next: PARKED, OPEN */
} DestinationState;

/* What became of one parked event that was tried. */
typedef enum ChunkOutcome
{
	CHUNK_ACCEPTED, /* until something else is known */
	CHUNK_REFUSED,  /* not yet, or not even sent */
	CHUNK_DEAD      /* never */
} ChunkOutcome;

typedef struct ChunkEvent
{
	int64_t      id;
	ChunkOutcome outcome;
} ChunkEvent;

/* The parked events that are being tried, from the first on. */
typedef struct Chunk
{
	ChunkEvent *events; /* NULL: none are */
	size_t      count;
	size_t      messages; /* made of them and not settled */
	bool        refused;  /* at least one was */
	bool        held;     /* some before its last one were passed over */
} Chunk;

typedef struct Destination Destination;

struct Destination
{
	Destination *bucket_next;                   /* of the hash table */
	Destination *newer, *older;                 /* by last use */
	Destination *parked_next, *parked_previous; /* of those that are PARKED */
	MqBytes      exchange, routing_key;         /* behind the struct, each with a NUL */

	DestinationState state;
	bool     alone;     /* its tries may close the channel: nothing else may be under way then */
	bool     guest;     /* of the crowd, having its turn */
	size_t   listed;    /* messages that wait or are under way; not to be forgotten */
	size_t   in_flight; /* of these: sent and not answered */
	uint64_t messages;  /* confirmed */
	int64_t  parked;    /* events set aside */
	int64_t  parked_at_us;
	uint32_t attempts;    /* since it was parked */
	int64_t  tried_at_us; /* the last of them */
	int64_t  due_us;      /* the next */
	int64_t  partly_id;   /* the event tried alone last, */
	int64_t  partly;      /* and how many of its messages, from the first on, were accepted */
	int64_t  after;       /* events with ids up to it were settled, as far as is known; 0: none */
	size_t   width;       /* events of the next try */
	Backoff  backoff;
	Chunk    chunk;
	char     error[256]; /* the last refusal; "" */
};

typedef struct Destinations
{
	Destination **buckets;
	size_t        bucket_count; /* a power of two */
	Destination  *newest, *oldest;
	Destination  *first_parked;
	size_t        count, parked_count;
	size_t        most; /* DESTINATIONS_MAX; fewer in tests */
	uint64_t      seed;
} Destinations;

/* false: out of memory. */
bool destinations_init(Destinations *list, uint64_t seed);
void destinations_free(Destinations *list);

/* NULL: not known. */
Destination *destination_find(const Destinations *list, MqBytes exchange, MqBytes routing_key);

/* Finds it, or makes it, open; and notes its use. NULL: out of memory. Others that are not needed any
 * more may be forgotten. */
Destination *destination_use(Destinations *list, MqBytes exchange, MqBytes routing_key);

/* Changes the state to PARKED, or from it; the list of those that are parked is kept. */
void destination_park(Destinations *list, Destination *destination);
void destination_unpark(Destinations *list, Destination *destination, DestinationState state);

/* Every try begins anew: the next one is due at once, with the first event alone. */
void destination_try_now(Destination *destination, int64_t now_us);

#endif
