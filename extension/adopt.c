/*
 * adopt.c
 *    A copied database begins an outbox of its own, or goes on with the one it brought.
 *
 * outbox.adopt(): what was recorded before belongs to the original, which publishes it. So the tables
 * are emptied (their transaction ids may even be of another cluster), a new position is written and
 * the instance gets a new name: consumers see another origin.
 *
 * outbox.adopt_with_events(): there is no original any more. pg_upgrade moves a cluster, transaction
 * ids and all, into one with another system identifier, and only whoever ran it knows that it is not
 * a clone. Name, position and events stay.
 *
 * SECURITY DEFINER; the script pins their search_path.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xlog.h"
#include "executor/spi.h"
#include "extension/compat.h"
#include "extension/event.h"
#include "extension/position.h"
#include "extension/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(outbox_adopt);
PG_FUNCTION_INFO_V1(outbox_adopt_with_events);

/* Waits for writers that are under way; lock_timeout counts. */
static void
empty_tables(void)
{
	List     *tables = NIL;
	List     *oids = NIL;
	ListCell *cell;

	for (int number = 0; number < EVENT_TABLES; number++)
	{
		Oid oid = event_table_oid(number);

		tables = lappend(tables, table_open(oid, AccessExclusiveLock));
		oids = lappend_oid(oids, oid);
	}
	tables = lappend(tables, table_open(event_parked_oid(), AccessExclusiveLock));
	oids = lappend_oid(oids, event_parked_oid());
	compat_truncate(tables, oids);
	foreach (cell, tables)
		table_close(lfirst(cell), NoLock);
}

static void
write_position(void)
{
	EventRow     row = {.xid = EVENT_XID_POSITION};
	EventWriter *writer = event_writer_begin(0);

	row.snapshot = position_now();
	event_writer_insert(writer, &row);
	event_writer_end(writer);
}

/* assignments: beside those that make the instance this database's. */
static void
update_instance(const char *assignments)
{
	char *statement = psprintf("UPDATE outbox.instance SET %sdatabase = %u, "
	                           "system_identifier = %lld, adopted_at = now()",
	                           assignments, MyDatabaseId, (long long) GetSystemIdentifier());

	if (SPI_execute(statement, false, 0) != SPI_OK_UPDATE || SPI_processed != 1)
		ereport(ERROR, errcode(ERRCODE_DATA_CORRUPTED),
		        errmsg("table outbox.instance must have exactly one row"));
}

/* Transactions that this cluster has not begun cannot be told from those that it will. */
static void
check_not_from_the_future(void)
{
	if (SPI_execute("SELECT FROM outbox.event WHERE xid OPERATOR(pg_catalog.>=) "
	                "pg_snapshot_xmax(pg_current_snapshot()) LIMIT 1",
	                false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read outbox.event");
	if (SPI_processed > 0)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		        errmsg("the outbox holds events of another cluster"),
		        errdetail("Their transaction ids lie in the future of this one's."),
		        errhint("Use outbox.adopt(), which forgets them."));
}

static void
begin(const char *call)
{
	PreventCommandDuringRecovery(call);
	PreventCommandIfReadOnly(call);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

Datum
outbox_adopt(PG_FUNCTION_ARGS)
{
	begin("outbox.adopt()");
	empty_tables();
	PushActiveSnapshot(GetLatestSnapshot());
	write_position();
	PopActiveSnapshot();
	update_instance("id = gen_random_uuid(), ");
	SPI_finish();
	xact_mark_changed();
	PG_RETURN_VOID();
}

Datum
outbox_adopt_with_events(PG_FUNCTION_ARGS)
{
	begin("outbox.adopt_with_events()");
	check_not_from_the_future();
	update_instance("");
	SPI_finish();
	xact_mark_changed();
	PG_RETURN_VOID();
}
