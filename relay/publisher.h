/*
 * publisher.h
 *    The relay's state machine: windows in, messages out, confirms back, position forward.
 *
 * Knows neither PostgreSQL nor AMQP: the source gives windows of events, the transport takes
 * messages, time is handed in. What the transport learns from the broker comes in through the
 * publisher_on_* functions. Nothing here waits; publisher_step says when it wants to be called
 * again.
 *
 * Self-clocking: at most PUBLISHER_NOT_FULL_MAX messages of invalidations that could have held
 * more keys are under way. Until one of them is confirmed no window is opened: new commits gather
 * in the next window, lose their duplicates and leave together.
 *
 * Refused is not the same as not yet, and neither is an outage:
 *
 *   a message is returned or nacked, or its     its destination is parked: the source keeps its events,
 *   exchange is unknown or forbidden            in order, and the first one is tried again after a
 *   (404, 403)                                  delay that grows, then more and more; once none is left
 *                                               new ones go out again. All others flow meanwhile
 *   it is too large or malformed (406, ...)     dead: the source sets it aside for good
 *   the connection is lost, or blocked          nobody's guilt: all unconfirmed messages are sent again
 *
 * A broker that closes a channel does not say over which message: those under way then are sent again
 * by halves, until the guilty one is alone (suspects).
 */
#ifndef OUTBOX_PUBLISHER_H
#define OUTBOX_PUBLISHER_H

#include "relay/batch.h"
#include "relay/destination.h"
#include "relay/unconfirmed.h"
#include "wire/backoff.h"
#include "wire/error.h"

#define PUBLISHER_NOT_FULL_MAX 4
#define PUBLISHER_WINDOWS_MAX 64            /* opened and not wholly confirmed */
#define PUBLISHER_CONFIRM_LIMIT_US 30000000 /* not counted while blocked */
#define PUBLISHER_RETRY_FIRST_US 100000
#define PUBLISHER_STRIKES 3 /* connections closed over a message that was alone under way */
#define PUBLISHER_CONNECT_LIMIT_US 5000000 /* a broker that restarts is found again soon after */
#define PUBLISHER_STEADY_US                                                                        \
	10000000 /* a connection that lasted so long was a good one; or one with a confirm */
#define PUBLISHER_NEVER INT64_MAX

typedef enum PublisherState
{
	PUBLISHER_CONNECTING, /* next: IDLE, WAITING */
	PUBLISHER_IDLE, /* connected, nothing under way; next: PUBLISHING, BLOCKED, WAITING, CONNECTING */
	PUBLISHER_PUBLISHING, /* next: IDLE, BLOCKED, WAITING, CONNECTING */
	PUBLISHER_BLOCKED,    /* next: IDLE, PUBLISHING, WAITING, CONNECTING */
	PUBLISHER_WAITING     /* to connect again; next: CONNECTING */
} PublisherState;

/* Events to be set aside: those of one window between two ids, either the invalidations or the one
 * message. */
typedef struct ParkRange
{
	uint64_t    window;
	int64_t     first_id, last_id;
	bool        invalidations;
	bool        dead;     /* the broker will never take them */
	uint32_t    attempts; /* so far; 0: they only wait behind others */
	MqBytes     exchange, routing_key;
	const char *reason; /* NULL: none of their own */
	size_t      parked; /* out: how many were not there already */
} ParkRange;

typedef enum PublisherNews
{
	PUBLISHER_PARKS,  /* a destination takes nothing now: text says why */
	PUBLISHER_OPENS,  /* it takes messages again */
	PUBLISHER_BURIES, /* an event is dead: text names it */
	PUBLISHER_NOTES   /* something did not work and stops nothing; no destination */
} PublisherNews;

typedef struct PublisherSource
{
	void *context;

	/* Opens the next window, *number counting up from 1: true. false: there is nothing behind the
	 * last one opened. */
	bool (*open_window)(void *context, uint64_t *number, const char **lsn);

	/* The next events of the open window, valid until the next call; 0: its end. */
	size_t (*read)(void *context, const RelayEvent **events);

	/* All messages of the windows up to `number` are confirmed, or their events are set aside. */
	void (*confirmed)(void *context, uint64_t number);

	/* Keeps events until they are settled. Those that are kept already stay as they are. */
	void (*park)(void *context, ParkRange *ranges, size_t count);

	/* The first parked events of a destination, in order, that are not dead and have greater ids than
	 * `after`, at most `limit`; valid until the next call of read or this. Those that somebody is about
	 * to take away by hand are passed over: *held. 0 and not held: there is none. */
	size_t (*read_parked)(void *context, MqBytes exchange, MqBytes routing_key, int64_t after,
	                      size_t limit, const RelayEvent **events, const char **lsn, bool *held);

	/* What came of parked events: those accepted are forgotten, those dead are kept as such. */
	void (*settle)(void *context, const ChunkEvent *events, size_t count, const char *reason);

	/* Has this destination parked events that are not dead? */
	bool (*is_parked)(void *context, MqBytes exchange, MqBytes routing_key);

	/* The destination with parked events that are not dead behind the one named (begun false: the
	 * first), in any fixed order, into the same two buffers of 256 bytes, and how many these are.
	 * false: none. */
	bool (*next_parked)(void *context, bool begun, char *exchange, char *routing_key,
	                    int64_t *count);

	/* For the log. */
	void (*tell)(void *context, PublisherNews news, MqBytes exchange, MqBytes routing_key,
	             const char *text);
} PublisherSource;

