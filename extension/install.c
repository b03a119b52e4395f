/*
 * install.c
 *    What happens at CREATE EXTENSION and DROP EXTENSION, beyond the SQL script.
 *
 * The script ends with outbox.installed(), which names the instance, writes the first position and
 * has the launcher look once the transaction commits. Both rows are written below the executor, so
 * that no publication FOR ALL TABLES carries them to a subscriber.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "event.h"
#include "install.h"
#include "position.h"
#include "rows.h"
#include "shmem.h"
#include "xact.h"

PG_FUNCTION_INFO_V1(outbox_installed);

/* Columns of outbox.instance. */
enum
{
	INSTANCE_ID,
	INSTANCE_DATABASE,
	INSTANCE_SYSTEM,
	INSTANCE_ADOPTED_AT,
	INSTANCE_PAUSED_AT,
	INSTANCE_PAUSE_REASON,
	INSTANCE_COLUMNS
};

static object_access_hook_type previous_hook;

static void
write_instance(void)
{
	Oid        table = get_relname_relid("instance", get_namespace_oid("outbox", false));
	RowWriter *writer;
	Datum      values[INSTANCE_COLUMNS];
	bool       nulls[INSTANCE_COLUMNS] = {0};

	LockRelationOid(table, RowExclusiveLock);
	writer = row_writer_begin(table);
	values[INSTANCE_ID] = DirectFunctionCall1(gen_random_uuid, (Datum) 0);
	values[INSTANCE_DATABASE] = ObjectIdGetDatum(MyDatabaseId);
	values[INSTANCE_SYSTEM] = Int64GetDatum((int64) GetSystemIdentifier());
	values[INSTANCE_ADOPTED_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
	nulls[INSTANCE_PAUSED_AT] = nulls[INSTANCE_PAUSE_REASON] = true;
	row_writer_insert(writer, values, nulls);
	row_writer_end(writer);
}

static void
write_first_position(void)
{
	EventRow     row = {.xid = EVENT_XID_POSITION};
	EventWriter *writer = event_writer_begin(0);

	row.snapshot = position_now();
	event_writer_insert(writer, &row);
	event_writer_end(writer);
}

Datum
outbox_installed(PG_FUNCTION_ARGS)
{
	if (!creating_extension)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		        errmsg("function \"outbox.installed()\" is part of CREATE EXTENSION"));
	write_instance();
	write_first_position();
	xact_mark_installed();
	if (outbox_shared == NULL)
		ereport(WARNING, errmsg("events will be recorded, but no relay publishes them"),
		        errdetail("The library \"pg_outbox\" was not loaded at server start."),
		        errhint("Add pg_outbox to shared_preload_libraries and restart the server."));
	PG_RETURN_VOID();
}

static void
install_hook(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (previous_hook != NULL)
		previous_hook(access, class, object, sub, arg);
	if (access == OAT_DROP && class == ExtensionRelationId &&
	    object == get_extension_oid("pg_outbox", true))
		xact_mark_changed();
}

void
install_init(void)
{
	previous_hook = object_access_hook;
	object_access_hook = install_hook;
}
