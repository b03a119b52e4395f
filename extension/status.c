/*
 * status.c
 *    What lies behind outbox.relay, and what asks something of the relay.
 *
 * Counters and texts come from shared memory. (outbox.lag reads tables, and needs to know what a
 * position is: relay/status.c.)
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "shmem.h"
#include "status.h"

PG_FUNCTION_INFO_V1(outbox_relay_status);
PG_FUNCTION_INFO_V1(outbox_wait_published);
PG_FUNCTION_INFO_V1(outbox_restart_relay);
PG_FUNCTION_INFO_V1(outbox_rotate);

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

TupleDesc
status_row_type(FunctionCallInfo fcinfo)
{
	TupleDesc type;

	if (get_call_result_type(fcinfo, NULL, &type) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return BlessTupleDesc(type);
}

const char *
status_relay_state(OutboxSlot *slot)
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

void
status_set_time(Datum *values, bool *nulls, int column, TimestampTz time)
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
	status_set_time(values, nulls, RELAY_CONNECTED_AT, connected_at);
	status_set_time(values, nulls, RELAY_LAST_CONFIRMED_AT, confirmed_at);
	status_set_time(values, nulls, RELAY_LAST_ERROR_AT, error_at);
}

Datum
outbox_relay_status(PG_FUNCTION_ARGS)
{
	TupleDesc   type = status_row_type(fcinfo);
	OutboxSlot *slot = shmem_mine();
	Datum       values[RELAY_COLUMNS];
	bool        nulls[RELAY_COLUMNS];

	memset(nulls, true, sizeof(nulls));
	values[RELAY_STATE] = CStringGetTextDatum(status_relay_state(slot));
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

/* ---- asking the relay ------------------------------------------------------------------------- */

/* Waits until `request` is served or the time is over, by a clock that nobody sets. */
static bool
wait_for_served(OutboxSlot *slot, uint64 request, long limit_ms)
{
	instr_time began;
	bool       served;

	INSTR_TIME_SET_CURRENT(began);
	ConditionVariablePrepareToSleep(&slot->served_changed);
	while (!(served = pg_atomic_read_u64(&slot->served) >= request))
	{
		instr_time passed;
		long       left_ms;

		INSTR_TIME_SET_CURRENT(passed);
		INSTR_TIME_SUBTRACT(passed, began);
		left_ms = limit_ms - (long) INSTR_TIME_GET_MILLISEC(passed);
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
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz until = DatumGetTimestampTz(
		DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(now), timeout));
	OutboxSlot *slot = shmem_mine();
	uint64      request;

	/* Just after a start of the server the launcher may not have come to this database. */
	if (slot == NULL)
		slot = shmem_want(MyDatabaseId);
	if (slot == NULL)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		        errmsg("no relay publishes this database's outbox"),
		        errhint("Add pg_outbox to shared_preload_libraries and restart the server."));
	request = pg_atomic_add_fetch_u64(&slot->requested, 1);
	shmem_wake_relay();
	PG_RETURN_BOOL(wait_for_served(slot, request, TimestampDifferenceMilliseconds(now, until)));
}

Datum
outbox_restart_relay(PG_FUNCTION_ARGS)
{
	shmem_command_relay(OUTBOX_COMMAND_RESTART);
	shmem_wake_launcher();
	PG_RETURN_VOID();
}

Datum
outbox_rotate(PG_FUNCTION_ARGS)
{
	shmem_command_relay(OUTBOX_COMMAND_ROTATE);
	PG_RETURN_VOID();
}
