/*
 * event.h
 *    Rows of the outbox: three plain insert-only tables, outbox.event_1 to outbox.event_3, behind
 *    the view outbox.event.
 *
 * Backends insert committed events, the relay its position. Both go straight through the table and
 * index access methods: the caller has no rights in the schema, and its settings must not matter.
 * The only index of each table is a btree on (xid, id).
 */
#ifndef OUTBOX_EVENT_H
#define OUTBOX_EVENT_H

#include "postgres.h"

#include "access/transam.h"
#include "datatype/timestamp.h"
#include "utils/relcache.h"

#define EVENT_TABLES 3

/* Columns, as in pg_outbox--1.0.sql. */
enum
{
	EVENT_ID = 1,
	EVENT_XID, /* top-level transaction, or EVENT_XID_POSITION */
	EVENT_CREATED_AT,
	EVENT_KEYS, /* the last one of most rows */
	EVENT_PATTERNS,
	EVENT_EXCHANGE,
	EVENT_ROUTING_KEY,
	EVENT_PAYLOAD,
	EVENT_BODY,
	EVENT_HEADERS,
	EVENT_PROPERTIES,
	EVENT_ATTEMPTS, /* of an event that somebody has tried again; else NULL */
	EVENT_SNAPSHOT, /* of a position; NULL in events */
	EVENT_COLUMNS = EVENT_SNAPSHOT
};

/* Rows that are not events carry an xid that no transaction has. They sort before all events, so
 * that one index probe finds the newest position or the next tick, and no window ever contains them. */
#define EVENT_XID_POSITION 0
#define EVENT_XID_TICK 1
#define EVENT_XID_FIRST FirstNormalTransactionId

/* Values of one row; a pointer that is NULL is an SQL NULL. Text is in the database's encoding. */
typedef struct EventRow
{
	int64       id; /* from event_writer_reserve; 0: drawn when the row is inserted */
	uint64      xid;
	TimestampTz created_at; /* 0: now */
	int32       attempts;   /* 0: NULL */
	const char *exchange;
	const char *routing_key;
	Datum       keys;       /* text[]; 0: NULL */
	Datum       patterns;   /* text[]; 0: NULL */
	Datum       payload;    /* jsonb; 0: NULL */
	Datum       body;       /* bytea; 0: NULL */
	Datum       headers;    /* jsonb; 0: NULL */
	Datum       properties; /* jsonb; 0: NULL */
	Datum       snapshot;   /* pg_snapshot; 0: NULL */
} EventRow;

#define EVENT_TICK_IDS 8192

typedef struct EventWriter EventWriter;

/* Oid of outbox.event_<number + 1> (0 to EVENT_TABLES - 1), or InvalidOid where the extension is
 * not installed in this database. */
Oid event_table_oid(int number);

/* Oid of outbox.parked. ERROR where the extension is missing. */
Oid event_parked_oid(void);

/* Opens table `number` for inserting (RowExclusiveLock, kept until the transaction ends). One at a
 * time, until event_writer_end. ERROR where the extension is missing. */
EventWriter *event_writer_begin(int number);

/* The same; NULL where the extension is missing. */
EventWriter *event_writer_try_begin(int number);

/* Where values of the next row may lie; event_writer_insert empties it. */
MemoryContext event_writer_context(EventWriter *writer);

/* Draws an id for a row that is inserted later, but belongs before those inserted meanwhile. */
int64 event_writer_reserve(EventWriter *writer);

/* Inserts a row with its id, or a fresh one (ids.h), and its created_at or the clock's time; gives the id. Works in a transaction set READ ONLY after its writes. An ERROR must not
 * be caught but by a subtransaction's end. */
int64 event_writer_insert(EventWriter *writer, const EventRow *row);

/* The writer whose id passes a multiple of EVENT_TICK_IDS leaves a snapshot behind, by which the
 * relay cuts a backlog into windows of about so many events. For a transaction's last rows: at a
 * spill it would be old, or rolled back with its savepoint, by the time it counts. */
void event_writer_tick(EventWriter *writer);

/* Closes; locks stay. */
void event_writer_end(EventWriter *writer);

#endif
