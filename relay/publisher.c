/*
 * publisher.c
 *    States: publisher.h. One function, enter(), changes the state.
 */
#include "relay/publisher.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* A window of which messages may be under way. */
typedef struct OpenWindow
{
	uint64_t number;
	size_t   messages; /* not confirmed yet */
	bool     read;     /* to its end */
} OpenWindow;

struct Publisher
{
	PublisherSource    source;
	PublisherTransport transport;
	BatchOptions       batch_options;
	void              *encode_context;
	Batch             *batch;
	Unconfirmed        unconfirmed;
	PublisherState     state;
	PublisherCounters  counters;

	OpenWindow windows[PUBLISHER_WINDOWS_MAX]; /* a ring */
	size_t     window_first, window_count;
	uint64_t   confirmed_window;
	bool       reading; /* the newest window has more events */
	bool       look;    /* something may have been committed */
	bool       failed;  /* events were read and lost: see publisher_failed */

	bool    ready;   /* a channel with confirms is open */
	bool    blocked;
	int64_t connect_at_us; /* while WAITING */
	Backoff connect_backoff;

	bool    holding;  /* something was refused; a probe goes first */
	bool    probing;  /* the probe is under way, nothing else is */
	bool    reopen;   /* the channel was closed: open another when the hold is over */
	size_t  serial;   /* so many messages one at a time: one of them closed a channel */
	int64_t hold_until_us;
	Backoff hold_backoff;
	int64_t confirm_since_us; /* the confirm limit counts from here, or from the sending */

	MqError  last_error; /* only its text; printable ASCII, whatever a routing key holds */
	uint64_t error_version;
};

static MqResult
sink(void *context, const OutMessage *message)
{
	Publisher  *publisher = context;
	OpenWindow *window;

	if (unconfirmed_add(&publisher->unconfirmed, message) == NULL)
		return MQ_NOMEM;
	window = &publisher->windows[(publisher->window_first + publisher->window_count - 1) %
								 PUBLISHER_WINDOWS_MAX];
	assert(window->number == message->window);
	window->messages++;
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
	if (publisher->batch == NULL)
	{
		free(publisher);
		return NULL;
	}
	unconfirmed_init(&publisher->unconfirmed);
	backoff_init(&publisher->connect_backoff, PUBLISHER_RETRY_FIRST_US, PUBLISHER_CONNECT_LIMIT_US,
				 seed);
	backoff_init(&publisher->hold_backoff, PUBLISHER_RETRY_FIRST_US, PUBLISHER_RETRY_LIMIT_US,
				 seed ^ UINT64_C(0x9e3779b97f4a7c15));
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
	batch_free(publisher->batch);
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
		enter(publisher,
			  publisher->unconfirmed.count > 0 ? PUBLISHER_PUBLISHING : PUBLISHER_IDLE);
}

static void
set_error(Publisher *publisher, const char *text)
{
	mq_error_set(&publisher->last_error, MQ_OK, "%s", text);
	publisher->error_version++;
}

/* Something was not accepted: hold everything for a while. */
static void
hold(Publisher *publisher, int64_t now_us)
{
	publisher->holding = true;
	publisher->probing = false;
	publisher->hold_until_us = now_us + backoff_next_us(&publisher->hold_backoff);
}

/* ---- from the transport ----------------------------------------------------------------------- */

void
publisher_on_ready(Publisher *publisher, int64_t now_us)
{
	publisher->ready = true;
	publisher->confirm_since_us = now_us;
	backoff_reset(&publisher->connect_backoff);
	enter_connected(publisher);
}

void
publisher_on_lost(Publisher *publisher, const char *reason, int64_t now_us)
{
	set_error(publisher, reason);
	publisher->ready = publisher->blocked = publisher->reopen = publisher->probing = false;
	unconfirmed_channel_lost(&publisher->unconfirmed);
	publisher->counters.reconnects++;
	publisher->connect_at_us = now_us + backoff_next_us(&publisher->connect_backoff);
	enter(publisher, PUBLISHER_WAITING);
}

