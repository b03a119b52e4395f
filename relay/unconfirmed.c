/*
 * unconfirmed.c
 *    A list in the order of making, and a table from delivery tag to message.
 *
 * Tags go up by one with each message sent, and fewer than UNCONFIRMED_MAX are outstanding, so the
 * table is a ring indexed by the tag's low bits.
 */
#include "relay/unconfirmed.h"

#include <assert.h>
#include <stdlib.h>

void
unconfirmed_init(Unconfirmed *list)
{
	*list = (Unconfirmed){.lowest_tag = 1, .next_tag = 1};
}

static OutMessage **
slot_of(Unconfirmed *list, uint64_t tag)
{
	return &list->by_tag[tag & (UNCONFIRMED_MAX - 1)];
}

static size_t
message_bytes(const OutMessage *message)
{
	return sizeof(*message) + message->exchange.size + message->routing_key.size +
	       message->raw_properties.size + message->body.size;
}

void
unconfirmed_remove(Unconfirmed *list, OutMessage *message)
{
	assert(message->tag == 0);
	if (message->previous == NULL)
		list->first = message->next;
	else
		message->previous->next = message->next;
	if (message->next == NULL)
		list->last = message->previous;
	else
		message->next->previous = message->previous;
	if (list->next_unsent == message)
		list->next_unsent = message->next;
	list->count--;
	list->bytes -= message_bytes(message);
	if (message->not_full)
		list->not_full_count--;
	if (message->suspect)
		list->suspect_count--;
	if (message->destination != NULL)
		message->destination->listed--;
	message->previous = message->next = NULL;
}

void
unconfirmed_free(Unconfirmed *list)
{
	OutMessage *next;

	for (OutMessage *message = list->first; message != NULL; message = next)
	{
		next = message->next;
		free(message);
	}
	unconfirmed_init(list);
}

bool
unconfirmed_has_room(const Unconfirmed *list)
{
	return list->count < UNCONFIRMED_MAX && list->bytes < UNCONFIRMED_MAX_BYTES;
}

/* Copies bytes to *at and moves it on. */
static MqBytes
copy_behind(char **at, MqBytes bytes)
{
	MqBytes copy = {*at, bytes.size};

	if (bytes.size > 0)
		memcpy(*at, bytes.data, bytes.size);
	*at += bytes.size;
	return copy;
}

OutMessage *
unconfirmed_add(Unconfirmed *list, const OutMessage *from)
{
	OutMessage *message = malloc(message_bytes(from));
	char       *at;

	if (message == NULL)
		return NULL;
	*message = *from;
	at = (char *) (message + 1);
	message->exchange = copy_behind(&at, from->exchange);
	message->routing_key = copy_behind(&at, from->routing_key);
	message->raw_properties = copy_behind(&at, from->raw_properties);
	message->body = copy_behind(&at, from->body);
	message->tag = 0;
	message->returned = message->suspect = false;
	message->next = NULL;
	message->previous = list->last;
	if (list->last == NULL)
		list->first = message;
	else
		list->last->next = message;
	list->last = message;
	if (list->next_unsent == NULL)
		list->next_unsent = message;
	list->count++;
	list->bytes += message_bytes(message);
	if (message->not_full)
		list->not_full_count++;
	if (message->destination != NULL)
		message->destination->listed++;
	return message;
}

OutMessage *
unconfirmed_next_unsent(Unconfirmed *list)
{
	while (list->next_unsent != NULL && list->next_unsent->tag != 0)
		list->next_unsent = list->next_unsent->next;
	return list->next_unsent;
}

bool
unconfirmed_can_send(const Unconfirmed *list)
{
	return list->next_tag - list->lowest_tag < UNCONFIRMED_MAX;
}

void
unconfirmed_sent(Unconfirmed *list, OutMessage *message, uint64_t tag, int64_t now_us)
{
	assert(unconfirmed_can_send(list));
	assert(tag == list->next_tag);
	message->tag = tag;
	message->sent_at_us = now_us;
	message->returned = false;
	*slot_of(list, tag) = message;
	list->next_tag = tag + 1;
	list->sent_count++;
	if (message->destination != NULL)
		message->destination->in_flight++;
}

