/*
 * consumer.c
 *    outbox.report_consumer() and what lies behind outbox.consumer.
 *
 * Each worker reports once a second; a table would be all dead rows. So the last report of each, by
 * database and name, is kept in shared memory, and gone after a restart of the server until the next
 * one. There is room for CONSUMER_SLOTS; the one that has been silent longest makes place.
 */
#include "postgres.h"

#include "extension/consumer.h"

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
PG_FUNCTION_INFO_V1(outbox_consumer_status);

/* Arguments of report_consumer; the columns of consumer_status have reported_at behind the state. */
enum
{
	REPORT_NAME,
	REPORT_STATE,
	REPORT_FIRST_COUNTER,
	REPORT_FIRST_DELAY = REPORT_FIRST_COUNTER + CONSUMER_COUNTERS,
	REPORT_LAST_ERROR = REPORT_FIRST_DELAY + CONSUMER_DELAYS,
	STATUS_REPORTED_AT = REPORT_STATE + 1,
	STATUS_COLUMNS = REPORT_LAST_ERROR + 2
};

typedef struct ConsumerSlot
{
	Oid         database; /* InvalidOid: free */
	TimestampTz reported_at;
	int64       counters[CONSUMER_COUNTERS];
	double      delays_ms[CONSUMER_DELAYS]; /* negative: not known */
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

static void
take_report(FunctionCallInfo fcinfo, ConsumerSlot *report)
{
	if (PG_ARGISNULL(REPORT_NAME) || PG_ARGISNULL(REPORT_STATE))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
		        errmsg("name and state of a consumer must not be null"));
	memset(report, 0, sizeof(*report));
	report->database = MyDatabaseId;
	report->reported_at = GetCurrentTimestamp();
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
}

/* The slot of this name, or a free one, or that of the longest silent. Under the lock. */
static ConsumerSlot *
find_slot(const ConsumerSlot *report)
{
	ConsumerSlot *oldest = &consumers->slots[0];

	for (int i = 0; i < CONSUMER_SLOTS; i++)
	{
		ConsumerSlot *slot = &consumers->slots[i];

		if (slot->database == report->database && strcmp(slot->name, report->name) == 0)
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
	ConsumerSlot report;

	take_report(fcinfo, &report);
	if (consumers == NULL)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		        errmsg("pg_outbox is not in shared_preload_libraries"),
		        errdetail("Reports of consumers are kept in shared memory."));
	LWLockAcquire(&consumers->lock, LW_EXCLUSIVE);
	*find_slot(&report) = report;
	LWLockRelease(&consumers->lock);
	PG_RETURN_VOID();
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
	values[column] = CStringGetTextDatum(slot->last_error);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

Datum
outbox_consumer_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ConsumerSlot  *slots;

	InitMaterializedSRF(fcinfo, 0);
	if (consumers == NULL)
		PG_RETURN_VOID();
	/* Rows are made from a copy: what makes them may fail, which must not happen under the lock. */
	slots = palloc(sizeof(consumers->slots));
	LWLockAcquire(&consumers->lock, LW_SHARED);
	memcpy(slots, consumers->slots, sizeof(consumers->slots));
	LWLockRelease(&consumers->lock);
	for (int i = 0; i < CONSUMER_SLOTS; i++)
		if (slots[i].database == MyDatabaseId)
			put_row(result, &slots[i]);
	pfree(slots);
	PG_RETURN_VOID();
}
