/*
 * parked_status.c
 *    How much is parked and how much is dead, for those who look every few seconds.
 *
 * The relay knows what is parked and tells it in shared memory. What is dead it need not know: that is
 * counted in the table, up to PARKED_COUNTED_MAX rows, so that a look costs the same whatever is there.
 * Where no relay has run since the server started, parked events are counted the same way.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "destinations.h"
#include "parked.h"
#include "parked_status.h"
#include "status.h"

PG_FUNCTION_INFO_V1(outbox_parked_status);

enum
{
	STATUS_DESTINATIONS,
	STATUS_EVENTS,
	STATUS_SINCE,
	STATUS_DEAD,
	STATUS_COLUMNS
};

static char *
destination_name(const char *exchange, const char *routing_key)
{
	if (exchange[0] == '\0')
		return psprintf("queue \"%s\"", routing_key);
	return psprintf("exchange \"%s\", routing key \"%s\"", exchange, routing_key);
}

/* NULL where the column is. */
static char *
text_of(TupleTableSlot *row, AttrNumber column)
{
	bool  is_null;
	Datum value = slot_getattr(row, column, &is_null);

	return is_null ? NULL : TextDatumGetCString(value);
}

/* Rows that are dead, or that are not: how many, of how many destinations, and the first one. */
typedef struct CountedRows
{
	int64       rows, destinations;
	char       *first_name, *first_error;
	TimestampTz first_at;
} CountedRows;

static CountedRows
count_rows(bool dead)
{
	CountedRows counted = {0};
	const char *last = "";
	ParkedScan  scan;
	bool        is_null;

	parked_begin_all(&scan, GetActiveSnapshot(), AccessShareLock, dead);
	while (counted.rows < PARKED_COUNTED_MAX && parked_next_row(&scan))
	{
		char *name = destination_name(text_of(scan.slot, PARKED_TO_EXCHANGE),
		                              text_of(scan.slot, PARKED_TO_ROUTING_KEY));

		if (counted.rows++ == 0)
		{
			counted.first_name = name;
			counted.first_error = text_of(scan.slot, PARKED_REASON);
			counted.first_at =
				DatumGetTimestampTz(slot_getattr(scan.slot, PARKED_FIRST_FAILED_AT, &is_null));
		}
		/* They come destination by destination. */
		if (strcmp(name, last) != 0)
			counted.destinations++;
		last = name;
	}
	parked_end(&scan);
	return counted;
}

static const char *
from_utf8(const char *text)
{
	char *copy = pstrdup(text);

	return pg_any_to_server(copy, (int) strlen(copy), PG_UTF8);
}

static void
set_parked(ParkedStatus *status, const ParkedDestinations *parked)
{
	const SharedDestination *longest = &parked->longest;

	status->destinations = parked->destinations;
	status->events = parked->events;
	if (parked->destinations == 0)
		return;
	status->since = longest->parked_since;
	status->error = longest->last_error[0] == '\0' ? NULL : pstrdup(longest->last_error);
	if (!longest->is_crowd)
		status->name =
			destination_name(from_utf8(longest->exchange), from_utf8(longest->routing_key));
}

void
parked_look(OutboxSlot *slot, ParkedStatus *status)
{
	ParkedDestinations parked;
	CountedRows        counted;

	memset(status, 0, sizeof(*status));
	PushActiveSnapshot(GetLatestSnapshot());
	counted = count_rows(true);
	status->dead = counted.rows;
	status->dead_name = counted.first_name;
	status->dead_error = counted.first_error;
	if (destinations_look(slot, &parked))
		set_parked(status, &parked);
	else
	{
		counted = count_rows(false);
		status->destinations = counted.destinations;
		status->events = counted.rows;
		status->since = counted.first_at;
		status->name = counted.first_name;
		status->error = counted.first_error;
	}
	PopActiveSnapshot();
}

Datum
outbox_parked_status(PG_FUNCTION_ARGS)
{
	TupleDesc    type = status_row_type(fcinfo);
	Datum        values[STATUS_COLUMNS];
	bool         nulls[STATUS_COLUMNS] = {false};
	ParkedStatus status;

	parked_look(shmem_mine(), &status);
	values[STATUS_DESTINATIONS] = Int64GetDatum(status.destinations);
	values[STATUS_EVENTS] = Int64GetDatum(status.events);
	status_set_time(values, nulls, STATUS_SINCE, status.since);
	values[STATUS_DEAD] = Int64GetDatum(status.dead);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(type, values, nulls)));
}
