/*
 * report_destinations.c
 *    From the publisher's destinations to shared memory and the log.
 */
#include "postgres.h"

#include "relay/report_destinations.h"

#include "extension/destinations.h"
#include "mb/pg_wchar.h"
#include "utils/timestamp.h"

#define REPORT_US INT64CONST(200000) /* between two reports */

static SharedDestinations *shared = NULL;
static uint64_t            reported_version = 0;
static int64_t             reported_at_us = 0;
static char                last_note[512];

void
report_destinations_begin(OutboxSlot *slot)
{
	shared = destinations_attach(slot);
}

/* What happened at, or will happen at, a time of the monotonic clock. */
static TimestampTz
wall_time(int64_t at_us, int64_t now_us)
{
	return GetCurrentTimestamp() + (at_us - now_us);
}

static void
copy_name(char *out, size_t size, MqBytes name)
{
	size_t length = Min(name.size, size - 1);

	if (length > 0)
		memcpy(out, name.data, length);
	out[length] = '\0';
}

static void
fill(SharedDestination *row, const Destination *d, int64_t now_us)
{
	*row = (SharedDestination){.messages = (int64) d->messages};
	copy_name(row->exchange, sizeof(row->exchange), d->exchange);
	copy_name(row->routing_key, sizeof(row->routing_key), d->routing_key);
	strlcpy(row->last_error, d->error, sizeof(row->last_error));
	if (d->state != DESTINATION_PARKED)
		return;
	row->is_parked = true;
	row->parked = Max(d->parked, 0);
	row->attempts = (int32) d->attempts;
	row->parked_since = wall_time(d->parked_at_us, now_us);
	row->tried_at = d->tried_at_us == 0 ? 0 : wall_time(d->tried_at_us, now_us);
	row->next_attempt_at = wall_time(Max(d->due_us, now_us), now_us);
}

/* Those parked first, then those used last. */
static void
write_rows(const Publisher *publisher, int64_t now_us)
{
	const char *error;
	int64_t     since_us;
	int64_t     crowd = publisher_crowd(publisher, &since_us, &error);

	shared->count = 0;
	for (int parked = 1; parked >= 0; parked--)
	{
		for (const Destination *d = publisher_destinations(publisher); d != NULL; d = d->older)
		{
			bool is_parked = d->state == DESTINATION_PARKED;

			if (d->guest || d->state == DESTINATION_CROWD || is_parked != (parked == 1) ||
			    shared->count == DESTINATIONS_MAX)
				continue;
			fill(&shared->rows[shared->count++], d, now_us);
		}
	}
	if (crowd == 0)
		return;
	shared->rows[shared->count] = (SharedDestination){
		.is_crowd = true,
		.is_parked = true,
		.parked = crowd,
		.parked_since = wall_time(since_us, now_us),
		.next_attempt_at = wall_time(now_us, now_us),
	};
	strlcpy(shared->rows[shared->count++].last_error, error, sizeof(shared->rows[0].last_error));
}

void
report_destinations_now(OutboxSlot *slot, const Publisher *publisher, int64_t now_us)
{
	LWLockAcquire(&slot->text_lock, LW_EXCLUSIVE);
	write_rows(publisher, now_us);
	LWLockRelease(&slot->text_lock);
	reported_version = publisher_destinations_version(publisher);
	reported_at_us = now_us;
}

int64_t
report_destinations(OutboxSlot *slot, const Publisher *publisher, int64_t now_us)
{
	uint64_t version = publisher_destinations_version(publisher);

	if (version == reported_version)
		return PUBLISHER_NEVER;
	if (now_us < reported_at_us + REPORT_US)
		return reported_at_us + REPORT_US;
	report_destinations_now(slot, publisher, now_us);
	return PUBLISHER_NEVER;
}

/* "queue "emails"" or "exchange "events", routing key "user.1"", in the database's encoding. */
static char *
name_of(MqBytes exchange, MqBytes routing_key)
{
	char *key = pnstrdup(routing_key.data == NULL ? "" : routing_key.data, routing_key.size);
	char *name = pnstrdup(exchange.data == NULL ? "" : exchange.data, exchange.size);

	key = pg_any_to_server(key, (int) strlen(key), PG_UTF8);
	name = pg_any_to_server(name, (int) strlen(name), PG_UTF8);
	if (name[0] == '\0')
		return psprintf("queue \"%s\"", key);
	return psprintf("exchange \"%s\", routing key \"%s\"", name, key);
}

void
report_news(PublisherNews news, MqBytes exchange, MqBytes routing_key, const char *text)
{
	char *name;

	if (news == PUBLISHER_NOTES)
	{
		if (strcmp(text, last_note) != 0)
			ereport(LOG, errmsg("outbox relay: %s", text));
		strlcpy(last_note, text, sizeof(last_note));
		return;
	}
	name = name_of(exchange, routing_key);
	switch (news)
	{
	case PUBLISHER_PARKS:
		ereport(LOG, errmsg("outbox relay parks messages to %s", name), errdetail("%s", text),
		        errhint("They wait in outbox.dead_letter and are tried again with growing delays; "
		                "others go on."));
		break;
	case PUBLISHER_OPENS:
		ereport(LOG, errmsg("outbox relay publishes to %s again", name));
		break;
	case PUBLISHER_BURIES:
		ereport(LOG, errmsg("outbox relay gives up a message to %s", name), errdetail("%s", text),
		        errhint("See outbox.dead_letter; outbox.retry_dead_letter() tries it again."));
		break;
	case PUBLISHER_NOTES:
		break;
	}
	pfree(name);
}
