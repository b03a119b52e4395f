/*
 * parked_status.c
 *    How much is parked and how much is dead, for those who look every few seconds.
 *
 * The relay knows what is parked and tells it in shared memory. What is dead it need not know: that is
 * counted in the index, up to MOST_COUNTED rows, so that a look costs the same whatever is there. Where
 * no relay has run since the server started, parked events are counted the same way.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "destinations.h"
#include "parked.h"
#include "parked_status.h"
#include "status.h"

#define MOST_COUNTED 1000

PG_FUNCTION_INFO_V1(outbox_parked_status);

enum
{
	STATUS_DESTINATIONS,
	STATUS_EVENTS,
	STATUS_DEAD,
	STATUS_COLUMNS
};

/* Do the two rows' destinations differ? `last` is the one before, empty at first. */
static bool
is_new_destination(TupleTableSlot *row, StringInfo last)
{
	bool           is_null;
	char          *exchange = TextDatumGetCString(slot_getattr(row, PARKED_TO_EXCHANGE, &is_null));
	char          *key = TextDatumGetCString(slot_getattr(row, PARKED_TO_ROUTING_KEY, &is_null));
	StringInfoData name;
	bool           differs;

	initStringInfo(&name);
	appendStringInfoString(&name, exchange);
	appendStringInfoChar(&name, '\0');
	appendStringInfoString(&name, key);
	differs = name.len != last->len || memcmp(name.data, last->data, name.len) != 0;
	pfree(last->data);
	pfree(exchange);
	pfree(key);
	*last = name;
	return differs;
}

static void
count_rows(bool dead, int64 *destinations, int64 *events)
{
	StringInfoData last;
	ParkedScan     scan;

	initStringInfo(&last);
	*destinations = *events = 0;
	parked_begin_all(&scan, GetActiveSnapshot(), AccessShareLock, dead);
	while (*events < MOST_COUNTED && parked_next_row(&scan))
	{
		(*events)++;
		if (is_new_destination(scan.slot, &last))
			(*destinations)++;
	}
	parked_end(&scan);
	pfree(last.data);
}

void
parked_status(OutboxSlot *slot, ParkedStatus *status)
{
	int64 ignored;

	PushActiveSnapshot(GetLatestSnapshot());
	count_rows(true, &ignored, &status->dead);
	if (!destinations_count_parked(slot, &status->destinations, &status->events))
		count_rows(false, &status->destinations, &status->events);
	PopActiveSnapshot();
}

Datum
outbox_parked_status(PG_FUNCTION_ARGS)
{
	TupleDesc    type = status_row_type(fcinfo);
	Datum        values[STATUS_COLUMNS];
	bool         nulls[STATUS_COLUMNS] = {false};
	ParkedStatus status;

	parked_status(shmem_mine(), &status);
	values[STATUS_DESTINATIONS] = Int64GetDatum(status.destinations);
	values[STATUS_EVENTS] = Int64GetDatum(status.events);
	values[STATUS_DEAD] = Int64GetDatum(status.dead);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(type, values, nulls)));
}
