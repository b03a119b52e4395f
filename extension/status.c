/*
 * status.c
 *    What lies behind outbox.relay and outbox.lag, and what asks something of the relay.
 *
 * Counters and texts come from shared memory, pending events from the tables: as many as
 * EXACT_EVENTS are counted, beyond that the sequence tells about how many more there are, so the
 * cost does not grow with the backlog.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "commands/sequence.h"
#include "extension/event.h"
#include "extension/shmem.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "relay/store.h"
#include "relay/window.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define EXACT_EVENTS 10000

PG_FUNCTION_INFO_V1(outbox_relay_status);
PG_FUNCTION_INFO_V1(outbox_lag_status);
PG_FUNCTION_INFO_V1(outbox_wait_published);
PG_FUNCTION_INFO_V1(outbox_restart_relay);

/* Columns of the function behind outbox.relay. */
enum
{
	RELAY_PID,
	RELAY_STATE,
	RELAY_BROKER,
	RELAY_CONNECTED_AT,
	RELAY_LAST_CONFIRMED_AT,
	RELAY_FIRST_COUNTER,
	RELAY_LAST_ERROR = RELAY_FIRST_COUNTER + RELAY_COUNTERS,
	RELAY_LAST_ERROR_AT,
	RELAY_COLUMNS
};

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

static TupleDesc
result_type(FunctionCallInfo fcinfo)
{
	TupleDesc type;

	if (get_call_result_type(fcinfo, NULL, &type) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return BlessTupleDesc(type);
}

static const char *
state_name(OutboxSlot *slot)
{
	if (slot == NULL)
		return relay_state_name(RELAY_NOT_RUNNING);
	return relay_state_name((RelayState) pg_atomic_read_u32(&slot->state));
}

static void
set_text(Datum *values, bool *nulls, int column, const char *text)
{
	nulls[column] = text[0] == '\0';
	if (!nulls[column])
		values[column] = CStringGetTextDatum(text);
}

static void
set_time(Datum *values, bool *nulls, int column, TimestampTz time)
{
	nulls[column] = time == 0;
	values[column] = TimestampTzGetDatum(time);
}

static void
set_slot_texts(OutboxSlot *slot, Datum *values, bool *nulls)
{
	char        broker[sizeof(slot->broker)];
	char        error[sizeof(slot->last_error)];
	TimestampTz connected_at, confirmed_at, error_at;
	int         pid;

	LWLockAcquire(&outbox_shared->lock, LW_SHARED);
	pid = slot->relay_pid;
	LWLockRelease(&outbox_shared->lock);
	LWLockAcquire(&slot->text_lock, LW_SHARED);
	strlcpy(broker, slot->broker, sizeof(broker));
	strlcpy(error, slot->last_error, sizeof(error));
	connected_at = slot->connected_at;
	confirmed_at = slot->last_confirmed_at;
	error_at = slot->last_error_at;
	LWLockRelease(&slot->text_lock);
	nulls[RELAY_PID] = pid == 0;
	values[RELAY_PID] = Int32GetDatum(pid);
	set_text(values, nulls, RELAY_BROKER, broker);
	set_text(values, nulls, RELAY_LAST_ERROR, error);
	set_time(values, nulls, RELAY_CONNECTED_AT, connected_at);
	set_time(values, nulls, RELAY_LAST_CONFIRMED_AT, confirmed_at);
	set_time(values, nulls, RELAY_LAST_ERROR_AT, error_at);
}

Datum
outbox_relay_status(PG_FUNCTION_ARGS)
{
	TupleDesc   type = result_type(fcinfo);
	OutboxSlot *slot = shmem_mine();
	Datum       values[RELAY_COLUMNS];
	bool        nulls[RELAY_COLUMNS];

	memset(nulls, true, sizeof(nulls));
	values[RELAY_STATE] = CStringGetTextDatum(state_name(slot));
	nulls[RELAY_STATE] = false;
	for (int i = 0; i < RELAY_COUNTERS; i++)
	{
		uint64 count = slot == NULL ? 0 : pg_atomic_read_u64(&slot->counters[i]);

		values[RELAY_FIRST_COUNTER + i] = Int64GetDatum((int64) count);
		nulls[RELAY_FIRST_COUNTER + i] = false;
	}
	if (slot != NULL)
		set_slot_texts(slot, values, nulls);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(type, values, nulls)));
}

/* ---- lag -------------------------------------------------------------------------------------- */

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
	count = store_count_pending(&position, GetActiveSnapshot(), EXACT_EVENTS + 1, oldest,
								&median_id);
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
	TupleDesc   type = result_type(fcinfo);
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
	set_time(values, nulls, LAG_PENDING_SINCE, oldest);
	values[LAG_LAG] = lag_since(count, oldest);
	values[LAG_OUTBOX_BYTES] = Int64GetDatum(outbox_bytes());
	values[LAG_RELAY_STATE] = CStringGetTextDatum(state_name(slot));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(type, values, nulls)));
}

/* ---- asking the relay ------------------------------------------------------------------------- */

/* Waits until `request` is served or the time is over. */
static bool
wait_for_served(OutboxSlot *slot, uint64 request, TimestampTz until)
{
	bool served;

	ConditionVariablePrepareToSleep(&slot->served_changed);
	while (!(served = pg_atomic_read_u64(&slot->served) >= request))
	{
		long left_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

		if (left_ms <= 0)
			break;
		(void) ConditionVariableTimedSleep(&slot->served_changed, left_ms, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	return served;
}

Datum
outbox_wait_published(PG_FUNCTION_ARGS)
{
	Datum       timeout = PG_GETARG_DATUM(0);
	TimestampTz until = DatumGetTimestampTz(DirectFunctionCall2(
		timestamptz_pl_interval, TimestampTzGetDatum(GetCurrentTimestamp()), timeout));
	OutboxSlot *slot = shmem_mine();
	uint64      request;

	if (slot == NULL)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("no relay publishes this database's outbox"),
				errhint("Add pg_outbox to shared_preload_libraries and restart the server."));
	request = pg_atomic_add_fetch_u64(&slot->requested, 1);
	shmem_wake_relay();
	PG_RETURN_BOOL(wait_for_served(slot, request, until));
}

Datum
outbox_restart_relay(PG_FUNCTION_ARGS)
{
	shmem_command_relay(OUTBOX_COMMAND_RESTART);
	shmem_wake_launcher();
	PG_RETURN_VOID();
}
