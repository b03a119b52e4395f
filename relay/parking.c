/*
 * parking.c
 *    Destinations that do not take messages now, and messages that will never be taken.
 *
 * A refused message, and all others to its destination that are not under way, leave the list of
 * messages: the source keeps their events (parking_write), in the order of their ids, so the window
 * they came from is settled and others go on. While a destination is parked its new events follow
 * them. When its time has come the first parked event is tried, alone; where it is accepted twice as
 * many follow, until none is left: the destination is open again.
 *
 * A try waits until nothing else to that destination is under way: what was sent before the refusal may
 * still be accepted, and comes first then.
 *
 * At most DESTINATIONS_MAX are parked under a name. Any others are the crowd, of which only the
 * source knows the names: one after the other is a guest among those with a name, for as long as it
 * is accepted. After a round in which nobody was, a delay that grows.
 */
#include "relay/publisher_private.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

bool
parking_init(Publisher *publisher, uint64_t seed)
{
	publisher->aside_end = &publisher->aside_first;
	backoff_init(&publisher->crowd.backoff, DESTINATION_RETRY_FIRST_US, DESTINATION_RETRY_LIMIT_US,
	             seed);
	return destinations_init(&publisher->destinations, seed);
}

void
parking_free(Publisher *publisher)
{
	OutMessage *next;

	for (OutMessage *message = publisher->aside_first; message != NULL; message = next)
	{
		next = message->next;
		free(message);
	}
	free(publisher->ranges);
	destinations_free(&publisher->destinations);
}

Destination *
parking_destination(Publisher *publisher, MqBytes exchange, MqBytes routing_key)
{
	Destination *d = destination_find(&publisher->destinations, exchange, routing_key);
	bool         known = d != NULL;

	d = destination_use(&publisher->destinations, exchange, routing_key);
	if (d != NULL && !known && publisher->crowd.present &&
	    publisher->source.is_parked(publisher->source.context, exchange, routing_key))
		d->state = DESTINATION_CROWD;
	return d;
}

static void
set_destination_error(Destination *d, const char *reason)
{
	if (reason != d->error)
		snprintf(d->error, sizeof(d->error), "%.*s", (int) sizeof(d->error) - 1, reason);
}

static void
tell(Publisher *publisher, PublisherNews news, const Destination *d, const char *text)
{
	publisher->source.tell(publisher->source.context, news, d->exchange, d->routing_key, text);
}

/* ---- setting aside ---------------------------------------------------------------------------- */

/* Out of the list, to be parked by the next parking_write. */
static void
set_aside(Publisher *publisher, OutMessage *message)
{
	assert(message->window != 0);
	unconfirmed_remove(&publisher->unconfirmed, message);
	message->destination->listed++; /* until it is written */
	*publisher->aside_end = message;
	publisher->aside_end = &message->next;
}

void
parking_admit(Publisher *publisher, OutMessage *message)
{
	if (message->destination->state != DESTINATION_OPEN && message->attempts == 0)
		set_aside(publisher, message);
}

/* What waits for destinations that are parked. */
static void
set_waiting_aside(Publisher *publisher)
{
	OutMessage *next;

	for (OutMessage *message = publisher->unconfirmed.first; message != NULL; message = next)
	{
		next = message->next;
		if (message->tag == 0 && message->window != 0)
			parking_admit(publisher, message);
	}
}

/* The time of the next try, for one that was in vain. */
static void
wait_longer(Publisher *publisher, Destination *d, int64_t now_us)
{
	d->tried_at_us = now_us;
	d->width = 1;
	d->due_us = now_us + backoff_next_us(&d->backoff);
	publisher->parking_due_us = 0;
}

/* The crowd has somebody, if it had nobody before. */
static void
join_crowd(Publisher *publisher, int64_t parked_at_us, const char *reason)
{
	Crowd *crowd = &publisher->crowd;

	if (!crowd->present)
	{
		crowd->parked_at_us = parked_at_us;
		publisher->parking_due_us = 0;
	}
	crowd->present = true;
	snprintf(crowd->error, sizeof(crowd->error), "%s", reason);
}

