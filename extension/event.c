/*
 * event.c
 *    Rows of outbox.event_1 to outbox.event_3.
 *
 * Ids are drawn just before their rows are inserted: order of ids is almost order of commits.
 *
 * Tables are found by name, and believed only if they belong to the extension: where it was
 * dropped, anyone could make a schema of that name. The answer is kept until the table's relcache
 * entry is invalidated, which DROP EXTENSION does in every backend before its locks are free.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "compat.h"
#include "event.h"
#include "ids.h"
#include "position.h"
#include "rows.h"

struct EventWriter
{
	RowWriter *rows;
	Oid        sequence;
	int64      first_id, last_id; /* smallest and greatest inserted by this writer; 0: none */
};

/* The database of a backend never changes, so oids are all that can go stale. */
static Oid    table_oids[EVENT_TABLES]; /* InvalidOid: look it up */
static Oid    id_sequence;              /* like these: it comes and goes with them */
static uint64 table_generation;         /* counts invalidations: one may come while looking up */
static bool   table_callback_registered;

static void
forget_table(Datum arg, Oid relation)
{
	for (int i = 0; i < EVENT_TABLES; i++)
	{
		if (relation == InvalidOid || relation == table_oids[i] || table_oids[i] == InvalidOid)
		{
			table_oids[i] = id_sequence = InvalidOid;
			table_generation++;
		}
	}
}

static Oid
own_relation_oid(const char *name)
{
	Oid namespace = get_namespace_oid("outbox", true);
	Oid relation = OidIsValid(namespace) ? get_relname_relid(name, namespace) : InvalidOid;
	Oid extension;

	if (!OidIsValid(relation))
		return InvalidOid;
	extension = get_extension_oid("pg_outbox", true);
	if (!OidIsValid(extension) || getExtensionOfObject(RelationRelationId, relation) != extension)
		return InvalidOid;
	return relation;
}

Oid
event_table_oid(int number)
{
	char   name[NAMEDATALEN];
	uint64 generation;
	Oid    oid;

	Assert(number >= 0 && number < EVENT_TABLES);
	if (!table_callback_registered)
	{
		CacheRegisterRelcacheCallback(forget_table, (Datum) 0);
		table_callback_registered = true;
	}
	if (OidIsValid(table_oids[number]))
		return table_oids[number];
	generation = table_generation;
	snprintf(name, sizeof(name), "event_%d", number + 1);
	oid = own_relation_oid(name);
	if (generation == table_generation && !creating_extension)
		table_oids[number] = oid;
	return oid;
}

static void
report_missing(void)
{
	ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
	        errmsg("events of this transaction cannot be recorded"),
	        errdetail("The extension \"pg_outbox\" is not installed in this database any more."));
}

Oid
event_parked_oid(void)
{
	Oid oid = own_relation_oid("parked");

	if (!OidIsValid(oid))
		report_missing();
	return oid;
}

/* A pointer read as the wrong type is a crash, so the one cheap look is worth it. */
static void
check_columns(Relation table)
{
	static const Oid types[EVENT_COLUMNS] = {
		INT8OID,  XID8OID,  TIMESTAMPTZOID, TEXTARRAYOID, TEXTARRAYOID, TEXTOID,       TEXTOID,
		JSONBOID, BYTEAOID, JSONBOID,       JSONBOID,     INT4OID,      PG_SNAPSHOTOID};
	TupleDesc columns = RelationGetDescr(table);
	bool      same = columns->natts == EVENT_COLUMNS;

	for (int i = 0; same && i < EVENT_COLUMNS; i++)
		same = TupleDescAttr(columns, i)->atttypid == types[i];
	if (!same)
		ereport(
			ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("table \"outbox.%s\" does not have the columns of pg_outbox",
		           RelationGetRelationName(table)),
			errhint(
				"Run ALTER EXTENSION pg_outbox UPDATE, or restart sessions that loaded another version of the library."));
}

/* The tables' callback forgets it with them: an extension is dropped as a whole. */
static Oid
sequence_oid(void)
{
	Oid namespace;
	Oid    sequence;
	uint64 generation = table_generation;

	if (OidIsValid(id_sequence))
		return id_sequence;
	namespace = get_namespace_oid("outbox", true);
	sequence = OidIsValid(namespace) ? get_relname_relid("event_id_seq", namespace) : InvalidOid;
	if (!OidIsValid(sequence) || get_rel_relkind(sequence) != RELKIND_SEQUENCE)
		report_missing();
	if (generation == table_generation && !creating_extension)
		id_sequence = sequence;
	return sequence;
}

