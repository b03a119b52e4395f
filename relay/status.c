/*
 * status.c
 *    What lies behind outbox.lag: how much is committed and not yet confirmed.
 *
 * Counted by the relay's own code, from the position that it shares, so that both mean the same. As
 * many as LAG_EXACT_EVENTS are counted, beyond that the sequence tells about how many more there are, so
 * the cost does not grow with the backlog. Nor is so much counted twice: while the position stays where
 * it is, what was pending still is. Runs in the backend that asks.
 */
#include "postgres.h"

#include "relay/lag.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "commands/sequence.h"
#include "extension/event.h"
#include "extension/shmem.h"
#include "extension/status.h"
#include "fmgr.h"
#include "funcapi.h"
#include "relay/store.h"
#include "relay/window.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(outbox_lag_status);

/* Columns of the function behind outbox.lag. */
enum
{
	LAG_PENDING_EVENTS,
	LAG_PENDING_SINCE,
	LAG_LAG,
	LAG_OUTBOX_BYTES,
	LAG_RELAY_STATE,
	LAG_COLUMNS
};

/* The relay's present position, or the saved one; false: there is none. Palloc'd. */
static bool
present_position(OutboxSlot *slot, Position *position)
{
	bool shared = false;

	if (slot != NULL)
	{
		position->xids = palloc(OUTBOX_MAX_POSITION_XIDS * sizeof(uint64));
		LWLockAcquire(&slot->text_lock, LW_SHARED);
		shared = slot->position.valid;
		if (shared)
		{
			position->xmin = slot->position.xmin;
			position->xmax = slot->position.xmax;
			position->xid_count = (size_t) slot->position.xid_count;
			memcpy(position->xids, slot->position.xids, position->xid_count * sizeof(uint64));
		}
		LWLockRelease(&slot->text_lock);
	}
	return shared || store_read_position(GetActiveSnapshot(), position);
}

/* The sequence's last value: ids beyond the counted ones are events, but for a few. */
static int64
last_event_id(void)
{
	Oid sequence = get_relname_relid("event_id_seq", get_namespace_oid("outbox", false));

	return DatumGetInt64(DirectFunctionCall1(pg_sequence_last_value, ObjectIdGetDatum(sequence)));
}

/* More than LAG_EXACT_EVENTS, counted by this backend behind a position. */
typedef struct Counted
{
	bool        valid;
	uint64      xmin, xmax;
	size_t      xid_count; /* in progress, of a snapshot with this xmax: they only become fewer */
	int64       count, median_id;
	TimestampTz oldest;
} Counted;

static Counted last_counted;

static bool
is_counted(const Position *position)
{
	return last_counted.valid && last_counted.xmin == position->xmin &&
	       last_counted.xmax == position->xmax && last_counted.xid_count == position->xid_count;
}

static int64
count_pending(OutboxSlot *slot, TimestampTz *oldest)
{
	Position position = {0};
	Counted  counted = {.valid = true};

	if (!present_position(slot, &position))
		position = (Position){.xmin = EVENT_XID_FIRST, .xmax = EVENT_XID_FIRST};
	if (!is_counted(&position))
	{
		counted.xmin = position.xmin;
		counted.xmax = position.xmax;
		counted.xid_count = position.xid_count;
		counted.count = store_count_pending(&position, GetActiveSnapshot(), LAG_EXACT_EVENTS + 1,
		                                    &counted.oldest, &counted.median_id);
		last_counted = counted;
		last_counted.valid = counted.count > LAG_EXACT_EVENTS;
	}
	else
		counted = last_counted;
	*oldest = counted.oldest;
	if (counted.count <= LAG_EXACT_EVENTS)
		return counted.count;
	/* As many as the half counted, and all ids behind it: the median, since a transaction that was
	 * open for long has ids far from the others', at either end. */
	return Max(counted.count, counted.count / 2 + last_event_id() - counted.median_id);
}

static int64
outbox_bytes(void)
{
	int64 bytes = 0;

	for (int number = 0; number < EVENT_TABLES; number++)
		bytes += DatumGetInt64(
			DirectFunctionCall1(pg_total_relation_size, ObjectIdGetDatum(event_table_oid(number))));
	return bytes;
}

void
lag_look(OutboxSlot *slot, Lag *lag)
{
	/* What this very transaction's snapshot shows may be old; a monitor wants the present. */
	PushActiveSnapshot(GetLatestSnapshot());
	lag->pending_events = count_pending(slot, &lag->pending_since);
	PopActiveSnapshot();
	lag->outbox_bytes = outbox_bytes();
}

/* From then until now; 0 where nothing is pending. */
static Datum
lag_interval(const Lag *lag)
{
	Interval *zero = palloc0(sizeof(Interval));

	if (lag->pending_events == 0)
		return IntervalPGetDatum(zero);
	return DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(GetCurrentTimestamp()),
	                           TimestampTzGetDatum(lag->pending_since));
}

Datum
outbox_lag_status(PG_FUNCTION_ARGS)
{
	TupleDesc   type = status_row_type(fcinfo);
	OutboxSlot *slot = shmem_mine();
	Datum       values[LAG_COLUMNS];
	bool        nulls[LAG_COLUMNS] = {0};
	Lag         lag;

	lag_look(slot, &lag);
	values[LAG_PENDING_EVENTS] = Int64GetDatum(lag.pending_events);
	status_set_time(values, nulls, LAG_PENDING_SINCE, lag.pending_since);
	values[LAG_LAG] = lag_interval(&lag);
	values[LAG_OUTBOX_BYTES] = Int64GetDatum(lag.outbox_bytes);
	values[LAG_RELAY_STATE] = CStringGetTextDatum(status_relay_state(slot));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(type, values, nulls)));
}
