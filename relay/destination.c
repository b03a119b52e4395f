/*
 * destination.c
 *    A hash table of names and a list by last use.
 */
#include "relay/destination.h"

#include "wire/plain.h"

#include <assert.h>
#include <stdlib.h>

#define FIRST_BUCKETS 64
#define FORGET_LOOKS 8

bool
destinations_init(Destinations *list, uint64_t seed)
{
	*list = (Destinations){.bucket_count = FIRST_BUCKETS, .most = DESTINATIONS_MAX, .seed = seed};
	list->buckets = calloc(list->bucket_count, sizeof(Destination *));
	return list->buckets != NULL;
}

void
destinations_free(Destinations *list)
{
	Destination *older;

	for (Destination *d = list->newest; d != NULL; d = older)
	{
		older = d->older;
		free(d->chunk.events);
		free(d);
	}
	free(list->buckets);
	*list = (Destinations){0};
}

static Destination **
bucket_of(const Destinations *list, MqBytes exchange, MqBytes routing_key)
{
	/* No address as salt: the table moves as it grows. */
	uint32_t hash = mq_hash(routing_key, mq_hash(exchange, 0));

	return &list->buckets[hash & (list->bucket_count - 1)];
}

Destination *
destination_find(const Destinations *list, MqBytes exchange, MqBytes routing_key)
{
	Destination *d = *bucket_of(list, exchange, routing_key);

	while (d != NULL &&
	       !(mq_bytes_equal(d->routing_key, routing_key) && mq_bytes_equal(d->exchange, exchange)))
		d = d->bucket_next;
	return d;
}

/* ---- by last use ------------------------------------------------------------------------------ */

static void
unlink_use(Destinations *list, Destination *d)
{
	if (d->newer == NULL)
		list->newest = d->older;
	else
		d->newer->older = d->older;
	if (d->older == NULL)
		list->oldest = d->newer;
	else
		d->older->newer = d->newer;
}

static void
link_newest(Destinations *list, Destination *d)
{
	d->newer = NULL;
	d->older = list->newest;
	if (list->newest == NULL)
		list->oldest = d;
	else
		list->newest->newer = d;
	list->newest = d;
}

static void
forget(Destinations *list, Destination *d)
{
	Destination **at = bucket_of(list, d->exchange, d->routing_key);

	while (*at != d)
		at = &(*at)->bucket_next;
	*at = d->bucket_next;
	unlink_use(list, d);
	list->count--;
	assert(d->chunk.events == NULL);
	free(d);
}

/* Nothing depends on its being known. */
static bool
is_idle(const Destination *d)
{
	return d->listed == 0 && !d->guest && d->state != DESTINATION_PARKED;
}

/* Down to the most, those used longest ago first. What is needed stays: messages under way are
 * bounded, and so are those parked by name. Those that stay move to the front, so that the next
 * search does not meet them again. */
static void
forget_oldest(Destinations *list)
{
	for (int looks = 0; looks < FORGET_LOOKS && list->count >= list->most; looks++)
	{
		Destination *d = list->oldest;

		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): what was forgotten is no longer in the list */
		if (is_idle(d))
		{
			forget(list, d);
			continue;
		}
		unlink_use(list, d);
		link_newest(list, d);
	}
}

/* ---- parked ----------------------------------------------------------------------------------- */

void
destination_park(Destinations *list, Destination *d)
{
	assert(d->state != DESTINATION_PARKED);
	d->state = DESTINATION_PARKED;
	d->after = 0;
	d->parked_previous = NULL;
	d->parked_next = list->first_parked;
	if (list->first_parked != NULL)
		list->first_parked->parked_previous = d;
	list->first_parked = d;
	list->parked_count++;
}

void
destination_unpark(Destinations *list, Destination *d, DestinationState state)
{
	assert(d->state == DESTINATION_PARKED && state != DESTINATION_PARKED);
	if (d->parked_previous == NULL)
		list->first_parked = d->parked_next;
	else
		d->parked_previous->parked_next = d->parked_next;
	if (d->parked_next != NULL)
		d->parked_next->parked_previous = d->parked_previous;
	d->parked_next = d->parked_previous = NULL;
	d->state = state;
	list->parked_count--;
}

/* ---- making ----------------------------------------------------------------------------------- */

static void
grow(Destinations *list)
{
	Destinations bigger = *list;

	bigger.bucket_count *= 2;
	bigger.buckets = calloc(bigger.bucket_count, sizeof(Destination *));
	if (bigger.buckets == NULL)
		return; /* longer chains do no harm */
	for (Destination *d = list->newest; d != NULL; d = d->older)
	{
		Destination **bucket = bucket_of(&bigger, d->exchange, d->routing_key);

		d->bucket_next = *bucket;
		*bucket = d;
	}
	free(list->buckets);
	*list = bigger;
}

/* Copies a name to *at, with a NUL behind it, and moves *at on. */
static MqBytes
copy_name(char **at, MqBytes name)
{
	MqBytes copy = {*at, name.size};

	if (name.size > 0)
		memcpy(*at, name.data, name.size);
	(*at)[name.size] = '\0';
	*at += name.size + 1;
	return copy;
}

static Destination *
make(Destinations *list, MqBytes exchange, MqBytes routing_key)
{
	Destination  *d = calloc(1, sizeof(*d) + exchange.size + routing_key.size + 2);
	Destination **bucket;
	char         *at;

	if (d == NULL)
		return NULL;
	at = (char *) (d + 1);
	d->exchange = copy_name(&at, exchange);
	d->routing_key = copy_name(&at, routing_key);
	d->width = 1;
	/* Each with jitter of its own: a thousand queues must not be tried in the same moment. */
	list->seed = list->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	backoff_init(&d->backoff, DESTINATION_RETRY_FIRST_US, DESTINATION_RETRY_LIMIT_US, list->seed);
	bucket = bucket_of(list, exchange, routing_key);
	d->bucket_next = *bucket;
	*bucket = d;
	link_newest(list, d);
	list->count++;
	return d;
}

Destination *
destination_use(Destinations *list, MqBytes exchange, MqBytes routing_key)
{
	Destination *d = destination_find(list, exchange, routing_key);

	if (d != NULL)
	{
		if (d != list->newest)
		{
			unlink_use(list, d);
			link_newest(list, d);
		}
		return d;
	}
	if (list->count > list->bucket_count)
		grow(list);
	forget_oldest(list);
	return make(list, exchange, routing_key);
}

void
destination_try_now(Destination *destination, int64_t now_us)
{
	backoff_reset(&destination->backoff);
	destination->width = 1;
	destination->due_us = now_us;
}