static void
park(Publisher *publisher, Destination *d, int64_t now_us)
{
	Destinations *list = &publisher->destinations;

	d->attempts = 1;
	d->parked = 0;
	d->parked_at_us = now_us;
	backoff_reset(&d->backoff);
	if (list->parked_count < list->most)
	{
		destination_park(list, d);
		wait_longer(publisher, d, now_us);
		tell(publisher, PUBLISHER_PARKS, d, d->error);
	}
	else
	{
		d->state = DESTINATION_CROWD;
		join_crowd(publisher, now_us, d->error);
	}
	publisher->destinations_version++;
	set_waiting_aside(publisher);
}

/* Nothing of it is parked any more. */
static void
open_again(Publisher *publisher, Destination *d)
{
	Crowd *crowd = &publisher->crowd;

	destination_unpark(&publisher->destinations, d, DESTINATION_OPEN);
	d->alone = false;
	d->parked = 0;
	d->attempts = 0;
	publisher->destinations_version++;
	if (!d->guest)
	{
		tell(publisher, PUBLISHER_OPENS, d, "");
		return;
	}
	d->guest = false;
	crowd->guest = NULL;
	crowd->due_us = 0;
	backoff_reset(&crowd->backoff);
}

/* ---- parked events that are being tried ------------------------------------------------------- */

static void
set_outcome(Chunk *chunk, int64_t first_id, int64_t last_id, ChunkOutcome outcome)
{
	for (size_t i = 0; i < chunk->count; i++)
	{
		if (chunk->events[i].id >= first_id && chunk->events[i].id <= last_id &&
		    chunk->events[i].outcome != CHUNK_DEAD)
			chunk->events[i].outcome = outcome;
	}
}

/* A message of parked events leaves the list: they are still in the table. */
static void
drop_from_chunk(Publisher *publisher, OutMessage *message, ChunkOutcome outcome)
{
	Chunk *chunk = &message->destination->chunk;

	set_outcome(chunk, message->first_id, message->last_id, outcome);
	chunk->messages--;
	publisher->parking_due_us = 0;
	unconfirmed_remove(&publisher->unconfirmed, message);
	free(message);
}

/* One of the chunk was refused: those behind it stay where they are. */
static void
refuse_in_chunk(Publisher *publisher, OutMessage *message)
{
	Destination *d = message->destination;
	OutMessage  *next;

	d->chunk.refused = true;
	drop_from_chunk(publisher, message, CHUNK_REFUSED);
	for (message = publisher->unconfirmed.first; message != NULL; message = next)
	{
		next = message->next;
		if (message->destination == d && message->tag == 0 && message->window == 0)
			drop_from_chunk(publisher, message, CHUNK_REFUSED);
	}
}

void
parking_after_loss(Publisher *publisher)
{
	OutMessage *next;

	for (OutMessage *message = publisher->unconfirmed.first; message != NULL; message = next)
	{
		next = message->next;
		if (message->window != 0)
			parking_admit(publisher, message);
		else if (message->destination->chunk.refused)
			drop_from_chunk(publisher, message, CHUNK_REFUSED);
	}
}

/* The crowd's guest was refused: the next one's turn. */
static void
leave_as_guest(Publisher *publisher, Destination *d, int64_t now_us)
{
	Crowd *crowd = &publisher->crowd;

	snprintf(crowd->error, sizeof(crowd->error), "%s", d->error);
	destination_unpark(&publisher->destinations, d, DESTINATION_CROWD);
	d->guest = false;
	crowd->guest = NULL;
	crowd->due_us = now_us + DESTINATION_RETRY_FIRST_US;
}

/* The next try comes after a longer delay. */
static void
give_up_for_now(Publisher *publisher, Destination *d, int64_t now_us)
{
	wait_longer(publisher, d, now_us);
	if (d->guest)
		leave_as_guest(publisher, d, now_us);
}

/* The next chunk begins behind the last event before which none is left: the index would lead to each row
 * that was deleted, as long as somebody may see it. */
static void
move_on(Destination *d, const Chunk *chunk)
{
	for (size_t i = 0;
	     i < chunk->count && !chunk->held && chunk->events[i].outcome != CHUNK_REFUSED; i++)
		d->after = chunk->events[i].id;
}

