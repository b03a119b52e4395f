/*
 * publisher.c
 *    States: publisher.h. One function, enter(), changes the state.
 */
#include "relay/publisher_private.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* A message of a window, or of parked events that are tried. */
static MqResult
sink(void *context, const OutMessage *from)
{
	Publisher   *publisher = context;
	Destination *d = publisher->chunk_of;
	OutMessage   made = *from;
	OutMessage  *message;
	OpenWindow  *window;

	if (d != NULL && parking_is_accepted(d, from))
		return MQ_OK;
	if (d == NULL)
		d = parking_destination(publisher, from->exchange, from->routing_key);
	made.destination = d;
	message = d == NULL ? NULL : unconfirmed_add(&publisher->unconfirmed, &made);
	if (message == NULL)
		return MQ_NOMEM;
	if (publisher->chunk_of != NULL)
	{
		d->chunk.messages++;
		if (d->alone)
			unconfirmed_suspect(&publisher->unconfirmed, message);
		return MQ_OK;
	}
	window = &publisher->windows[(publisher->window_first + publisher->window_count - 1) %
	                             PUBLISHER_WINDOWS_MAX];
	assert(window->number == message->window);
	window->messages++;
	parking_admit(publisher, message);
	return MQ_OK;
}

static MqResult
encode(void *context, const MqProperties *properties, MqBuffer *raw, MqError *error)
{
	Publisher *publisher = context;

	return publisher->batch_options.encode(publisher->encode_context, properties, raw, error);
}

Publisher *
publisher_new(const PublisherSource *source, const PublisherTransport *transport,
              const BatchOptions *batch, void *encode_context, uint64_t seed)
{
	Publisher   *publisher = calloc(1, sizeof(*publisher));
	BatchOptions options = *batch;

	if (publisher == NULL)
		return NULL;
	publisher->source = *source;
	publisher->transport = *transport;
	publisher->batch_options = *batch;
	publisher->encode_context = encode_context;
	options.sink = sink;
	options.encode = encode;
	options.context = publisher;
	publisher->batch = batch_new(&options);
	publisher->parked_batch = batch_new(&options);
	if (!parking_init(publisher, seed ^ UINT64_C(0x9e3779b97f4a7c15)) || publisher->batch == NULL ||
	    publisher->parked_batch == NULL)
	{
		publisher_free(publisher);
		return NULL;
	}
	unconfirmed_init(&publisher->unconfirmed);
	backoff_init(&publisher->connect_backoff, PUBLISHER_RETRY_FIRST_US, PUBLISHER_CONNECT_LIMIT_US,
	             seed);
	backoff_init(&publisher->reopen_backoff, PUBLISHER_RETRY_FIRST_US, PUBLISHER_CONNECT_LIMIT_US,
	             seed + 1);
	publisher->progress = true;
	publisher->state = PUBLISHER_WAITING;
	publisher->look = true;
	return publisher;
}

void
publisher_free(Publisher *publisher)
{
	if (publisher == NULL)
		return;
	unconfirmed_free(&publisher->unconfirmed);
	parking_free(publisher);
	batch_free(publisher->batch);
	batch_free(publisher->parked_batch);
	free(publisher);
}

static void
enter(Publisher *publisher, PublisherState state)
{
	PublisherState from = publisher->state;

	if (from == state)
		return;
	switch (state)
	{
	case PUBLISHER_CONNECTING:
		assert(from != PUBLISHER_CONNECTING);
		break;
	case PUBLISHER_IDLE:
	case PUBLISHER_WAITING:
		break;
	case PUBLISHER_PUBLISHING:
	case PUBLISHER_BLOCKED:
		assert(from != PUBLISHER_WAITING && publisher->ready);
		break;
	}
	publisher->state = state;
}

/* The state of a connected publisher follows from what it has to do. */
static void
enter_connected(Publisher *publisher)
{
	if (!publisher->ready)
		return;
	if (publisher->blocked)
		enter(publisher, PUBLISHER_BLOCKED);
	else
		enter(publisher, publisher->unconfirmed.count > 0 ? PUBLISHER_PUBLISHING : PUBLISHER_IDLE);
}

void
publisher_set_error(Publisher *publisher, const char *text)
{
	mq_error_set(&publisher->last_error, MQ_OK, "%s", text);
	publisher->error_version++;
}

void
publisher_fail(Publisher *publisher, const char *text)
{
	publisher_set_error(publisher, text);
	publisher->failed = true;
}

bool
publisher_has_room(const Publisher *publisher)
{
	return unconfirmed_has_room(&publisher->unconfirmed);
}

