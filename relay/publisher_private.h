/*
 * publisher_private.h
 *    What publisher.c (connection, sending, windows) and parking.c (destinations that do not take
 *    messages now) share.
 */
#ifndef OUTBOX_PUBLISHER_PRIVATE_H
#define OUTBOX_PUBLISHER_PRIVATE_H

#include "relay/publisher.h"

/* A window of which messages may be under way. */
typedef struct OpenWindow
{
	uint64_t number;
	size_t   messages; /* not confirmed and not set aside yet */
	bool     read;     /* to its end */
} OpenWindow;

/* Destinations beyond those that are parked by name: each has a turn after the other. */
typedef struct Crowd
{
	bool         present; /* there may be some; ends with a round that found none */
	int64_t      parked;  /* events */
	int64_t      parked_at_us;
	int64_t      due_us;
	Backoff      backoff;
	Destination *guest;                           /* whose turn it is; NULL: nobody's */
	bool         found;                           /* in this round */
	char         exchange[256], routing_key[256]; /* whose turn it was last */
	bool         begun;                           /* the two are names */
	char         error[256];
} Crowd;

struct Publisher
{
	PublisherSource    source;
	PublisherTransport transport;
	BatchOptions       batch_options;
	void              *encode_context;
	Batch             *batch;        /* of the window being read */
	Batch             *parked_batch; /* of parked events */
	Unconfirmed        unconfirmed;
	PublisherState     state;
	PublisherCounters  counters;

	OpenWindow windows[PUBLISHER_WINDOWS_MAX]; /* a ring */
	size_t     window_first, window_count;
	uint64_t   confirmed_window;
	bool       reading; /* the newest window has more events */
	bool       look;    /* something may have been committed */
	bool       failed;  /* events were read and lost: see publisher_failed */

	bool    ready; /* a channel with confirms is open */
	bool    blocked;
	int64_t connect_at_us; /* while WAITING */
	Backoff connect_backoff;

	bool    reopen;        /* the channel was closed: open another at reopen_at_us */
	bool    progress;      /* something was settled since a channel was closed last */
	size_t  suspect_width; /* so many suspects may be under way together */
	size_t  suspect_left;  /* of them to be sent; 0: answers are waited for first */
	int64_t reopen_at_us;
	Backoff reopen_backoff;
	int64_t ready_at_us;
	int64_t confirm_since_us; /* the confirm limit counts from here, or from the sending */

	Destinations destinations;
	uint64_t     destinations_version; /* counts changes that the views show */
	Destination *chunk_of;             /* parked_batch makes messages of this one's events */
	OutMessage  *aside_first;          /* messages whose events are to be parked, in order */
	OutMessage **aside_end;
	ParkRange   *ranges; /* for the source */
	size_t       range_capacity;
	int64_t      parking_due_us; /* no parked destination has anything to do before */
	bool         parking_waits;  /* one would, but for what is under way: until an answer comes */
	Crowd        crowd;

	MqError  last_error; /* only its text; printable ASCII, whatever a routing key holds */
	uint64_t error_version;
};

/* ---- publisher.c ------------------------------------------------------------------------------ */

void publisher_set_error(Publisher *publisher, const char *text);

/* A message of a window is done with: confirmed, parked or dead. */
void publisher_settled(Publisher *publisher, uint64_t window);

/* May one more message be made? */
bool publisher_has_room(const Publisher *publisher);

/* Events could not be made into messages and are lost to this publisher: see publisher_failed. */
void publisher_fail(Publisher *publisher, const char *text);

/* ---- parking.c -------------------------------------------------------------------------------- */

bool parking_init(Publisher *publisher, uint64_t seed);
void parking_free(Publisher *publisher);

/* The destination of that name, made if it is not known. NULL: out of memory. */
Destination *parking_destination(Publisher *publisher, MqBytes exchange, MqBytes routing_key);

/* A message was made and is in the list: where its destination is parked, it is set aside. */
void parking_admit(Publisher *publisher, OutMessage *message);

/* Channel or connection are gone, and with them what was under way: messages to destinations that were
 * parked meanwhile are not sent again. */
void parking_after_loss(Publisher *publisher);

/* Was this message of an event that is tried again accepted by an earlier try? A queue may have room for
 * a few of them at a time only. */
bool parking_is_accepted(const Destination *destination, const OutMessage *message);

/* The broker took it. */
void parking_confirmed(Publisher *publisher, const OutMessage *message, int64_t now_us);

/* The broker would not take it now: its destination is parked, and what waits for it. The message, not
 * under way, is the publisher's no more. alone: the next try may close the channel. */
void parking_refuse(Publisher *publisher, OutMessage *message, const char *reason, bool alone,
                    int64_t now_us);

/* The same for whatever waits for an exchange that is not there: it need not be found out one by one.
 * Nothing is under way. */
void parking_refuse_exchange(Publisher *publisher, MqBytes exchange, const char *reason,
                             int64_t now_us);

/* The same for destinations of that exchange that are parked already and whose next try may close the
 * channel, too: a thousand of them would close it one after the other, and nothing else would flow. */
void parking_postpone_exchange(Publisher *publisher, MqBytes exchange, const char *reason,
                               int64_t now_us);

/* The broker will never take it. The message, not under way, is the publisher's no more. */
void parking_bury(Publisher *publisher, OutMessage *message, const char *reason);

/* An event that can never be made into a message. */
void parking_bury_event(Publisher *publisher, const RelayEvent *event, uint64_t window,
                        const char *reason);

/* Hands what was set aside to the source. */
void parking_write(Publisher *publisher);

/* Tries parked events whose time has come. */
void parking_try(Publisher *publisher, int64_t now_us);

#endif