/* Takes the message of a tag out of the table, unsent; NULL: that tag is settled or was never used. */
static OutMessage *
take_tag(Unconfirmed *list, uint64_t tag)
{
	OutMessage *message;

	if (tag < list->lowest_tag || tag >= list->next_tag)
		return NULL;
	message = *slot_of(list, tag);
	*slot_of(list, tag) = NULL;
	while (list->lowest_tag < list->next_tag && *slot_of(list, list->lowest_tag) == NULL)
		list->lowest_tag++;
	if (message == NULL)
		return NULL;
	list->sent_count--;
	if (message->destination != NULL)
		message->destination->in_flight--;
	message->tag = 0;
	return message;
}

/* The search for the next to send starts anew, and passes over those under way by their tags. */
static void
refuse(Unconfirmed *list, OutMessage *message, AnswerFunction refused, void *context)
{
	message->returned = false;
	list->next_unsent = list->first;
	refused(context, message);
}

/* The first tag that an answer speaks of. RabbitMQ's tag 0 with multiple: all so far. */
static uint64_t
first_tag(const Unconfirmed *list, uint64_t tag, bool multiple)
{
	return multiple ? list->lowest_tag : tag;
}

static uint64_t
last_tag(const Unconfirmed *list, uint64_t tag, bool multiple)
{
	if ((multiple && tag == 0) || tag >= list->next_tag)
		return list->next_tag - 1;
	return tag;
}

void
unconfirmed_ack(Unconfirmed *list, uint64_t tag, bool multiple, AnswerFunction confirmed,
                AnswerFunction refused, void *context)
{
	uint64_t last = last_tag(list, tag, multiple);

	for (uint64_t t = first_tag(list, tag, multiple); t <= last; t++)
	{
		OutMessage *message = take_tag(list, t);

		if (message == NULL)
			continue;
		if (message->returned)
		{
			refuse(list, message, refused, context);
			continue;
		}
		confirmed(context, message);
		unconfirmed_remove(list, message);
		free(message);
	}
}

void
unconfirmed_nack(Unconfirmed *list, uint64_t tag, bool multiple, AnswerFunction refused,
                 void *context)
{
	uint64_t last = last_tag(list, tag, multiple);

	for (uint64_t t = first_tag(list, tag, multiple); t <= last; t++)
	{
		OutMessage *message = take_tag(list, t);

		if (message != NULL)
			refuse(list, message, refused, context);
	}
}

void
unconfirmed_suspect(Unconfirmed *list, OutMessage *message)
{
	if (!message->suspect)
		list->suspect_count++;
	message->suspect = true;
}

OutMessage *
unconfirmed_next_suspect(const Unconfirmed *list)
{
	OutMessage *message = list->first;

	while (message != NULL && !(message->suspect && message->tag == 0))
		message = message->next;
	return message;
}

OutMessage *
unconfirmed_returned(Unconfirmed *list, MqBytes exchange, MqBytes routing_key, int64_t first_id,
                     int64_t last_id, int64_t part)
{
	for (OutMessage *m = list->first; m != NULL; m = m->next)
	{
		if (m->tag != 0 && !m->returned && m->first_id == first_id && m->last_id == last_id &&
		    m->part == part && mq_bytes_equal(m->exchange, exchange) &&
		    mq_bytes_equal(m->routing_key, routing_key))
		{
			m->returned = true;
			return m;
		}
	}
	return NULL;
}

void
unconfirmed_channel_lost(Unconfirmed *list)
{
	for (OutMessage *m = list->first; m != NULL; m = m->next)
	{
		m->tag = 0;
		m->returned = false;
		if (m->destination != NULL)
			m->destination->in_flight = 0;
	}
	memset(list->by_tag, 0, sizeof(list->by_tag));
	list->lowest_tag = list->next_tag = 1;
	list->sent_count = 0;
	list->next_unsent = list->first;
}

int64_t
unconfirmed_oldest_sent_us(const Unconfirmed *list)
{
	int64_t oldest = INT64_MAX;

	/* The lowest tag outstanding was sent first. */
	if (list->sent_count > 0)
		oldest = list->by_tag[list->lowest_tag & (UNCONFIRMED_MAX - 1)]->sent_at_us;
	return oldest;
}
