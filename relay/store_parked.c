/*
 * store_parked.c
 *    Rows of outbox.parked, written below the executor as events are, and questions to it by SPI.
 *
 * The relay has pinned search_path, and that no table is scanned where an index serves.
 */
#include "postgres.h"

#include "relay/store_parked.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "extension/event.h"
#include "extension/parked.h"
#include "extension/rows.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "relay/decode.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define READ_BYTES (1024 * 1024)

struct ParkedWriter
{
	RowWriter *rows;
	ParkedScan ids;
};

/* UTF-8 as a string of the database's encoding. */
static char *
to_server(MqBytes text)
{
	char *copy = pnstrdup(text.data == NULL ? "" : text.data, text.size);

	return pg_any_to_server(copy, (int) text.size, PG_UTF8);
}

/* The broker's words are printable ASCII. */
static Datum
text_datum(const char *text, bool *is_null)
{
	*is_null = text == NULL;
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

ParkedWriter *
parked_writer_begin(void)
{
	ParkedWriter *writer = palloc(sizeof(*writer));

	/* Sees what this transaction has added, too: an event may come twice. Locks the table. */
	parked_begin_by_id(&writer->ids, SnapshotSelf, RowExclusiveLock);
	writer->rows = row_writer_begin(event_parked_oid());
	return writer;
}

bool
parked_writer_add(ParkedWriter *writer, TupleTableSlot *event, const ParkRange *range)
{
	Datum       values[PARKED_COLUMNS];
	bool        nulls[PARKED_COLUMNS] = {0};
	TimestampTz now = GetCurrentTimestamp();

	slot_getsomeattrs(event, EVENT_PROPERTIES);
	if (parked_find(&writer->ids, DatumGetInt64(event->tts_values[EVENT_ID - 1])))
		return false;
	memcpy(values, event->tts_values, EVENT_PROPERTIES * sizeof(Datum));
	memcpy(nulls, event->tts_isnull, EVENT_PROPERTIES * sizeof(bool));
	values[EVENT_ATTEMPTS - 1] = Int32GetDatum((int32) range->attempts);
	values[PARKED_TO_EXCHANGE - 1] = CStringGetTextDatum(to_server(range->exchange));
	values[PARKED_TO_ROUTING_KEY - 1] = CStringGetTextDatum(to_server(range->routing_key));
	values[PARKED_DEAD - 1] = BoolGetDatum(range->dead);
	values[PARKED_REASON - 1] = text_datum(range->reason, &nulls[PARKED_REASON - 1]);
	values[PARKED_FIRST_FAILED_AT - 1] = TimestampTzGetDatum(now);
	values[PARKED_FAILED_AT - 1] = TimestampTzGetDatum(now);
	row_writer_insert(writer->rows, values, nulls);
	return true;
}

void
parked_writer_end(ParkedWriter *writer)
{
	parked_end(&writer->ids);
	row_writer_end(writer->rows);
	pfree(writer);
}

/* ---- reading ---------------------------------------------------------------------------------- */

static void
begin(void)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
end(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}

size_t
parked_read(MqBytes exchange, MqBytes routing_key, int64_t after, size_t limit,
            MemoryContext context, const RelayEvent **events, bool *held)
{
	MemoryContext caller;
	RelayEvent   *read;
	ParkedScan    scan;
	size_t        count = 0;
	Size          bytes = 0;

	*held = false;
	begin();
	caller = MemoryContextSwitchTo(context);
	read = palloc(limit * sizeof(RelayEvent));
	parked_begin_of(&scan, GetActiveSnapshot(), AccessShareLock, to_server(exchange),
	                to_server(routing_key), false, after);
	while (count < limit && bytes < READ_BYTES && parked_next_row(&scan))
	{
		if (parked_is_held(&scan))
		{
			*held = true;
			continue;
		}
		bytes += decode_event(scan.slot, &read[count]);
		read[count++].attempts = 0; /* in its order */
	}
	parked_end(&scan);
	MemoryContextSwitchTo(caller);
	end();
	*events = read;
	return count;
}

bool
parked_is(MqBytes exchange, MqBytes routing_key)
{
	ParkedScan scan;
	bool       found;

	begin();
	parked_begin_of(&scan, GetActiveSnapshot(), AccessShareLock, to_server(exchange),
	                to_server(routing_key), false, 0);
	found = parked_next_row(&scan);
	parked_end(&scan);
	end();
	return found;
}

/* ---- settling --------------------------------------------------------------------------------- */

/* A row that is deleted and written again. No UPDATE: logical decoding would see it, and refuse it where
 * a publication has all tables; and it would wait for a backend that is about to delete the row. */
typedef struct Rewriting
{
	Datum values[PARKED_COLUMNS];
	bool  nulls[PARKED_COLUMNS];
} Rewriting;

static void
rewrite_begin(Rewriting *row, TupleTableSlot *slot)
{
	slot_getallattrs(slot);
	memcpy(row->values, slot->tts_values, sizeof(row->values));
	memcpy(row->nulls, slot->tts_isnull, sizeof(row->nulls));
}

static void
rewrite_end(const Rewriting *row)
{
	RowWriter *rows = row_writer_begin(event_parked_oid());

	row_writer_insert(rows, row->values, row->nulls);
	row_writer_end(rows);
}

/* The row in the slot once more, as dead. */
static void
bury(TupleTableSlot *slot, const char *reason)
{
	Rewriting row;

	rewrite_begin(&row, slot);
	row.values[EVENT_ATTEMPTS - 1] =
		Int32GetDatum(DatumGetInt32(row.values[EVENT_ATTEMPTS - 1]) + 1);
	row.values[PARKED_DEAD - 1] = BoolGetDatum(true);
	row.values[PARKED_REASON - 1] = text_datum(reason, &row.nulls[PARKED_REASON - 1]);
	row.values[PARKED_FAILED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	rewrite_end(&row);
}

void
parked_settle(const ChunkEvent *events, size_t count, const char *reason)
{
	ParkedScan scan;

	begin();
	parked_begin_by_id(&scan, GetActiveSnapshot(), RowExclusiveLock);
	for (size_t i = 0; i < count; i++)
	{
		if (events[i].outcome == CHUNK_REFUSED || !parked_find(&scan, events[i].id) ||
		    !parked_delete(&scan, false))
			continue;
		if (events[i].outcome == CHUNK_DEAD)
			bury(scan.slot, reason);
	}
	parked_end(&scan);
	end();
}

/* ---- all destinations ------------------------------------------------------------------------- */

static void
execute(const char *statement, int count, Datum *arguments, int expected)
{
	Oid types[] = {TEXTOID, TEXTOID};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(statement, count, types, arguments, NULL, false, 0) != expected)
		elog(ERROR, "could not execute: %s", statement);
}

static MqBytes
column_utf8(int row, int column)
{
	char *value = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);

	return mq_bytes_of(pg_server_to_any(value, (int) strlen(value), PG_UTF8));
}

