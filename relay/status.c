/*
 * status.c
 *    What lies behind outbox.lag: how much is committed and not yet confirmed.
 *
 * Counted by the relay's own code, from the position that it shares, so that both mean the same. As
 * many as EXACT_EVENTS are counted, beyond that the sequence tells about how many more there are, so
 * the cost does not grow with the backlog. Runs in the backend that asks.
 */
#include "postgres.h"

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

#define EXACT_EVENTS 10000

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

static int64
count_pending(OutboxSlot *slot, TimestampTz *oldest)
{
	Position position = {0};
	int64    median_id = 0;
	int64    count;

	if (!present_position(slot, &position))
		position = (Position){.xmin = EVENT_XID_FIRST, .xmax = EVENT_XID_FIRST};
	count =
		store_count_pending(&position, GetActiveSnapshot(), EXACT_EVENTS + 1, oldest, &median_id);
	/* As many as the half counted, and all ids behind it: the median, since a transaction that was
	 * open for long has ids far from the others', at either end. */
	if (count > EXACT_EVENTS)
		count = Max(count, count / 2 + last_event_id() - median_id);
	return count;
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

/* From then until now; 0 where nothing is pending. */
static Datum
lag_since(int64 count, TimestampTz oldest)
{
	Interval *zero = palloc0(sizeof(Interval));

	if (count == 0)
		return IntervalPGetDatum(zero);
	return DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(GetCurrentTimestamp()),
	                           TimestampTzGetDatum(oldest));
}

Datum
outbox_lag_status(PG_FUNCTION_ARGS)
{
	TupleDesc   type = status_row_type(fcinfo);
	OutboxSlot *slot = shmem_mine();
	Datum       values[LAG_COLUMNS];
	bool        nulls[LAG_COLUMNS] = {0};
	TimestampTz oldest = 0;
	int64       count;

	/* What this very transaction's snapshot shows may be old; a monitor wants the present. */
	PushActiveSnapshot(GetLatestSnapshot());
	count = count_pending(slot, &oldest);
	PopActiveSnapshot();
	values[LAG_PENDING_EVENTS] = Int64GetDatum(count);
	nulls[LAG_PENDING_SINCE] = oldest == 0;
	values[LAG_PENDING_SINCE] = TimestampTzGetDatum(oldest);
	values[LAG_LAG] = lag_since(count, oldest);
	values[LAG_OUTBOX_BYTES] = Int64GetDatum(outbox_bytes());
	values[LAG_RELAY_STATE] = CStringGetTextDatum(status_relay_state(slot));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(type, values, nulls)));
}
