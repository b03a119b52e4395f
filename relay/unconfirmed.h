/*
 * unconfirmed.h
 *    Messages that were made and are not confirmed yet, in the order of their making.
 *
 * A message is kept until the broker has confirmed it, so that it can be sent again after a lost
 * connection, a nack or a return, without reading the database again. Delivery tags belong to one
 * channel: after its end every message is unsent again. Core: libc only.
 */
#ifndef OUTBOX_UNCONFIRMED_H
#define OUTBOX_UNCONFIRMED_H

#include "relay/destination.h"
#include "wire/bytes.h"

#include <stdbool.h>
#include <stdint.h>

#define UNCONFIRMED_MAX 4096                    /* messages in the list; a power of two */
#define UNCONFIRMED_MAX_BYTES (8 * 1024 * 1024) /* or one message that is larger */

typedef struct OutMessage OutMessage;

struct OutMessage
{
	OutMessage  *previous, *next;
	uint64_t     window;      /* the window its events came from; 0: parked events, tried again */
	Destination *destination; /* whose counts are kept here; NULL in some tests */
	uint64_t     tag;         /* 0: not sent on this channel */
	int64_t      sent_at_us;
	bool         returned; /* came back: the ack that follows does not count */
	bool         suspect;  /* under way when the broker closed a channel: see publisher.c */
	uint32_t     strikes; /* connections that the broker closed with this message alone under way */
	uint32_t     attempts;      /* more than 0: somebody has it tried again, out of its order */
	bool         invalidations; /* keys and patterns of one event or more */
	bool         not_full;      /* invalidations that could have taken more keys */
	int64_t      first_id, last_id;
	int64_t      part;
	uint32_t     events, keys;
	MqBytes      exchange, routing_key; /* these four point behind the struct */
	MqBytes      raw_properties;
	MqBytes      body;
};

typedef struct Unconfirmed
{
	OutMessage *first, *last;
	OutMessage *next_unsent; /* none before it is unsent; it may itself be sent */
	OutMessage *by_tag[UNCONFIRMED_MAX];
	uint64_t    lowest_tag, next_tag; /* tags outstanding: lowest_tag to next_tag - 1 */
	size_t      count, sent_count, not_full_count, suspect_count, bytes;
} Unconfirmed;

/* Told of the broker's answer to a message. One that is confirmed is freed after the call. One that
 * is refused is unsent again; the function may remove it. */
typedef void (*AnswerFunction)(void *context, OutMessage *message);

void unconfirmed_init(Unconfirmed *list);

/* Frees all messages. */
void unconfirmed_free(Unconfirmed *list);

/* Room for one more message? */
bool unconfirmed_has_room(const Unconfirmed *list);

/* A copy of `from` (its four texts copied with it) at the end of the list, unsent. NULL: out of
 * memory. */
OutMessage *unconfirmed_add(Unconfirmed *list, const OutMessage *from);

/* The first message that is to be sent; NULL: none. */
OutMessage *unconfirmed_next_unsent(Unconfirmed *list);

/* It was sent under this tag; tags of a channel go up by one. */
void unconfirmed_sent(Unconfirmed *list, OutMessage *message, uint64_t tag, int64_t now_us);

/* May one more be sent? (Tags outstanding fit the table.) */
bool unconfirmed_can_send(const Unconfirmed *list);

/* The broker's ack of tag, or of all up to it. A message that was returned before is refused
 * instead. Unknown tags count for nothing. */
void unconfirmed_ack(Unconfirmed *list, uint64_t tag, bool multiple, AnswerFunction confirmed,
                     AnswerFunction refused, void *context);

/* The broker's nack: refused. */
void unconfirmed_nack(Unconfirmed *list, uint64_t tag, bool multiple, AnswerFunction refused,
                      void *context);

/* Takes a message that is not under way out of the list; it is the caller's to free then. */
void unconfirmed_remove(Unconfirmed *list, OutMessage *message);

/* This one will be sent apart from others. */
void unconfirmed_suspect(Unconfirmed *list, OutMessage *message);

/* The first suspect that is not under way; NULL: none. */
OutMessage *unconfirmed_next_suspect(const Unconfirmed *list);

/* A message came back: its ack will not count. NULL: none like it is under way. */
OutMessage *unconfirmed_returned(Unconfirmed *list, MqBytes exchange, MqBytes routing_key,
                                 int64_t first_id, int64_t last_id, int64_t part);

/* The channel is gone: all are unsent again. */
void unconfirmed_channel_lost(Unconfirmed *list);

/* When the oldest message still under way was sent; INT64_MAX: none is. */
int64_t unconfirmed_oldest_sent_us(const Unconfirmed *list);

#endif