typedef struct PublisherTransport
{
	void *context;

	/* Begins to connect; publisher_on_ready or publisher_on_lost follows. */
	void (*connect)(void *context, int64_t now_us);

	/* The channel was closed: opens another; publisher_on_ready or _on_lost follows. */
	void (*reopen)(void *context);

	/* Hands one message over: its delivery tag. MQ_OK; MQ_FULL: later; MQ_INVALID: it does not fit
	 * this connection; anything else: lost. */
	MqResult (*send)(void *context, const OutMessage *message, uint64_t *tag, MqError *error);

	/* Ends the connection at once. */
	void (*disconnect)(void *context);
} PublisherTransport;

typedef struct PublisherCounters
{
	uint64_t events, messages, keys, coalesced, confirmed, returned, nacked, reconnects;
} PublisherCounters;

typedef struct Publisher Publisher;

/* batch: encode and the rest; sink and context are set here. NULL: out of memory. */
Publisher *publisher_new(const PublisherSource *source, const PublisherTransport *transport,
                         const BatchOptions *batch, void *encode_context, uint64_t seed);
void       publisher_free(Publisher *publisher);

/* Something may have been committed: look for windows until there is none. */
void publisher_look(Publisher *publisher);

/* Does what is due. Gives when it wants to be called again at the latest (PUBLISHER_NEVER: only
 * after an event or a look; now_us: at once, after the socket was served). */
int64_t publisher_step(Publisher *publisher, int64_t now_us);

/* At the start, and when somebody else changed them: how many parked events a destination has, and
 * since when (monotonic clock). publisher_parked_anew goes first; what is not named after it has none.
 * All are tried at once. false: out of memory. */
void publisher_parked_anew(Publisher *publisher, int64_t now_us);
bool publisher_parked(Publisher *publisher, MqBytes exchange, MqBytes routing_key, int64_t count,
                      int64_t parked_at_us, const char *reason, int64_t now_us);

/* From the transport. Texts are borrowed. code: the AMQP reply code; 0: none. alone: the transport
 * will do something about a returned message's destination with the next try, which nothing else
 * should be under way with (see parking.c). */
void publisher_on_ready(Publisher *publisher, int64_t now_us);
void publisher_on_lost(Publisher *publisher, int code, const char *reason, int64_t now_us);
void publisher_on_channel_closed(Publisher *publisher, int code, const char *reason,
                                 int64_t now_us);
/* The transport itself did what closed the channel: no message is to blame. */
void publisher_on_channel_lost(Publisher *publisher, int64_t now_us);
void publisher_on_ack(Publisher *publisher, uint64_t tag, bool multiple, int64_t now_us);
void publisher_on_nack(Publisher *publisher, uint64_t tag, bool multiple, int64_t now_us);
void publisher_on_return(Publisher *publisher, MqBytes exchange, MqBytes routing_key,
                         int64_t first_id, int64_t last_id, int64_t part, const char *reason,
                         bool alone);
void publisher_on_blocked(Publisher *publisher, const char *reason);
void publisher_on_unblocked(Publisher *publisher, int64_t now_us);

PublisherState           publisher_state(const Publisher *publisher);
const PublisherCounters *publisher_counters(const Publisher *publisher);

/* Every window up to this number is confirmed. */
uint64_t publisher_confirmed_window(const Publisher *publisher);

/* Events could not be made into messages (out of memory; see last error). This publisher is of no
 * use any more: a new one must begin at the position saved. */
bool publisher_failed(const Publisher *publisher);

/* Nothing is under way and the last look found nothing. */
bool publisher_is_drained(const Publisher *publisher);

/* Something did not work and stops nothing: for publisher_last_error and tell. */
void publisher_note(Publisher *publisher, const char *text);

/* Destinations, those used last first, for the views: DESTINATION_PARKED and not a guest, or open;
 * others belong to the crowd. */
const Destination *publisher_destinations(const Publisher *publisher);
uint64_t           publisher_destinations_version(const Publisher *publisher);

/* How many are known by name: DESTINATIONS_MAX, or fewer for tests. */
void publisher_set_most_destinations(Publisher *publisher, size_t most);

/* Parked events of the crowd: how many, since when, the last refusal. */
int64_t publisher_crowd(const Publisher *publisher, int64_t *parked_at_us, const char **error);

/* The last thing that went wrong, "" if nothing did, and how often that text was set. */
const char *publisher_last_error(const Publisher *publisher, uint64_t *version);

#endif