/* ---- windows ---------------------------------------------------------------------------------- */

/* Windows that have no message left, in order, are done. */
static void
settle_windows(Publisher *publisher)
{
	bool moved = false;

	while (publisher->window_count > 0)
	{
		OpenWindow *window = &publisher->windows[publisher->window_first];

		if (!window->read || window->messages > 0)
			break;
		publisher->confirmed_window = window->number;
		publisher->window_first = (publisher->window_first + 1) % PUBLISHER_WINDOWS_MAX;
		publisher->window_count--;
		moved = true;
	}
	if (moved)
		publisher->source.confirmed(publisher->source.context, publisher->confirmed_window);
}

/* A ring of at most PUBLISHER_WINDOWS_MAX windows: looked through. */
void
publisher_settled(Publisher *publisher, uint64_t number)
{
	for (size_t i = 0; i < publisher->window_count; i++)
	{
		OpenWindow *window =
			&publisher->windows[(publisher->window_first + i) % PUBLISHER_WINDOWS_MAX];

		if (window->number == number)
		{
			assert(window->messages > 0);
			window->messages--;
			break;
		}
	}
}

/* ---- from the transport ----------------------------------------------------------------------- */

void
publisher_on_ready(Publisher *publisher, int64_t now_us)
{
	publisher->ready = true;
	publisher->ready_at_us = publisher->confirm_since_us = now_us;
	publisher->parking_due_us = 0;
	enter_connected(publisher);
}

/* The one message under way; NULL: there are more, or none. */
static OutMessage *
only_one_under_way(Publisher *publisher)
{
	OutMessage *message = publisher->unconfirmed.first;

	if (publisher->unconfirmed.sent_count != 1)
		return NULL;
	while (message->tag == 0)
		message = message->next;
	return message;
}

/* Does the broker's text name this message's exchange? It is quoted there, the default one as
 * 'amq.default'. */
static bool
text_names_exchange(const char *text, const OutMessage *message)
{
	char quoted[300];

	snprintf(quoted, sizeof(quoted), "exchange '%.*s'",
	         (int) (message->exchange.size == 0 ? strlen("amq.default") : message->exchange.size),
	         message->exchange.size == 0 ? "amq.default" : message->exchange.data);
	return strstr(text, quoted) != NULL;
}

/* The broker closed channel or connection over one of several messages under way: from here on those
 * that may be guilty are sent by themselves, half as many at a time, until one is alone. Where the
 * broker names an exchange all messages to it are guilty, so one of them will do. */
static void
suspect_those_under_way(Publisher *publisher, const char *text)
{
	Unconfirmed *list = &publisher->unconfirmed;
	bool         named = false;
	size_t       half = list->sent_count / 2;

	for (const OutMessage *m = list->first; m != NULL; m = m->next)
		named = named || (m->tag != 0 && text_names_exchange(text, m));
	for (OutMessage *m = list->first; m != NULL; m = m->next)
	{
		if (m->tag != 0 && (!named || text_names_exchange(text, m)))
			unconfirmed_suspect(list, m);
	}
	publisher->suspect_width = named || half == 0 ? 1 : half;
	publisher->progress = publisher->progress || publisher->suspect_width > 1;
}

/* Reply codes by which a broker says that it cannot live with what it was sent. (320 and others: it
 * goes away for reasons of its own.) */
static bool
is_about_a_message(int code)
{
	return (code >= 501 && code <= 506) || code == 540 || code == 541;
}

void
publisher_on_lost(Publisher *publisher, int code, const char *reason, int64_t now_us)
{
	OutMessage *only = only_one_under_way(publisher);

	publisher_set_error(publisher, reason);
	if (is_about_a_message(code))
		suspect_those_under_way(publisher, reason);
	/* One that was of use. A peer that takes every login and hangs up is not asked ten times a second. */
	if (publisher->ready && now_us >= publisher->ready_at_us + PUBLISHER_STEADY_US)
		backoff_reset(&publisher->connect_backoff);
	publisher->ready = publisher->blocked = publisher->reopen = false;
	unconfirmed_channel_lost(&publisher->unconfirmed);
	if (is_about_a_message(code) && only != NULL && ++only->strikes == PUBLISHER_STRIKES)
		parking_bury(publisher, only, reason);
	parking_after_loss(publisher);
	publisher->counters.reconnects++;
	publisher->connect_at_us = now_us + backoff_next_us(&publisher->connect_backoff);
	enter(publisher, PUBLISHER_WAITING);
}

/* 404 and 403 are about an exchange, and may pass; so may what we do not know. */
static bool
is_forever(int code)
{
	return code == 406 || code == 311;
}

