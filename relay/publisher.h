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
 * Refused (returned, nacked, a channel closed over it): everything is held, the first message not
 * confirmed is sent again alone after a delay that grows, and once it is confirmed the rest
 * follows. Nothing is ever dropped.
 */
#ifndef OUTBOX_PUBLISHER_H
#define OUTBOX_PUBLISHER_H

#include "relay/batch.h"
#include "relay/unconfirmed.h"
#include "wire/backoff.h"
#include "wire/error.h"

#define PUBLISHER_NOT_FULL_MAX 4
#define PUBLISHER_WINDOWS_MAX 64 /* opened and not wholly confirmed */
#define PUBLISHER_CONFIRM_LIMIT_US 30000000 /* not counted while blocked */
#define PUBLISHER_RETRY_FIRST_US 100000
#define PUBLISHER_RETRY_LIMIT_US 30000000
#define PUBLISHER_CONNECT_LIMIT_US 5000000 /* a broker that restarts is found again soon after */
#define PUBLISHER_NEVER INT64_MAX

typedef enum PublisherState
{
	PUBLISHER_CONNECTING, /* next: IDLE, WAITING */
	PUBLISHER_IDLE,       /* connected, nothing under way; next: PUBLISHING, BLOCKED, WAITING, CONNECTING */
	PUBLISHER_PUBLISHING, /* next: IDLE, BLOCKED, WAITING, CONNECTING */
	PUBLISHER_BLOCKED,    /* next: IDLE, PUBLISHING, WAITING, CONNECTING */
	PUBLISHER_WAITING     /* to connect again; next: CONNECTING */
} PublisherState;

typedef struct PublisherSource
{
	void *context;

	/* Opens the next window, *number counting up from 1: true. false: there is nothing behind the
	 * last one opened. */
	bool (*open_window)(void *context, uint64_t *number, const char **lsn);

	/* The next events of the open window, valid until the next call; 0: its end. */
	size_t (*read)(void *context, const RelayEvent **events);

	/* All messages of the windows up to `number` are confirmed. */
	void (*confirmed)(void *context, uint64_t number);
} PublisherSource;

typedef struct PublisherTransport
{
	void *context;

	/* Begins to connect; publisher_on_ready or publisher_on_lost follows. */
	void (*connect)(void *context, int64_t now_us);

	/* The channel was closed: opens another; publisher_on_ready or _on_lost follows. */
	void (*reopen)(void *context);

	/* Hands one message over: its delivery tag. MQ_OK; MQ_FULL: later; anything else: lost. */
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

/* From the transport. Texts are borrowed. */
void publisher_on_ready(Publisher *publisher, int64_t now_us);
void publisher_on_lost(Publisher *publisher, const char *reason, int64_t now_us);
void publisher_on_channel_closed(Publisher *publisher, const char *reason, int64_t now_us);
void publisher_on_ack(Publisher *publisher, uint64_t tag, bool multiple, int64_t now_us);
void publisher_on_nack(Publisher *publisher, uint64_t tag, bool multiple, int64_t now_us);
void publisher_on_return(Publisher *publisher, MqBytes exchange, MqBytes routing_key,
						 int64_t first_id, int64_t last_id, int64_t part, const char *reason,
						 int64_t now_us);
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

/* The last thing that went wrong, "" if nothing did, and how often that text was set. */
const char *publisher_last_error(const Publisher *publisher, uint64_t *version);

#endif