/* Every message of the chunk has its answer. */
static void
settle_chunk(Publisher *publisher, Destination *d, int64_t now_us)
{
	Chunk  chunk = d->chunk;
	size_t kept = 0;

	d->chunk = (Chunk){0};
	move_on(d, &chunk);
	publisher->source.settle(publisher->source.context, chunk.events, chunk.count, d->error);
	for (size_t i = 0; i < chunk.count; i++)
		kept += chunk.events[i].outcome == CHUNK_REFUSED;
	if (kept < chunk.count)
	{
		*(d->guest ? &publisher->crowd.parked : &d->parked) -= (int64_t) (chunk.count - kept);
		backoff_reset(&d->backoff);
		d->attempts = 0;
	}
	if (chunk.refused)
	{
		d->attempts++;
		give_up_for_now(publisher, d, now_us);
	}
	else
	{
		d->width = d->width > DESTINATION_CHUNK_MAX / 2 ? DESTINATION_CHUNK_MAX : 2 * d->width;
		d->due_us = now_us;
	}
	publisher->destinations_version++;
	free(chunk.events);
}

static void
make_messages(Publisher *publisher, Destination *d, const RelayEvent *events, const char *lsn)
{
	MqError  error = {0};
	MqResult result = MQ_OK;

	publisher->chunk_of = d;
	batch_begin(publisher->parked_batch, 0, lsn);
	for (size_t i = 0; i < d->chunk.count && result == MQ_OK; i++)
	{
		result = batch_add(publisher->parked_batch, &events[i], &error);
		if (result == MQ_INVALID)
		{
			set_destination_error(d, error.text);
			set_outcome(&d->chunk, events[i].id, events[i].id, CHUNK_DEAD);
			result = MQ_OK;
		}
	}
	if (result == MQ_OK)
		result = batch_end(publisher->parked_batch, &error);
	publisher->chunk_of = NULL;
	publisher->counters.coalesced += batch_take_coalesced(publisher->parked_batch);
	if (result != MQ_OK)
		publisher_fail(publisher, error.text);
}

/* Behind the last one settled, and then from the first on again: one that was held, or that could not be
 * deleted, may still be there. */
static size_t
read_next(Publisher *publisher, Destination *d, const RelayEvent **events, const char **lsn,
          bool *held)
{
	const PublisherSource *source = &publisher->source;
	size_t count = source->read_parked(source->context, d->exchange, d->routing_key, d->after,
	                                   d->width, events, lsn, held);

	if (count > 0 || d->after == 0)
		return count;
	d->after = 0;
	return source->read_parked(source->context, d->exchange, d->routing_key, 0, d->width, events,
	                           lsn, held);
}

/* Reads the next parked events of a destination into messages; without any it is open again. */
static void
try_chunk(Publisher *publisher, Destination *d, int64_t now_us)
{
	const RelayEvent *events;
	const char       *lsn;
	bool              held;
	size_t            count = read_next(publisher, d, &events, &lsn, &held);

	if (count == 0)
	{
		if (!held)
			open_again(publisher, d);
		else
			give_up_for_now(publisher, d, now_us);
		return;
	}
	if (count > 1 || events[0].id != d->partly_id)
		d->partly = 0;
	d->partly_id = count > 1 ? 0 : events[0].id;
	d->tried_at_us = now_us;
	d->chunk = (Chunk){.events = calloc(count, sizeof(ChunkEvent)), .count = count, .held = held};
	if (d->chunk.events == NULL)
	{
		publisher_fail(publisher, "out of memory");
		return;
	}
	for (size_t i = 0; i < count; i++)
		d->chunk.events[i].id = events[i].id;
	make_messages(publisher, d, events, lsn);
}

/* ---- answers ---------------------------------------------------------------------------------- */

static bool
is_of_event(const OutMessage *message, int64_t id)
{
	return message->first_id == id && message->last_id == id;
}

bool
parking_is_accepted(const Destination *d, const OutMessage *message)
{
	return is_of_event(message, d->partly_id) && message->part <= d->partly;
}