/* The broker closed the channel over this message, which is unsent again. */
static void
blame(Publisher *publisher, OutMessage *guilty, int code, const char *reason, int64_t now_us)
{
	char    name[256];
	MqBytes exchange = {name, guilty->exchange.size};

	if (is_forever(code))
	{
		parking_bury(publisher, guilty, reason);
		return;
	}
	assert(exchange.size < sizeof(name));
	if (exchange.size > 0)
		memcpy(name, guilty->exchange.data, exchange.size);
	parking_refuse(publisher, guilty, reason, true, now_us);
	if (code == 404)
		parking_refuse_exchange(publisher, exchange, reason, now_us);
	if (code == 404 || code == 403)
		parking_postpone_exchange(publisher, exchange, reason, now_us);
}

void
publisher_on_channel_closed(Publisher *publisher, int code, const char *reason, int64_t now_us)
{
	OutMessage *guilty = only_one_under_way(publisher);

	publisher_set_error(publisher, reason);
	publisher->ready = false;
	publisher->reopen = true;
	/* At once, unless that brings us no further. */
	publisher->reopen_at_us = now_us;
	if (!publisher->progress)
		publisher->reopen_at_us += backoff_next_us(&publisher->reopen_backoff);
	else
		backoff_reset(&publisher->reopen_backoff);
	publisher->progress = false;
	if (guilty == NULL)
		suspect_those_under_way(publisher, reason);
	unconfirmed_channel_lost(&publisher->unconfirmed);
	if (guilty != NULL)
		blame(publisher, guilty, code, reason, now_us);
	parking_after_loss(publisher);
	/* The others are probably innocent. */
	if (guilty != NULL)
		publisher->suspect_width = publisher->unconfirmed.suspect_count;
}

void
publisher_on_channel_lost(Publisher *publisher, int64_t now_us)
{
	publisher->ready = false;
	publisher->reopen = true;
	publisher->reopen_at_us = now_us;
	unconfirmed_channel_lost(&publisher->unconfirmed);
	parking_after_loss(publisher);
}

/* An answer's context. */
typedef struct Answer
{
	Publisher *publisher;
	int64_t    now_us;
} Answer;

static void
on_confirmed(void *context, OutMessage *message)
{
	Answer    *answer = context;
	Publisher *publisher = answer->publisher;

	publisher->counters.confirmed++;
	backoff_reset(&publisher->connect_backoff);
	publisher->counters.messages++;
	publisher->counters.events += message->events;
	publisher->counters.keys += message->keys;
	publisher->progress = true;
	if (message->window != 0)
		publisher_settled(publisher, message->window);
	parking_confirmed(publisher, message, answer->now_us);
}

static void
on_returned(void *context, OutMessage *message)
{
	Answer *answer = context;

	answer->publisher->counters.returned++;
	parking_refuse(answer->publisher, message, message->destination->error,
	               message->destination->alone, answer->now_us);
}

static void
on_nacked(void *context, OutMessage *message)
{
	Answer *answer = context;

	answer->publisher->counters.nacked++;
	parking_refuse(answer->publisher, message,
	               "the broker refused a message (basic.nack): its queue may be full", false,
	               answer->now_us);
}

void
publisher_on_ack(Publisher *publisher, uint64_t tag, bool multiple, int64_t now_us)
{
	unconfirmed_ack(&publisher->unconfirmed, tag, multiple, on_confirmed, on_returned,
	                &(Answer){publisher, now_us});
	settle_windows(publisher);
	enter_connected(publisher);
}

void
publisher_on_nack(Publisher *publisher, uint64_t tag, bool multiple, int64_t now_us)
{
	unconfirmed_nack(&publisher->unconfirmed, tag, multiple, on_nacked,
	                 &(Answer){publisher, now_us});
}

void
publisher_on_return(Publisher *publisher, MqBytes exchange, MqBytes routing_key, int64_t first_id,
                    int64_t last_id, int64_t part, const char *reason, bool alone)
{
	OutMessage  *message = unconfirmed_returned(&publisher->unconfirmed, exchange, routing_key,
	                                            first_id, last_id, part);
	Destination *d;
	MqError      error;

	if (message == NULL)
		return;
	d = message->destination;
	d->alone = d->alone || alone;
	/* Which leaves printable ASCII: names may be cut off in the middle of a character. */
	mq_error_set(&error, MQ_OK,
	             "a message came back: %.64s (exchange \"%.60s\", routing key \"%.80s\")", reason,
	             d->exchange.data, d->routing_key.data);
	snprintf(d->error, sizeof(d->error), "%.*s", (int) sizeof(d->error) - 1, error.text);
}