/* Takes the lock that writing takes, so that the answer holds until this transaction ends. Waiting
 * for it may bring the news that the table was dropped: InvalidOid. The sequence, where it is locked,
 * comes after its table: DROP EXTENSION takes them in the order in which they were made. */
static Oid
lock_table(int number)
{
	Oid table = event_table_oid(number);

	if (!OidIsValid(table))
		return InvalidOid;
	LockRelationOid(table, RowExclusiveLock);
	if (event_table_oid(number) == table)
		return table;
	UnlockRelationOid(table, RowExclusiveLock);
	return InvalidOid;
}

EventWriter *
event_writer_try_begin(int number)
{
	Oid          table = lock_table(number);
	EventWriter *writer;

	if (!OidIsValid(table))
		return NULL;
	writer = palloc0(sizeof(EventWriter));
	writer->rows = row_writer_begin(table);
	check_columns(row_writer_table(writer->rows));
	writer->sequence = sequence_oid();
	return writer;
}

EventWriter *
event_writer_begin(int number)
{
	EventWriter *writer = event_writer_try_begin(number);

	if (writer == NULL)
		report_missing();
	return writer;
}

MemoryContext
event_writer_context(EventWriter *writer)
{
	return row_writer_context(writer->rows);
}

static void
set_text(Datum *values, bool *nulls, int column, const char *text)
{
	nulls[column - 1] = text == NULL;
	values[column - 1] = text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

static void
set_datum(Datum *values, bool *nulls, int column, Datum value)
{
	nulls[column - 1] = value == (Datum) 0;
	values[column - 1] = value;
}

int64
event_writer_reserve(EventWriter *writer)
{
	return ids_draw(writer->sequence);
}

int64
event_writer_insert(EventWriter *writer, const EventRow *row)
{
	MemoryContext old = MemoryContextSwitchTo(event_writer_context(writer));
	Datum         values[EVENT_COLUMNS] = {0};
	bool          nulls[EVENT_COLUMNS] = {0};
	int64         id = row->id != 0 ? row->id : ids_draw(writer->sequence);

	values[EVENT_ID - 1] = Int64GetDatum(id);
	values[EVENT_XID - 1] = FullTransactionIdGetDatum(FullTransactionIdFromU64(row->xid));
	values[EVENT_CREATED_AT - 1] =
		TimestampTzGetDatum(row->created_at != 0 ? row->created_at : GetCurrentTimestamp());
	set_text(values, nulls, EVENT_EXCHANGE, row->exchange);
	set_text(values, nulls, EVENT_ROUTING_KEY, row->routing_key);
	set_datum(values, nulls, EVENT_KEYS, row->keys);
	set_datum(values, nulls, EVENT_PATTERNS, row->patterns);
	set_datum(values, nulls, EVENT_PAYLOAD, row->payload);
	set_datum(values, nulls, EVENT_BODY, row->body);
	set_datum(values, nulls, EVENT_HEADERS, row->headers);
	set_datum(values, nulls, EVENT_PROPERTIES, row->properties);
	set_datum(values, nulls, EVENT_ATTEMPTS, Int32GetDatum(row->attempts));
	set_datum(values, nulls, EVENT_SNAPSHOT, row->snapshot);
	MemoryContextSwitchTo(old);
	row_writer_insert(writer->rows, values, nulls);
	if (writer->first_id == 0 || id < writer->first_id)
		writer->first_id = id;
	writer->last_id = Max(writer->last_id, id);
	return id;
}

void
event_writer_tick(EventWriter *writer)
{
	EventRow row = {.xid = EVENT_XID_TICK};

	if (writer->first_id == 0 ||
	    (writer->first_id - 1) / EVENT_TICK_IDS == writer->last_id / EVENT_TICK_IDS)
		return;
	row.snapshot = position_now();
	event_writer_insert(writer, &row);
}

void
event_writer_end(EventWriter *writer)
{
	row_writer_end(writer->rows);
	pfree(writer);
}
