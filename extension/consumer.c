/*
 * consumer.c
 *    outbox.report_consumer(), outbox.forget_consumer() and what lies behind outbox.consumer.
 *
 * Each worker reports once a second; a table would be all dead rows. So the last report of each, by
 * database and name, is kept in shared memory, and gone after a restart of the server until the next
 * one. There is room for CONSUMER_SLOTS; the one that has been silent longest makes place.
 */
#include "postgres.h"

#include "extension/consumer.h"

#include "extension/status.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define CONSUMER_SLOTS 256
#define CONSUMER_COUNTERS 3 /* messages, keys_deleted, dead_lettered */
#define CONSUMER_DELAYS 2   /* delay_p50_ms, delay_p99_ms */

PG_FUNCTION_INFO_V1(outbox_report_consumer);
PG_FUNCTION_INFO_V1(outbox_forget_consumer);
PG_FUNCTION_INFO_V1(outbox_consumer_status);

/* Arguments of report_consumer; the columns of consumer_status have reported_at behind the state. */
enum
{
	REPORT_NAME,
	REPORT_STATE,
	REPORT_FIRST_COUNTER,
	REPORT_FIRST_DELAY = REPORT_FIRST_COUNTER + CONSUMER_COUNTERS,
	REPORT_LAST_ERROR = REPORT_FIRST_DELAY + CONSUMER_DELAYS,
	REPORT_CANARY_DELAY,
	REPORT_CANARY_AGE,
	STATUS_REPORTED_AT = REPORT_STATE + 1,
	STATUS_COLUMNS = REPORT_CANARY_AGE + 2
};

typedef struct ConsumerSlot
{
	Oid         database; /* InvalidOid: free */
	TimestampTz reported_at;
	TimestampTz state_since; /* it has reported the same state from then on */
	int64       counters[CONSUMER_COUNTERS];
	double      delays_ms[CONSUMER_DELAYS]; /* negative: not known */
	double      canary_delay_ms;            /* the same */
	TimestampTz canary_at;                  /* 0: none yet */
	char        name[256];
	char        state[64];
	char        last_error[512];
} ConsumerSlot;

typedef struct ConsumersShared
{
	LWLock       lock; /* guards all slots */
	ConsumerSlot slots[CONSUMER_SLOTS];
} ConsumersShared;

static ConsumersShared *consumers = NULL;

Size
consumer_shmem_size(void)
{
	return sizeof(ConsumersShared);
}

void
consumer_shmem_startup(int tranche)
{
	bool found;

	consumers = ShmemInitStruct("pg_outbox consumers", sizeof(ConsumersShared), &found);
	if (found)
		return;
	memset(consumers, 0, sizeof(ConsumersShared));
	LWLockInitialize(&consumers->lock, tranche);
}

/* Cut between characters. */
static void
copy_text(char *out, Size size, const text *value)
{
	const char *data = VARDATA_ANY(value);
	int         length = VARSIZE_ANY_EXHDR(value);

	length = pg_mbcliplen(data, length, (int) size - 1);
	memcpy(out, data, length);
	out[length] = '\0';
}

/* An age, since the reporter's clock is another one. */
static void
take_canary(FunctionCallInfo fcinfo, ConsumerSlot *report)
{
	report->canary_delay_ms = -1;
	if (PG_ARGISNULL(REPORT_CANARY_DELAY) || PG_ARGISNULL(REPORT_CANARY_AGE))
		return;
	report->canary_delay_ms = PG_GETARG_FLOAT8(REPORT_CANARY_DELAY);
	report->canary_at =
		report->reported_at - (TimestampTz) (Max(PG_GETARG_FLOAT8(REPORT_CANARY_AGE), 0) * 1000);
}

static void
take_report(FunctionCallInfo fcinfo, ConsumerSlot *report)
{
	if (PG_ARGISNULL(REPORT_NAME) || PG_ARGISNULL(REPORT_STATE))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
		        errmsg("name and state of a consumer must not be null"));
	memset(report, 0, sizeof(*report));
	report->database = MyDatabaseId;
	report->reported_at = report->state_since = GetCurrentTimestamp();
	copy_text(report->name, sizeof(report->name), PG_GETARG_TEXT_PP(REPORT_NAME));
	copy_text(report->state, sizeof(report->state), PG_GETARG_TEXT_PP(REPORT_STATE));
	for (int i = 0; i < CONSUMER_COUNTERS; i++)
		report->counters[i] =
			PG_ARGISNULL(REPORT_FIRST_COUNTER + i) ? 0 : PG_GETARG_INT64(REPORT_FIRST_COUNTER + i);
	for (int i = 0; i < CONSUMER_DELAYS; i++)
		report->delays_ms[i] =
			PG_ARGISNULL(REPORT_FIRST_DELAY + i) ? -1 : PG_GETARG_FLOAT8(REPORT_FIRST_DELAY + i);
	if (!PG_ARGISNULL(REPORT_LAST_ERROR))
		copy_text(report->last_error, sizeof(report->last_error),
		          PG_GETARG_TEXT_PP(REPORT_LAST_ERROR));
	take_canary(fcinfo, report);
}

static bool
is_of(const ConsumerSlot *slot, Oid database, const char *name)
{
	return slot->database == database && strcmp(slot->name, name) == 0;
}

