/*
 * reporting.c
 *    State and counters for the views; the log.
 *
 * The log gets a line when the connection comes, goes or is blocked; nothing for each retry. (What
 * happens to single destinations: report_destinations.c.)
 */
#include "postgres.h"

#include "relay/reporting.h"

#include "utils/timestamp.h"

/* What a reader of the log cares about. */
typedef enum Link
{
	LINK_NONE, /* nothing known yet */
	LINK_UP,
	LINK_BLOCKED,
	LINK_DOWN
} Link;

static Link   logged_link = LINK_NONE;
static uint64 seen_error_version = 0;
static uint64 seen_confirmed = 0;
static uint64 seen_queue_answers = 0;

/* What relays before this one have counted in the slot. */
static uint64 counted_before[RELAY_COUNTERS];
static bool   counted_before_known = false;

static RelayState
state_of(const Publisher *publisher)
{
	switch (publisher_state(publisher))
	{
	case PUBLISHER_CONNECTING:
		return RELAY_CONNECTING;
	case PUBLISHER_IDLE:
		return RELAY_IDLE;
	case PUBLISHER_PUBLISHING:
		return RELAY_PUBLISHING;
	case PUBLISHER_BLOCKED:
		return RELAY_BLOCKED;
	case PUBLISHER_WAITING:
		return RELAY_WAITING;
	}
	return RELAY_NOT_RUNNING;
}

static void
set_counter(OutboxSlot *slot, RelayCounter counter, uint64 count)
{
	pg_atomic_write_u64(&slot->counters[counter], counted_before[counter] + count);
}

/* Counters go on where the relay before this one ended: a restart is no news to a dashboard. */
static void
set_counters(OutboxSlot *slot, const PublisherCounters *counters)
{
	for (int i = 0; i < RELAY_COUNTERS && !counted_before_known; i++)
		counted_before[i] = pg_atomic_read_u64(&slot->counters[i]);
	counted_before_known = true;
	set_counter(slot, COUNTER_EVENTS, counters->events);
	set_counter(slot, COUNTER_MESSAGES, counters->messages);
	set_counter(slot, COUNTER_KEYS, counters->keys);
	set_counter(slot, COUNTER_KEYS_COALESCED, counters->coalesced);
	set_counter(slot, COUNTER_CONFIRMED, counters->confirmed);
	set_counter(slot, COUNTER_RETURNED, counters->returned);
	set_counter(slot, COUNTER_NACKED, counters->nacked);
	set_counter(slot, COUNTER_RECONNECTS, counters->reconnects);
}

static void
set_error(OutboxSlot *slot, const char *error)
{
	LWLockAcquire(&slot->text_lock, LW_EXCLUSIVE);
	strlcpy(slot->last_error, error, sizeof(slot->last_error));
	slot->last_error_at = GetCurrentTimestamp();
	LWLockRelease(&slot->text_lock);
}

/* Since when nothing can be sent, over several tries and several relays. */
static void
note_stuck(OutboxSlot *slot, bool stuck)
{
	LWLockAcquire(&slot->text_lock, LW_EXCLUSIVE);
	if (!stuck)
		slot->stuck_since = 0;
	else if (slot->stuck_since == 0)
		slot->stuck_since = GetCurrentTimestamp();
	LWLockRelease(&slot->text_lock);
}

/* The connection came or went. */
static void
log_link(OutboxSlot *slot, Link link, const char *broker, const char *error)
{
	if (link == logged_link)
		return;
	note_stuck(slot, link != LINK_UP);
	switch (link)
	{
	case LINK_NONE:
		break;
	case LINK_UP:
		if (logged_link != LINK_BLOCKED)
		{
			LWLockAcquire(&slot->text_lock, LW_EXCLUSIVE);
			slot->connected_at = GetCurrentTimestamp();
			LWLockRelease(&slot->text_lock);
		}
		ereport(LOG, errmsg("outbox relay publishes to %s", broker));
		break;
	case LINK_BLOCKED:
		ereport(LOG, errmsg("outbox relay is blocked by %s", broker), errdetail("%s", error),
		        errhint("See the alarms of the broker: memory or disk."));
		break;
	case LINK_DOWN:
		ereport(LOG, errmsg("outbox relay has no connection to %s", broker), errdetail("%s", error),
		        errhint("It goes on trying; commits do not wait."));
		break;
	}
	logged_link = link;
}

static Link
link_of(RelayState state)
{
	switch (state)
	{
	case RELAY_IDLE:
	case RELAY_PUBLISHING:
		return LINK_UP;
	case RELAY_BLOCKED:
		return LINK_BLOCKED;
	case RELAY_WAITING:
		return LINK_DOWN;
	case RELAY_CONNECTING:
	case RELAY_STARTING:
	case RELAY_PAUSED:
	case RELAY_COPIED:
	case RELAY_NOT_RUNNING:
		break;
	}
	return logged_link;
}

static void
report_error(OutboxSlot *slot, const Publisher *publisher)
{
	uint64_t    version;
	const char *error = publisher_last_error(publisher, &version);

	if (version == seen_error_version)
		return;
	seen_error_version = version;
	set_error(slot, error);
}

void
report_publisher(OutboxSlot *slot, const Publisher *publisher, const char *broker)
{
	const PublisherCounters *counters = publisher_counters(publisher);
	RelayState               state = state_of(publisher);
	uint64_t                 version;

	report_error(slot, publisher);
	log_link(slot, link_of(state), broker, publisher_last_error(publisher, &version));
	set_counters(slot, counters);
	if (counters->confirmed != seen_confirmed || strcmp(slot->broker, broker) != 0)
	{
		LWLockAcquire(&slot->text_lock, LW_EXCLUSIVE);
		strlcpy(slot->broker, broker, sizeof(slot->broker));
		if (counters->confirmed != seen_confirmed)
			slot->last_confirmed_at = GetCurrentTimestamp();
		LWLockRelease(&slot->text_lock);
		seen_confirmed = counters->confirmed;
	}
	pg_atomic_write_u32(&slot->state, state);
}

void
report_queue(OutboxSlot *slot, BrokerQueue queue)
{
	if (queue.answers == seen_queue_answers)
		return;
	seen_queue_answers = queue.answers;
	LWLockAcquire(&slot->text_lock, LW_EXCLUSIVE);
	slot->queue.looked_at = GetCurrentTimestamp();
	strlcpy(slot->queue.problem, queue.problem, sizeof(slot->queue.problem));
	if (queue.problem[0] == '\0')
	{
		slot->queue.messages = queue.messages;
		slot->queue.consumers = queue.consumers;
	}
	LWLockRelease(&slot->text_lock);
	ConditionVariableBroadcast(&slot->served_changed);
}

void
report_state(OutboxSlot *slot, RelayState state, const char *reason)
{
	if (reason != NULL)
	{
		set_error(slot, reason);
		ereport(LOG, errmsg("outbox relay: %s", relay_state_name(state)), errdetail("%s", reason));
	}
	pg_atomic_write_u32(&slot->state, state);
}