void
publisher_on_channel_closed(Publisher *publisher, const char *reason, int64_t now_us)
{
	set_error(publisher, reason);
	publisher->ready = false;
	publisher->reopen = true;
	/* The broker does not say which of them it was: one at a time shows it. */
	publisher->serial = publisher->unconfirmed.sent_count;
	unconfirmed_channel_lost(&publisher->unconfirmed);
	hold(publisher, now_us);
}

/* Windows whose messages are all confirmed, in order, are done. */
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

static void
confirmed(void *context, const OutMessage *message)
{
	Publisher *publisher = context;

	publisher->counters.confirmed++;
	publisher->counters.messages++;
	publisher->counters.events += message->events;
	publisher->counters.keys += message->keys;
	/* A ring of at most PUBLISHER_WINDOWS_MAX consecutive numbers: the place is the difference. */
	for (size_t i = 0; i < publisher->window_count; i++)
	{
		OpenWindow *window = &publisher->windows[(publisher->window_first + i) %
												 PUBLISHER_WINDOWS_MAX];

		if (window->number == message->window)
		{
			assert(window->messages > 0);
			window->messages--;
			break;
		}
	}
	if (publisher->serial > 0)
		publisher->serial--;
	if (publisher->probing)
	{
		/* The probe went through: the rest may follow. */
		publisher->holding = publisher->probing = false;
		backoff_reset(&publisher->hold_backoff);
	}
}

void
publisher_on_ack(Publisher *publisher, uint64_t tag, bool multiple, int64_t now_us)
{
	size_t refused = unconfirmed_ack(&publisher->unconfirmed, tag, multiple, confirmed, publisher);

	if (refused > 0)
	{
		publisher->counters.returned += refused;
		hold(publisher, now_us);
	}
	settle_windows(publisher);
	enter_connected(publisher);
}

void
publisher_on_nack(Publisher *publisher, uint64_t tag, bool multiple, int64_t now_us)
{
	size_t refused = unconfirmed_nack(&publisher->unconfirmed, tag, multiple);

	if (refused == 0)
		return;
	publisher->counters.nacked += refused;
	set_error(publisher, "the broker refused a message (basic.nack): its queue may be full");
	hold(publisher, now_us);
}

void
publisher_on_return(Publisher *publisher, MqBytes exchange, MqBytes routing_key, int64_t first_id,
					int64_t last_id, int64_t part, const char *reason, int64_t now_us)
{
	char text[sizeof(publisher->last_error.text)];

	(void) now_us;
	if (!unconfirmed_returned(&publisher->unconfirmed, exchange, routing_key, first_id, last_id,
							  part))
		return;
	snprintf(text, sizeof(text),
			 "message of event %" PRId64 " came back: %.64s (exchange \"%.*s\", routing key "
			 "\"%.*s\")",
			 last_id, reason, (int) exchange.size, exchange.data == NULL ? "" : exchange.data,
			 (int) routing_key.size, routing_key.data == NULL ? "" : routing_key.data);
	set_error(publisher, text);
}

void
publisher_on_blocked(Publisher *publisher, const char *reason)
{
	char text[sizeof(publisher->last_error.text)];

	snprintf(text, sizeof(text), "the broker blocks publishing: %.300s", reason);
	set_error(publisher, text);
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
	publisher_on_lost(publisher, reason, now_us);
}

/* May the next message go out now? */
static bool
may_send(const Publisher *publisher, int64_t now_us)
{
	size_t under_way = publisher->unconfirmed.sent_count;

	if (!publisher->ready || publisher->blocked || !unconfirmed_can_send(&publisher->unconfirmed))
		return false;
	if (publisher->holding)
		return under_way == 0 && now_us >= publisher->hold_until_us;
	return publisher->serial == 0 || under_way == 0;
}

static void
send_unsent(Publisher *publisher, int64_t now_us)
{
	OutMessage *message;

	while (may_send(publisher, now_us) &&
		   (message = unconfirmed_next_unsent(&publisher->unconfirmed)) != NULL)
	{
		MqError  error = {0};
		uint64_t tag;
		MqResult result = publisher->transport.send(publisher->transport.context, message, &tag,
													&error);

		if (result == MQ_FULL)
			return;
		if (result != MQ_OK)
		{
			lose(publisher, error.text, now_us);
			return;
		}
		unconfirmed_sent(&publisher->unconfirmed, message, tag, now_us);
		publisher->probing = publisher->holding;
	}
}