/* The exchange is there: what waited for it need not wait for its own time. */
static void
try_exchange(Publisher *publisher, const Destination *tried, int64_t now_us)
{
	for (Destination *d = publisher->destinations.first_parked; d != NULL; d = d->parked_next)
	{
		if (d == tried || !d->alone || d->chunk.events != NULL ||
		    !mq_bytes_equal(d->exchange, tried->exchange))
			continue;
		d->alone = false;
		destination_try_now(d, now_us);
	}
}

void
parking_confirmed(Publisher *publisher, const OutMessage *message, int64_t now_us)
{
	Destination *d = message->destination;

	d->messages++;
	publisher->destinations_version++;
	if (publisher->parking_waits)
		publisher->parking_due_us = 0;
	if (message->window == 0)
	{
		if (d->alone)
			try_exchange(publisher, d, now_us);
		if (is_of_event(message, d->partly_id) && message->part == d->partly + 1)
			d->partly++;
		d->alone = false;
		d->chunk.messages--;
		publisher->parking_due_us = 0;
		return;
	}
	/* Somebody had one tried again out of its order, and it went: so may the others. */
	if (d->state == DESTINATION_PARKED && d->chunk.events == NULL && message->attempts > 0)
	{
		destination_try_now(d, now_us);
		publisher->parking_due_us = 0;
	}
}

void
parking_refuse(Publisher *publisher, OutMessage *message, const char *reason, bool alone,
               int64_t now_us)
{
	Destination *d = message->destination;

	set_destination_error(d, reason);
	publisher_set_error(publisher, d->error);
	d->alone = d->alone || alone;
	publisher->progress = true;
	if (publisher->parking_waits)
		publisher->parking_due_us = 0;
	if (message->window == 0)
	{
		refuse_in_chunk(publisher, message);
		return;
	}
	message->attempts++;
	set_aside(publisher, message);
	if (d->state == DESTINATION_OPEN)
		park(publisher, d, now_us);
}

void
parking_refuse_exchange(Publisher *publisher, MqBytes exchange, const char *reason, int64_t now_us)
{
	OutMessage *message = publisher->unconfirmed.first;

	while (message != NULL)
	{
		if (message->window == 0 || message->destination->state != DESTINATION_OPEN ||
		    !mq_bytes_equal(message->exchange, exchange))
		{
			message = message->next;
			continue;
		}
		parking_refuse(publisher, message, reason, true, now_us);
		message = publisher->unconfirmed.first; /* others went with it */
	}
}

void
parking_postpone_exchange(Publisher *publisher, MqBytes exchange, const char *reason,
                          int64_t now_us)
{
	OutMessage *next;

	for (Destination *d = publisher->destinations.first_parked; d != NULL; d = d->parked_next)
	{
		if (d->alone && !d->guest && d->chunk.events == NULL &&
		    mq_bytes_equal(d->exchange, exchange))
			wait_longer(publisher, d, now_us);
	}
	for (OutMessage *message = publisher->unconfirmed.first; message != NULL; message = next)
	{
		next = message->next;
		if (message->window != 0 || !message->destination->alone ||
		    !mq_bytes_equal(message->exchange, exchange))
			continue;
		parking_refuse(publisher, message, reason, true, now_us);
		next = publisher->unconfirmed.first; /* others went with it */
	}
}

static void
tell_dead(Publisher *publisher, int64_t id, MqBytes exchange, MqBytes routing_key,
          const char *reason)
{
	char text[sizeof(publisher->last_error.text)];

	snprintf(text, sizeof(text), "event %" PRId64 ": %s", id, reason);
	publisher_set_error(publisher, text);
	publisher->source.tell(publisher->source.context, PUBLISHER_BURIES, exchange, routing_key,
	                       text);
}

/* The events of a message, as it stands; borrows its names. */
static ParkRange
range_of(const OutMessage *message)
{
	return (ParkRange){
		.window = message->window,
		.first_id = message->first_id,
		.last_id = message->last_id,
		.invalidations = message->invalidations,
		.attempts = message->attempts,
		.exchange = message->exchange,
		.routing_key = message->routing_key,
	};
}

/* Sets the events of a range aside as dead. */
static void
bury(Publisher *publisher, ParkRange range, const char *reason)
{
	range.dead = true;
	range.attempts++;
	range.reason = reason;
	publisher->source.park(publisher->source.context, &range, 1);
}