void
publisher_on_blocked(Publisher *publisher, const char *reason)
{
	char text[sizeof(publisher->last_error.text)];

	snprintf(text, sizeof(text), "the broker blocks publishing: %.300s", reason);
	publisher_set_error(publisher, text);
	publisher->blocked = true;
	enter_connected(publisher);
}

void
publisher_on_unblocked(Publisher *publisher, int64_t now_us)
{
	publisher->blocked = false;
	publisher->confirm_since_us = now_us;
	enter_connected(publisher);
}

/* ---- doing what is due ------------------------------------------------------------------------ */

static void
lose(Publisher *publisher, const char *reason, int64_t now_us)
{
	publisher->transport.disconnect(publisher->transport.context);
	publisher_on_lost(publisher, 0, reason, now_us);
}

/* The message that may go out now; NULL: none. Suspects go by themselves, before all others. */
static OutMessage *
next_to_send(Publisher *publisher)
{
	Unconfirmed *list = &publisher->unconfirmed;

	if (!publisher->ready || publisher->blocked || !unconfirmed_can_send(list))
		return NULL;
	if (list->suspect_count == 0)
	{
		publisher->suspect_width = publisher->suspect_left = 0;
		return unconfirmed_next_unsent(list);
	}
	if (list->sent_count == 0)
		publisher->suspect_left = publisher->suspect_width > 1 ? publisher->suspect_width : 1;
	return publisher->suspect_left > 0 ? unconfirmed_next_suspect(list) : NULL;
}

static void
send_unsent(Publisher *publisher, int64_t now_us)
{
	OutMessage *message;

	while ((message = next_to_send(publisher)) != NULL)
	{
		MqError  error = {0};
		uint64_t tag;
		MqResult result =
			publisher->transport.send(publisher->transport.context, message, &tag, &error);

		switch (result)
		{
		case MQ_OK:
			unconfirmed_sent(&publisher->unconfirmed, message, tag, now_us);
			if (message->suspect)
				publisher->suspect_left--;
			break;
		case MQ_FULL:
			return;
		case MQ_INVALID:
			parking_bury(publisher, message, error.text);
			break;
		case MQ_LOST:
		case MQ_REFUSED:
		case MQ_NOMEM:
			lose(publisher, error.text, now_us);
			return;
		}
	}
}

/* May more events be read? Everything made so far must be on its way. */
static bool
may_read(Publisher *publisher)
{
	return publisher->ready && !publisher->blocked && publisher_has_room(publisher) &&
	       publisher->unconfirmed.suspect_count == 0 &&
	       unconfirmed_next_unsent(&publisher->unconfirmed) == NULL;
}

/* May a new window be opened? */
static bool
may_open(Publisher *publisher)
{
	return publisher->look && may_read(publisher) &&
	       publisher->unconfirmed.not_full_count < PUBLISHER_NOT_FULL_MAX &&
	       publisher->window_count < PUBLISHER_WINDOWS_MAX;
}

static void
open_window(Publisher *publisher)
{
	uint64_t    number;
	const char *lsn;

	if (!publisher->source.open_window(publisher->source.context, &number, &lsn))
	{
		publisher->look = false;
		return;
	}
	publisher
		->windows[(publisher->window_first + publisher->window_count) % PUBLISHER_WINDOWS_MAX] =
		(OpenWindow){.number = number};
	publisher->window_count++;
	publisher->reading = true;
	batch_begin(publisher->batch, number, lsn);
}

/* Reads one piece of the open window into messages. After a failure its events are lost to us. */
static void
read_piece(Publisher *publisher)
{
	OpenWindow *window =
		&publisher->windows[(publisher->window_first + publisher->window_count - 1) %
	                        PUBLISHER_WINDOWS_MAX];
	const RelayEvent *events;
	MqError           error = {0};
	size_t            count = publisher->source.read(publisher->source.context, &events);
	MqResult          result = MQ_OK;

	for (size_t i = 0; result == MQ_OK && i < count; i++)
	{
		result = batch_add(publisher->batch, &events[i], &error);
		if (result == MQ_INVALID && !events[i].is_invalidation)
		{
			parking_bury_event(publisher, &events[i], window->number, error.text);
			result = MQ_OK;
		}
	}
	if (result == MQ_OK && count == 0)
	{
		result = batch_end(publisher->batch, &error);
		publisher->reading = false;
		window->read = true;
	}
	publisher->counters.coalesced += batch_take_coalesced(publisher->batch);
	if (result != MQ_OK)
		publisher_fail(publisher, error.text);
}

/* Reads until everything is read or the list is full. A window of events that make no message is
 * settled at once. */
