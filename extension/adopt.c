/*
 * adopt.c
 *    outbox.adopt(): a copied database begins an outbox of its own.
 *
 * What was recorded before belongs to the original, which publishes it. So the tables are emptied
 * (their transaction ids may even be of another cluster), a new position is written and the
 * instance gets a new name: consumers see another origin. SECURITY DEFINER; the script pins its
 * search_path.
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

static void
rename_instance(void)
{
	char *statement = psprintf("UPDATE outbox.instance SET id = gen_random_uuid(), "
							   "database = %u, system_identifier = %lld, adopted_at = now()",
							   MyDatabaseId, (long long) GetSystemIdentifier());

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(statement, false, 0) != SPI_OK_UPDATE || SPI_processed != 1)
		ereport(ERROR, errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("table outbox.instance must have exactly one row"));
	SPI_finish();
}

Datum
outbox_adopt(PG_FUNCTION_ARGS)
{
	PreventCommandDuringRecovery("outbox.adopt()");
	PreventCommandIfReadOnly("outbox.adopt()");
	empty_tables();
	PushActiveSnapshot(GetLatestSnapshot());
	write_position();
	PopActiveSnapshot();
	rename_instance();
	xact_mark_changed();
	PG_RETURN_VOID();
}