void
parking_bury(Publisher *publisher, OutMessage *message, const char *reason)
{
	tell_dead(publisher, message->last_id, message->exchange, message->routing_key, reason);
	publisher->progress = true;
	if (message->window == 0)
	{
		set_destination_error(message->destination, reason);
		drop_from_chunk(publisher, message, CHUNK_DEAD);
		return;
	}
	unconfirmed_remove(&publisher->unconfirmed, message);
	bury(publisher, range_of(message), reason);
	publisher_settled(publisher, message->window);
	free(message);
}

void
parking_bury_event(Publisher *publisher, const RelayEvent *event, uint64_t window,
                   const char *reason)
{
	tell_dead(publisher, event->id, event->exchange, event->routing_key, reason);
	bury(publisher,
	     (ParkRange){
			 .window = window,
			 .first_id = event->id,
			 .last_id = event->id,
			 .attempts = event->attempts,
			 .exchange = event->exchange,
			 .routing_key = event->routing_key,
		 },
	     reason);
}

/* ---- what is due ------------------------------------------------------------------------------ */

static bool
reserve_ranges(Publisher *publisher, size_t count)
{
	size_t     capacity = publisher->range_capacity == 0 ? 64 : publisher->range_capacity;
	ParkRange *ranges;

	while (capacity < count)
		capacity *= 2;
	if (capacity == publisher->range_capacity)
		return true;
	ranges = realloc(publisher->ranges, capacity * sizeof(*ranges));
	if (ranges == NULL)
		return false;
	publisher->ranges = ranges;
	publisher->range_capacity = capacity;
	return true;
}

/* The source has taken them. */
static void
forget_aside(Publisher *publisher)
{
	OutMessage *next;
	size_t      i = 0;

	for (OutMessage *message = publisher->aside_first; message != NULL; message = next)
	{
		Destination *d = message->destination;

		next = message->next;
		*(d->state == DESTINATION_PARKED && !d->guest ? &d->parked : &publisher->crowd.parked) +=
			(int64_t) publisher->ranges[i++].parked;
		if (d->after >= message->first_id)
			d->after = message->first_id - 1;
		d->listed--;
		publisher_settled(publisher, message->window);
		free(message);
	}
	publisher->aside_first = NULL;
	publisher->aside_end = &publisher->aside_first;
	publisher->destinations_version++;
}

void
parking_write(Publisher *publisher)
{
	size_t count = 0;

	if (publisher->aside_first == NULL)
		return;
	for (const OutMessage *message = publisher->aside_first; message != NULL;
	     message = message->next)
	{
		if (!reserve_ranges(publisher, count + 1))
		{
			publisher_fail(publisher, "out of memory");
			return;
		}
		publisher->ranges[count] = range_of(message);
		if (message->attempts > 0)
			publisher->ranges[count].reason = message->destination->error;
		count++;
	}
	publisher->source.park(publisher->source.context, publisher->ranges, count);
	forget_aside(publisher);
}

/* One of the crowd is parked like those with a name: for good where there is room, else as a guest. */
static void
take_in(Publisher *publisher, Destination *d, int64_t count, int64_t now_us)
{
	Crowd *crowd = &publisher->crowd;

	d->guest = publisher->destinations.parked_count >= publisher->destinations.most;
	destination_park(&publisher->destinations, d);
	destination_try_now(d, now_us);
	crowd->found = true;
	if (d->guest)
	{
		crowd->guest = d;
		return;
	}
	d->parked = count;
	d->parked_at_us = crowd->parked_at_us;
	crowd->parked -= count;
	publisher->destinations_version++;
}

/* Nothing is parked without a name any more. Those whose events were all taken away by hand never had a
 * turn: what comes for them next must not wait for one. */
static void
end_crowd(Publisher *publisher)
{
	publisher->crowd.present = false;
	publisher->crowd.parked = 0;
	for (Destination *d = publisher->destinations.newest; d != NULL; d = d->older)
	{
		if (d->state == DESTINATION_CROWD)
			d->state = DESTINATION_OPEN;
	}
	publisher->destinations_version++;
}