/* May more events be read? Everything made so far must be on its way. */
static bool
may_read(Publisher *publisher)
{
	const Unconfirmed *unconfirmed = &publisher->unconfirmed;

	return publisher->ready && !publisher->blocked && !publisher->holding &&
		   publisher->serial == 0 && unconfirmed_has_room(unconfirmed) &&
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
	publisher->windows[(publisher->window_first + publisher->window_count) %
					   PUBLISHER_WINDOWS_MAX] = (OpenWindow){.number = number};
	publisher->window_count++;
	publisher->reading = true;
	batch_begin(publisher->batch, number, lsn);
}

/* Reads one piece of the open window into messages. After a failure its events are lost to us. */
static MqResult
read_piece(Publisher *publisher, MqError *error)
{
	const RelayEvent *events;
	size_t   count = publisher->source.read(publisher->source.context, &events);
	MqResult result = MQ_OK;

	for (size_t i = 0; result == MQ_OK && i < count; i++)
		result = batch_add(publisher->batch, &events[i], error);
	if (result == MQ_OK && count == 0)
	{
		result = batch_end(publisher->batch, error);
		publisher->reading = false;
		publisher->windows[(publisher->window_first + publisher->window_count - 1) %
						   PUBLISHER_WINDOWS_MAX]
			.read = true;
		settle_windows(publisher);
	}
	publisher->counters.coalesced += batch_take_coalesced(publisher->batch);
	return result;
}

/* Reads until everything is read or the list is full. A window of events that make no message is
 * settled at once. */
static MqResult
read_events(Publisher *publisher, int64_t now_us, MqError *error)
{
	MqResult result = MQ_OK;

	for (;;)
	{
		if (!publisher->reading && may_open(publisher))
			open_window(publisher);
		if (!publisher->reading || !may_read(publisher))
			break;
		/* A window is read to its end before anything else, so that small ones leave at once. */
		result = read_piece(publisher, error);
		if (result != MQ_OK)
			break;
		send_unsent(publisher, now_us);
		if (unconfirmed_next_unsent(&publisher->unconfirmed) != NULL)
			break; /* the socket is to be served first */
	}
	return result;
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
	int64_t due = PUBLISHER_NEVER;

	if (publisher->state == PUBLISHER_WAITING)
		return publisher->connect_at_us;
	if (publisher->reopen)
		return publisher->hold_until_us;
	if (!publisher->ready || publisher->blocked)
		return PUBLISHER_NEVER;
	if (since != INT64_MAX)
		due = (since < publisher->confirm_since_us ? publisher->confirm_since_us : since) +
			  PUBLISHER_CONFIRM_LIMIT_US;
	else if (publisher->holding)
		due = publisher->hold_until_us;
	if (may_read(publisher) && (publisher->reading || may_open(publisher)))
		due = now_us;
	return due;
}

int64_t
publisher_step(Publisher *publisher, int64_t now_us)
{
	MqError error = {0};

	if (publisher->state == PUBLISHER_WAITING && now_us >= publisher->connect_at_us)
	{
		enter(publisher, PUBLISHER_CONNECTING);
		publisher->transport.connect(publisher->transport.context, now_us);
	}
	if (publisher->reopen && now_us >= publisher->hold_until_us)
	{
		publisher->reopen = false;
		publisher->transport.reopen(publisher->transport.context);
	}
	if (publisher->ready)
		check_confirm_limit(publisher, now_us);
	if (publisher->holding && publisher->unconfirmed.count == 0 &&
		now_us >= publisher->hold_until_us)
		publisher->holding = false; /* nothing is left to probe with */
	send_unsent(publisher, now_us);
	if (read_events(publisher, now_us, &error) != MQ_OK)
	{
		lose(publisher, error.text, now_us);
		publisher->failed = true;
	}
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