static void
read_events(Publisher *publisher, int64_t now_us)
{
	while (!publisher->failed)
	{
		if (!publisher->reading && may_open(publisher))
			open_window(publisher);
		if (!publisher->reading || !may_read(publisher))
			break;
		/* A window is read to its end before anything else, so that small ones leave at once. */
		read_piece(publisher);
		parking_write(publisher);
		settle_windows(publisher);
		send_unsent(publisher, now_us);
		if (unconfirmed_next_unsent(&publisher->unconfirmed) != NULL)
			break; /* the socket is to be served first */
	}
}

static void
check_confirm_limit(Publisher *publisher, int64_t now_us)
{
	int64_t since = unconfirmed_oldest_sent_us(&publisher->unconfirmed);

	if (publisher->blocked || since == INT64_MAX)
		return;
	if (since < publisher->confirm_since_us)
		since = publisher->confirm_since_us;
	if (now_us >= since + PUBLISHER_CONFIRM_LIMIT_US)
		lose(publisher, "the broker did not confirm a message within 30 s", now_us);
}

/* When must the next step come? */
static int64_t
next_due(Publisher *publisher, int64_t now_us)
{
	int64_t since = unconfirmed_oldest_sent_us(&publisher->unconfirmed);
	int64_t due = publisher->parking_due_us;

	if (publisher->state == PUBLISHER_WAITING)
		return publisher->connect_at_us;
	if (publisher->reopen)
		return publisher->reopen_at_us;
	if (!publisher->ready || publisher->blocked)
		return PUBLISHER_NEVER;
	if (since != INT64_MAX)
	{
		since = since < publisher->confirm_since_us ? publisher->confirm_since_us : since;
		due = since + PUBLISHER_CONFIRM_LIMIT_US < due ? since + PUBLISHER_CONFIRM_LIMIT_US : due;
	}
	if (may_read(publisher) && (publisher->reading || may_open(publisher)))
		due = now_us;
	return due;
}

int64_t
publisher_step(Publisher *publisher, int64_t now_us)
{
	if (publisher->state == PUBLISHER_WAITING && now_us >= publisher->connect_at_us)
	{
		enter(publisher, PUBLISHER_CONNECTING);
		publisher->transport.connect(publisher->transport.context, now_us);
	}
	if (publisher->reopen && now_us >= publisher->reopen_at_us)
	{
		publisher->reopen = false;
		publisher->transport.reopen(publisher->transport.context);
	}
	if (publisher->ready)
		check_confirm_limit(publisher, now_us);
	/* Also while there is no connection: what is known to be refused delays no window. */
	parking_write(publisher);
	settle_windows(publisher);
	if (publisher->ready && !publisher->blocked)
		parking_try(publisher, now_us);
	send_unsent(publisher, now_us);
	read_events(publisher, now_us);
	enter_connected(publisher);
	return next_due(publisher, now_us);
}

/* ---- what others want to know ----------------------------------------------------------------- */

void
publisher_look(Publisher *publisher)
{
	publisher->look = true;
}

PublisherState
publisher_state(const Publisher *publisher)
{
	return publisher->state;
}

const PublisherCounters *
publisher_counters(const Publisher *publisher)
{
	return &publisher->counters;
}

uint64_t
publisher_confirmed_window(const Publisher *publisher)
{
	return publisher->confirmed_window;
}

bool
publisher_failed(const Publisher *publisher)
{
	return publisher->failed;
}

bool
publisher_is_drained(const Publisher *publisher)
{
	return !publisher->look && publisher->window_count == 0;
}

const char *
publisher_last_error(const Publisher *publisher, uint64_t *version)
{
	*version = publisher->error_version;
	return publisher->last_error.text;
}

void
publisher_note(Publisher *publisher, const char *text)
{
	publisher_set_error(publisher, text);
	publisher->source.tell(publisher->source.context, PUBLISHER_NOTES, mq_bytes_of(""),
	                       mq_bytes_of(""), text);
}

const Destination *
publisher_destinations(const Publisher *publisher)
{
	return publisher->destinations.newest;
}

void
publisher_set_most_destinations(Publisher *publisher, size_t most)
{
	publisher->destinations.most = most;
}

uint64_t
publisher_destinations_version(const Publisher *publisher)
{
	return publisher->destinations_version;
}

int64_t
publisher_crowd(const Publisher *publisher, int64_t *parked_at_us, const char **error)
{
	*parked_at_us = publisher->crowd.parked_at_us;
	*error = publisher->crowd.error;
	return publisher->crowd.present ? publisher->crowd.parked : 0;
}
