/*
 * canary.c
 *    See canary.h.
 */
#include "postgres.h"

#include "relay/canary.h"

#include "access/xact.h"
#include "extension/event.h"
#include "extension/settings.h"
#include "extension/shmem.h"
#include "relay/store_parked.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"

void
canary_begin(Canary *canary)
{
	*canary = (Canary){.under_way = true};
}

void
canary_looked(Canary *canary, uint64 window)
{
	if (canary->under_way && !canary->seen)
	{
		canary->seen = true;
		canary->window = window;
	}
}

static bool
can_send(const Publisher *publisher)
{
	PublisherState state = publisher_state(publisher);

	return state == PUBLISHER_IDLE || state == PUBLISHER_PUBLISHING;
}

/* Is the one before confirmed, or set aside? */
static void
settle(Canary *canary, const Publisher *publisher)
{
	if (canary->seen && publisher_confirmed_window(publisher) >= canary->window)
		canary->under_way = canary->seen = false;
}

int64_t
canary_due_us(Canary *canary, const Publisher *publisher)
{
	settle(canary, publisher);
	if (setting_canary_interval == 0 || canary->under_way || !can_send(publisher))
		return PUBLISHER_NEVER;
	if (canary->wrote_at_us == 0)
		return 0;
	return canary->wrote_at_us + (int64_t) setting_canary_interval * USECS_PER_SEC;
}

/* Below the executor like every event; nobody's rights and triggers matter. */
static void
write_event(void)
{
	bool         to_exchange = setting_invalidation_exchange[0] != '\0';
	EventRow     row = {0};
	EventWriter *writer;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	writer = event_writer_begin(shmem_current_table());
	row.xid = U64FromFullTransactionId(GetTopFullTransactionId());
	row.exchange = setting_invalidation_exchange;
	row.routing_key = to_exchange ? "" : setting_queue;
	row.body = DirectFunctionCall1(byteain, CStringGetDatum("{\"keys\":[]}"));
	row.properties = DirectFunctionCall1(
		jsonb_in,
		CStringGetDatum("{\"type\": \"cache.canary\", \"content_type\": \"application/json\"}"));
	event_writer_insert(writer, &row);
	event_writer_tick(writer);
	event_writer_end(writer);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

bool
canary_turn(Canary *canary, const Publisher *publisher, MqBytes exchange, MqBytes routing_key,
            int64_t now_us)
{
	if (now_us < canary_due_us(canary, publisher))
		return false;
	canary->wrote_at_us = now_us;
	/* One that waits there is enough. */
	if (parked_is(exchange, routing_key))
		return false;
	write_event();
	canary->under_way = true;
	canary->written++;
	return true;
}
