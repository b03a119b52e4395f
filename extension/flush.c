/*
 * flush.c
 *    Pending entries as rows of the outbox.
 *
 * One row carries many keys: a transaction that changes a thousand blogs writes one row. A row that
 * is too large would be read and held as one piece by the relay, so it closes at 256 kB.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/memutils.h"

#include "compat.h"
#include "event.h"
#include "flush.h"
#include "headers.h"
#include "pending.h"
#include "shmem.h"

#define MAX_ROW_BYTES (256 * 1024)
#define ELEMENT_OVERHEAD 8 /* length word and padding of a text in an array */

/* The entries of one kind as text[], built in place: construct_array would want a copy of each
 * first. 0: there are none. */
static Datum
text_array(PendingKind kind, uint64 from, uint64 to)
{
	Size       bytes = ARR_OVERHEAD_NONULLS(1);
	int        count = 0;
	ArrayType *array;
	char      *element;

	for (uint64 i = from; i < to; i++)
	{
		if (pending_entry(i)->kind != kind)
			continue;
		bytes += INTALIGN(VARHDRSZ + pending_entry(i)->length);
		count++;
	}
	if (count == 0)
		return (Datum) 0;
	array = palloc0(bytes);
	SET_VARSIZE(array, bytes);
	array->ndim = 1;
	array->elemtype = TEXTOID;
	ARR_DIMS(array)[0] = count;
	ARR_LBOUND(array)[0] = 1;
	element = ARR_DATA_PTR(array);
	for (uint64 i = from; i < to; i++)
	{
		const PendingEntry *entry = pending_entry(i);

		if (entry->kind != kind)
			continue;
		SET_VARSIZE(element, VARHDRSZ + entry->length);
		memcpy(VARDATA(element), entry->of.data, entry->length);
		element += INTALIGN(VARHDRSZ + entry->length);
	}
	return PointerGetDatum(array);
}

/* Where the row ends that starts with entry `from`: at `to`, or before the entry that would make its
 * keys and patterns too large. */
static uint64
row_end(uint64 from, uint64 to, bool *any)
{
	size_t bytes = 0;
	uint64 i;

	for (i = from; i < to; i++)
	{
		const PendingEntry *entry = pending_entry(i);

		if (entry->kind == PENDING_MESSAGE)
			continue;
		if (bytes > 0 && bytes + entry->length + ELEMENT_OVERHEAD > MAX_ROW_BYTES)
			break;
		bytes += entry->length + ELEMENT_OVERHEAD;
	}
	*any = bytes > 0;
	return i;
}

static void
write_key_row(EventWriter *writer, uint64 xid, uint64 from, uint64 to)
{
	MemoryContext old = MemoryContextSwitchTo(event_writer_context(writer));
	EventRow      event = {.xid = xid};

	event.keys = text_array(PENDING_KEY, from, to);
	event.patterns = text_array(PENDING_PATTERN, from, to);
	event.headers = headers_with_traceparent((Datum) 0);
	MemoryContextSwitchTo(old);
	event_writer_insert(writer, &event);
}

static void
write_keys(EventWriter *writer, uint64 xid, uint64 from, uint64 to)
{
	while (from < to)
	{
		bool   any;
		uint64 end = row_end(from, to, &any);

		if (any)
			write_key_row(writer, xid, from, end);
		from = end;
	}
}

static void
write_messages(EventWriter *writer, uint64 xid, uint64 from, uint64 to)
{
	for (uint64 i = from; i < to; i++)
	{
		const PendingEntry *entry = pending_entry(i);

		if (entry->kind == PENDING_MESSAGE)
		{
			EventRow event = *entry->of.message;

			event.xid = xid;
			event_writer_insert(writer, &event);
		}
	}
}

/* What is written early must not overtake the messages before it, which wait for their own level's
 * end: they get their ids now. */
static void
number_messages(EventWriter *writer, uint64 to)
{
	for (uint64 i = pending_numbered(); i < to; i++)
	{
		const PendingEntry *entry = pending_entry(i);

		if (entry->kind == PENDING_MESSAGE && entry->of.message->id == 0)
			entry->of.message->id = event_writer_reserve(writer);
	}
	if (to > pending_numbered())
		pending_set_numbered(to);
}

/* At commit, the statement that failed is COMMIT, and "disk full" alone would puzzle. */
static void
add_context(void *arg)
{
	errcontext("writing what this transaction recorded for pg_outbox");
}

/* The top-level transaction's id, whichever subtransaction writes: a window knows no others. */
static void
write_entries(EventWriter *writer, uint64 from, uint64 to)
{
	uint64 xid = U64FromFullTransactionId(GetTopFullTransactionId());

	number_messages(writer, from);
	write_keys(writer, xid, from, to);
	write_messages(writer, xid, from, to);
}

void
flush_write(uint64 from, uint64 to)
{
	ErrorContextCallback context = {error_context_stack, add_context, NULL};
	EventWriter         *writer;

	error_context_stack = &context;
	writer = event_writer_begin(shmem_current_table());
	write_entries(writer, from, to);
	event_writer_end(writer);
	error_context_stack = context.previous;
}

bool
flush_last(void)
{
	ErrorContextCallback context = {error_context_stack, add_context, NULL};
	EventWriter         *writer;

	error_context_stack = &context;
	writer = event_writer_try_begin(shmem_current_table());
	if (writer != NULL)
	{
		write_entries(writer, 0, pending_count());
		event_writer_tick(writer);
		event_writer_end(writer);
	}
	error_context_stack = context.previous;
	return writer != NULL;
}
