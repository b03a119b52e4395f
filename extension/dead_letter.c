/*
 * dead_letter.c
 *    What an operator does with events that were not accepted: try again, discard.
 *
 * An event that is tried again moves back into the outbox within the caller's transaction, under its
 * own id, and goes the way of all events from there; the number of its attempts tells the relay not to
 * park it behind others of its destination. SECURITY DEFINER; the script pins search_path.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "event.h"
#include "parked.h"
#include "shmem.h"
#include "xact.h"

PG_FUNCTION_INFO_V1(outbox_retry_dead_letter);
PG_FUNCTION_INFO_V1(outbox_discard_dead_letter);
PG_FUNCTION_INFO_V1(outbox_retry_dead_letters);

/* The script says CALLED ON NULL INPUT: a NULL from a subquery that found nothing must not pass for
 * success. */
static void
check_arguments(FunctionCallInfo fcinfo)
{
	static const char *const names[2][2] = {{"the event id"}, {"the exchange", "the routing key"}};

	for (int i = 0; i < PG_NARGS(); i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			        errmsg("%s of a dead letter must not be NULL", names[PG_NARGS() - 1][i]));
	}
}

static void
check_may_write(const char *call)
{
	PreventCommandDuringRecovery(call);
	PreventCommandIfReadOnly(call);
}

static Datum
value_of(TupleTableSlot *slot, AttrNumber column)
{
	bool  is_null;
	Datum value = slot_getattr(slot, column, &is_null);

	return is_null ? (Datum) 0 : value;
}

static const char *
text_of(TupleTableSlot *slot, AttrNumber column)
{
	Datum value = value_of(slot, column);

	return value == (Datum) 0 ? NULL : TextDatumGetCString(value);
}

/* The row in the slot, as an event of this transaction. */
static void
write_event(EventWriter *writer, TupleTableSlot *slot)
{
	EventRow row = {
		.id = DatumGetInt64(value_of(slot, EVENT_ID)),
		.xid = U64FromFullTransactionId(GetTopFullTransactionId()),
		.created_at = DatumGetTimestampTz(value_of(slot, EVENT_CREATED_AT)),
		.attempts = Max(DatumGetInt32(value_of(slot, EVENT_ATTEMPTS)), 1),
		.exchange = text_of(slot, EVENT_EXCHANGE),
		.routing_key = text_of(slot, EVENT_ROUTING_KEY),
		.keys = value_of(slot, EVENT_KEYS),
		.patterns = value_of(slot, EVENT_PATTERNS),
		.payload = value_of(slot, EVENT_PAYLOAD),
		.body = value_of(slot, EVENT_BODY),
		.headers = value_of(slot, EVENT_HEADERS),
		.properties = value_of(slot, EVENT_PROPERTIES),
	};

	event_writer_insert(writer, &row);
	xact_mark_written();
}

/* Takes one event out of the table; back into the outbox if it is to be tried again. */
static void
take_out(int64 id, bool retry)
{
	ParkedScan scan;
	bool       found;

	PushActiveSnapshot(GetLatestSnapshot());
	parked_begin_by_id(&scan, GetActiveSnapshot(), RowExclusiveLock);
	found = parked_find(&scan, id) && parked_delete(&scan, true);
	if (found && retry)
	{
		EventWriter *writer = event_writer_begin(shmem_current_table());

		write_event(writer, scan.slot);
		event_writer_end(writer);
	}
	parked_end(&scan);
	PopActiveSnapshot();
	if (!found)
		ereport(ERROR, errcode(ERRCODE_NO_DATA_FOUND),
		        errmsg("event %lld is not a dead letter", (long long) id),
		        errdetail("It was accepted or discarded meanwhile, or never refused."),
		        errhint("See the view outbox.dead_letter."));
	xact_mark_parked();
}

Datum
outbox_retry_dead_letter(PG_FUNCTION_ARGS)
{
	check_may_write("outbox.retry_dead_letter()");
	check_arguments(fcinfo);
	take_out(PG_GETARG_INT64(0), true);
	PG_RETURN_VOID();
}

Datum
outbox_discard_dead_letter(PG_FUNCTION_ARGS)
{
	check_may_write("outbox.discard_dead_letter()");
	check_arguments(fcinfo);
	take_out(PG_GETARG_INT64(0), false);
	PG_RETURN_VOID();
}

/* Dead ones go back into the outbox, in the order of their ids. */
static int64
retry_dead(const char *exchange, const char *routing_key)
{
	EventWriter  *writer = event_writer_begin(shmem_current_table());
	MemoryContext row =
		AllocSetContextCreate(CurrentMemoryContext, "outbox dead letter", ALLOCSET_SMALL_SIZES);
	MemoryContext caller;
	ParkedScan    scan;
	int64         count = 0;

	parked_begin_of(&scan, GetActiveSnapshot(), RowExclusiveLock, exchange, routing_key, true, 0);
	while (parked_next_row(&scan))
	{
		if (!parked_delete(&scan, true))
			continue;
		caller = MemoryContextSwitchTo(row);
		write_event(writer, scan.slot);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(row);
		count++;
	}
	parked_end(&scan);
	event_writer_end(writer);
	return count;
}

/* The others stay: the relay tries them from the first on. */
static int64
count_retrying(const char *exchange, const char *routing_key)
{
	ParkedScan scan;
	int64      count = 0;

	parked_begin_of(&scan, GetActiveSnapshot(), AccessShareLock, exchange, routing_key, false, 0);
	while (parked_next_row(&scan))
		count++;
	parked_end(&scan);
	return count;
}

Datum
outbox_retry_dead_letters(PG_FUNCTION_ARGS)
{
	const char *exchange;
	const char *routing_key;
	int64       count;

	check_may_write("outbox.retry_dead_letters()");
	check_arguments(fcinfo);
	exchange = text_to_cstring(PG_GETARG_TEXT_PP(0));
	routing_key = text_to_cstring(PG_GETARG_TEXT_PP(1));
	PushActiveSnapshot(GetLatestSnapshot());
	count = retry_dead(exchange, routing_key) + count_retrying(exchange, routing_key);
	PopActiveSnapshot();
	xact_mark_parked();
	PG_RETURN_INT64(count);
}
