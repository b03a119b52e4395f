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
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "event.h"
#include "flush.h"
#include "headers.h"
#include "pending.h"
#include "shmem.h"

#define MAX_ROW_BYTES (256 * 1024)
#define ELEMENT_OVERHEAD 8 /* length word and padding of a text in an array */

/* Keys and patterns on their way into one row. */
typedef struct KeyRow
{
	Datum *keys;
	int    key_count;
	Datum *patterns;
	int    pattern_count;
	size_t bytes;
} KeyRow;

static Datum
text_array(Datum *elements, int count)
{
	if (count == 0)
		return (Datum) 0;
	return PointerGetDatum(construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT));
}

static void
key_row_add(KeyRow *row, const PendingEntry *entry)
{
	Datum value = PointerGetDatum(cstring_to_text_with_len(entry->of.data, entry->length));

	if (entry->kind == PENDING_KEY)
		row->keys[row->key_count++] = value;
	else
		row->patterns[row->pattern_count++] = value;
	row->bytes += entry->length + ELEMENT_OVERHEAD;
}

/* Fills one row, starting at *next; false: no key or pattern is left. */
static bool
key_row_fill(KeyRow *row, uint64 *next, uint64 to)
{
	row->key_count = row->pattern_count = 0;
	row->bytes = 0;
	for (; *next < to; (*next)++)
	{
		const PendingEntry *entry = pending_entry(*next);

		if (entry->kind == PENDING_MESSAGE)
			continue;
		if (row->bytes > 0 && row->bytes + entry->length + ELEMENT_OVERHEAD > MAX_ROW_BYTES)
			return true;
		key_row_add(row, entry);
	}
	return row->key_count + row->pattern_count > 0;
}

static void
write_keys(EventWriter *writer, uint64 xid, uint64 from, uint64 to)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "outbox keys", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = CurrentMemoryContext;
	int           most = (int) Min(to - from, MAX_ROW_BYTES / ELEMENT_OVERHEAD + 1);
	KeyRow        row = {0};
	uint64        next = from;

	row.keys = palloc(sizeof(Datum) * most);
	row.patterns = palloc(sizeof(Datum) * most);
	MemoryContextSwitchTo(context);
	while (key_row_fill(&row, &next, to))
	{
		EventRow event = {.xid = xid};

		event.keys = text_array(row.keys, row.key_count);
		event.patterns = text_array(row.patterns, row.pattern_count);
		event.headers = headers_with_traceparent((Datum) 0);
		event_writer_insert(writer, &event);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	pfree(row.keys);
	pfree(row.patterns);
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
void
flush_write(uint64 from, uint64 to, bool last)
{
	uint64               xid = U64FromFullTransactionId(GetTopFullTransactionId());
	ErrorContextCallback context = {error_context_stack, add_context, NULL};
	EventWriter         *writer;

	if (from == to)
		return;
	error_context_stack = &context;
	PushActiveSnapshot(GetTransactionSnapshot());
	writer = event_writer_begin(shmem_current_table());
	number_messages(writer, from);
	write_keys(writer, xid, from, to);
	write_messages(writer, xid, from, to);
	if (last)
		event_writer_tick(writer);
	event_writer_end(writer);
	PopActiveSnapshot();
	error_context_stack = context.previous;
}