/* The slot of this name, or a free one, or that of the longest silent. Under the lock. */
static ConsumerSlot *
find_slot(const ConsumerSlot *report)
{
	ConsumerSlot *oldest = &consumers->slots[0];

	for (int i = 0; i < CONSUMER_SLOTS; i++)
	{
		ConsumerSlot *slot = &consumers->slots[i];

		if (is_of(slot, report->database, report->name))
			return slot;
		/* A free one has never reported: its time is 0. */
		if (slot->reported_at < oldest->reported_at)
			oldest = slot;
	}
	return oldest;
}

Datum
outbox_report_consumer(PG_FUNCTION_ARGS)
{
	ConsumerSlot  report;
	ConsumerSlot *slot;

	take_report(fcinfo, &report);
	if (consumers == NULL)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		        errmsg("pg_outbox is not in shared_preload_libraries"),
		        errdetail("Reports of consumers are kept in shared memory."));
	LWLockAcquire(&consumers->lock, LW_EXCLUSIVE);
	slot = find_slot(&report);
	if (is_of(slot, report.database, report.name) && strcmp(slot->state, report.state) == 0)
		report.state_since = slot->state_since;
	*slot = report;
	LWLockRelease(&consumers->lock);
	PG_RETURN_VOID();
}

Datum
outbox_forget_consumer(PG_FUNCTION_ARGS)
{
	char name[sizeof(consumers->slots[0].name)];
	bool found = false;

	copy_text(name, sizeof(name), PG_GETARG_TEXT_PP(0));
	if (consumers == NULL)
		PG_RETURN_BOOL(false);
	LWLockAcquire(&consumers->lock, LW_EXCLUSIVE);
	for (int i = 0; i < CONSUMER_SLOTS; i++)
	{
		if (!is_of(&consumers->slots[i], MyDatabaseId, name))
			continue;
		memset(&consumers->slots[i], 0, sizeof(ConsumerSlot));
		found = true;
	}
	LWLockRelease(&consumers->lock);
	PG_RETURN_BOOL(found);
}

/* ---- reading ---------------------------------------------------------------------------------- */

/* Whichever was heard last of its kind is the one to name; of those that wait, whichever waits longest. */
static void
name_it(ConsumerGroup *group, const ConsumerSlot *slot, TimestampTz since, bool earlier)
{
	if (group->count++ > 0 && (earlier ? since >= group->since : since <= group->since))
		return;
	group->since = since;
	strlcpy(group->name, slot->name, sizeof(group->name));
	strlcpy(group->state, slot->state, sizeof(group->state));
	strlcpy(group->last_error, slot->last_error, sizeof(group->last_error));
}

static void
look_at(const ConsumerSlot *slot, TimestampTz now, ConsumersSeen *seen)
{
	if (strcmp(slot->state, "stopping") == 0)
		name_it(&seen->ended, slot, slot->reported_at, false);
	else if (now - slot->reported_at >= CONSUMER_SILENT_S * USECS_PER_SEC)
		name_it(&seen->silent, slot, slot->reported_at, false);
	else if (strcmp(slot->state, "consuming") != 0)
		name_it(&seen->waiting, slot, slot->state_since, true);
	else
		name_it(&seen->consuming, slot, slot->state_since, true);
	if (slot->canary_at > seen->canary_at)
	{
		seen->canary_at = slot->canary_at;
		seen->canary_delay_ms = slot->canary_delay_ms;
	}
}

void
consumers_look(TimestampTz now, ConsumersSeen *seen)
{
	memset(seen, 0, sizeof(*seen));
	if (consumers == NULL)
		return;
	LWLockAcquire(&consumers->lock, LW_SHARED);
	for (int i = 0; i < CONSUMER_SLOTS; i++)
	{
		if (consumers->slots[i].database == MyDatabaseId)
			look_at(&consumers->slots[i], now, seen);
	}
	LWLockRelease(&consumers->lock);
}

static void
put_row(ReturnSetInfo *result, const ConsumerSlot *slot)
{
	Datum values[STATUS_COLUMNS];
	bool  nulls[STATUS_COLUMNS] = {false};
	int   column = STATUS_REPORTED_AT;

	values[REPORT_NAME] = CStringGetTextDatum(slot->name);
	values[REPORT_STATE] = CStringGetTextDatum(slot->state);
	values[column++] = TimestampTzGetDatum(slot->reported_at);
	for (int i = 0; i < CONSUMER_COUNTERS; i++)
		values[column++] = Int64GetDatum(slot->counters[i]);
	for (int i = 0; i < CONSUMER_DELAYS; i++)
	{
		nulls[column] = slot->delays_ms[i] < 0;
		values[column++] = Float8GetDatum(slot->delays_ms[i]);
	}
	nulls[column] = slot->last_error[0] == '\0';
	values[column++] = CStringGetTextDatum(slot->last_error);
	nulls[column] = slot->canary_at == 0;
	values[column++] = Float8GetDatum(slot->canary_delay_ms);
	status_set_time(values, nulls, column, slot->canary_at);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

Datum
outbox_consumer_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ConsumerSlot  *slots;
	int            count = 0;

	InitMaterializedSRF(fcinfo, 0);
	if (consumers == NULL)
		PG_RETURN_VOID();
	/* Rows are made from a copy: what makes them may fail, which must not happen under the lock. */
	slots = palloc(sizeof(consumers->slots));
	LWLockAcquire(&consumers->lock, LW_SHARED);
	for (int i = 0; i < CONSUMER_SLOTS; i++)
	{
		if (consumers->slots[i].database == MyDatabaseId)
			slots[count++] = consumers->slots[i];
	}
	LWLockRelease(&consumers->lock);
	for (int i = 0; i < count; i++)
		put_row(result, &slots[i]);
	pfree(slots);
	PG_RETURN_VOID();
}