static int64
column_int64(int row, int column)
{
	bool  is_null;
	Datum value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &is_null);

	return is_null ? 0 : DatumGetInt64(value);
}

bool
parked_next(bool begun, char *exchange, char *routing_key, int64_t *count)
{
	Datum arguments[2];
	bool  found;

	begin();
	arguments[0] = CStringGetTextDatum(to_server(mq_bytes_of(exchange)));
	arguments[1] = CStringGetTextDatum(to_server(mq_bytes_of(routing_key)));
	execute(begun ? "SELECT to_exchange, to_routing_key, count(*) FROM outbox.parked "
	                "WHERE NOT dead AND (to_exchange, to_routing_key) > ($1, $2) "
	                "GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 1"
	              : "SELECT to_exchange, to_routing_key, count(*) FROM outbox.parked "
	                "WHERE NOT dead AND ($1 || $2) IS NOT NULL "
	                "GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 1",
	        2, arguments, SPI_OK_SELECT);
	found = SPI_processed > 0;
	if (found)
	{
		snprintf(exchange, 256, "%s", column_utf8(0, 1).data);
		snprintf(routing_key, 256, "%s", column_utf8(0, 2).data);
		*count = column_int64(0, 3);
	}
	SPI_finish();
	end();
	return found;
}

/* Is it an invalidation that would go elsewhere? target: exchange and routing key. */
static bool
goes_elsewhere(TupleTableSlot *slot, const Datum target[2])
{
	bool is_null;

	slot_getattr(slot, EVENT_ROUTING_KEY, &is_null);
	if (!is_null)
		return false;
	for (int i = 0; i < 2; i++)
	{
		Datum present = slot_getattr(slot, (AttrNumber) (PARKED_TO_EXCHANGE + i), &is_null);

		if (!DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, present, target[i])))
			return true;
	}
	return false;
}

static void
send_elsewhere(TupleTableSlot *slot, const Datum target[2])
{
	Rewriting row;

	rewrite_begin(&row, slot);
	row.values[PARKED_TO_EXCHANGE - 1] = target[0];
	row.values[PARKED_TO_ROUTING_KEY - 1] = target[1];
	rewrite_end(&row);
}

void
parked_retarget(MqBytes exchange, MqBytes routing_key)
{
	ParkedScan    scan;
	TableScanDesc rows;
	Datum         target[2];

	begin();
	target[0] = CStringGetTextDatum(to_server(exchange));
	target[1] = CStringGetTextDatum(to_server(routing_key));
	parked_begin_by_id(&scan, GetActiveSnapshot(), RowExclusiveLock);
	rows = table_beginscan(scan.table, GetActiveSnapshot(), 0, NULL);
	while (table_scan_getnextslot(rows, ForwardScanDirection, scan.slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (goes_elsewhere(scan.slot, target) && parked_delete(&scan, false))
			send_elsewhere(scan.slot, target);
	}
	table_endscan(rows);
	parked_end(&scan);
	end();
}

void
parked_load(Publisher *publisher, int64_t now_us)
{
	bool enough_memory = true;

	publisher_parked_anew(publisher, now_us);
	begin();
	execute("SELECT to_exchange, to_routing_key, count(*), "
	        "  (1000000 * extract(epoch FROM clock_timestamp() - min(failed_at)))::bigint, "
	        "  coalesce(max(reason), '') "
	        "FROM outbox.parked WHERE NOT dead GROUP BY 1, 2 ORDER BY min(failed_at)",
	        0, NULL, SPI_OK_SELECT);
	for (uint64 row = 0; row < SPI_processed && enough_memory; row++)
		enough_memory =
			publisher_parked(publisher, column_utf8((int) row, 1), column_utf8((int) row, 2),
		                     column_int64((int) row, 3), now_us - column_int64((int) row, 4),
		                     column_utf8((int) row, 5).data, now_us);
	SPI_finish();
	end();
	if (!enough_memory)
		ereport(ERROR, errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"));
}