/* The turn of the next one in the crowd. */
static void
invite(Publisher *publisher, int64_t now_us)
{
	Crowd       *crowd = &publisher->crowd;
	Destination *d;
	int64_t      count;

	while (publisher->source.next_parked(publisher->source.context, crowd->begun, crowd->exchange,
	                                     crowd->routing_key, &count))
	{
		crowd->begun = true;
		d = destination_use(&publisher->destinations, mq_bytes_of(crowd->exchange),
		                    mq_bytes_of(crowd->routing_key));
		if (d == NULL)
		{
			publisher_fail(publisher, "out of memory");
			return;
		}
		if (d->state == DESTINATION_PARKED)
			continue;
		take_in(publisher, d, count, now_us);
		return;
	}
	/* The round is over. */
	if (!crowd->found)
		end_crowd(publisher);
	crowd->begun = crowd->found = false;
	crowd->due_us = now_us + backoff_next_us(&crowd->backoff);
}

static int64_t
min_us(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* What one parked destination has to do; gives when it has something again. */
static int64_t
visit(Publisher *publisher, Destination *d, int64_t now_us)
{
	if (d->chunk.events != NULL && d->chunk.messages == 0)
		settle_chunk(publisher, d, now_us);
	if (d->state != DESTINATION_PARKED || d->chunk.events != NULL)
		return PUBLISHER_NEVER;
	if (now_us < d->due_us)
		return d->due_us;
	/* What was sent before it was parked comes first. */
	if (d->in_flight > 0 || !publisher_has_room(publisher))
	{
		publisher->parking_waits = true;
		return PUBLISHER_NEVER;
	}
	try_chunk(publisher, d, now_us);
	if (d->state != DESTINATION_PARKED)
		return PUBLISHER_NEVER;
	/* Where all of it was dead there is nothing to wait for. */
	if (d->chunk.events != NULL)
		return d->chunk.messages == 0 ? now_us : PUBLISHER_NEVER;
	return d->due_us;
}

void
parking_try(Publisher *publisher, int64_t now_us)
{
	Crowd       *crowd = &publisher->crowd;
	int64_t      due = PUBLISHER_NEVER;
	Destination *next;

	if (now_us < publisher->parking_due_us)
		return;
	publisher->parking_waits = false;
	if (crowd->present && crowd->guest == NULL && now_us >= crowd->due_us)
		invite(publisher, now_us);
	for (Destination *d = publisher->destinations.first_parked; d != NULL; d = next)
	{
		next = d->parked_next;
		due = min_us(due, visit(publisher, d, now_us));
	}
	if (crowd->present && crowd->guest == NULL)
		due = min_us(due, crowd->due_us);
	publisher->parking_due_us = due;
}

/* ---- what others changed ---------------------------------------------------------------------- */

void
publisher_parked_anew(Publisher *publisher, int64_t now_us)
{
	for (Destination *d = publisher->destinations.first_parked; d != NULL; d = d->parked_next)
	{
		d->parked = 0;
		d->after = 0;
		destination_try_now(d, now_us);
	}
	publisher->crowd.parked = 0;
	publisher->crowd.due_us = now_us;
	backoff_reset(&publisher->crowd.backoff);
	publisher->parking_due_us = 0;
	publisher->destinations_version++;
}

bool
publisher_parked(Publisher *publisher, MqBytes exchange, MqBytes routing_key, int64_t count,
                 int64_t parked_at_us, const char *reason, int64_t now_us)
{
	Destination *d = destination_use(&publisher->destinations, exchange, routing_key);

	if (d == NULL)
		return false;
	if (d->state == DESTINATION_OPEN &&
	    publisher->destinations.parked_count < publisher->destinations.most)
	{
		destination_park(&publisher->destinations, d);
		d->parked_at_us = parked_at_us;
		set_destination_error(d, reason);
		destination_try_now(d, now_us);
	}
	if (d->state == DESTINATION_PARKED && !d->guest)
	{
		d->parked = count;
		return true;
	}
	if (!d->guest)
		d->state = DESTINATION_CROWD;
	join_crowd(publisher, parked_at_us, reason);
	publisher->crowd.parked += count;
	return true;
}
