/*
 * pause.c
 *    outbox.pause() and outbox.resume(): by hand, and kept in the database.
 *
 * The state stands in outbox.instance, so that it survives restarts and comes with the commit of the
 * call; the relay is told at the commit and looks for itself. SECURITY DEFINER: the script pins
 * search_path.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "extension/compat.h"
#include "extension/xact.h"
#include "fmgr.h"
#include "miscadmin.h"

PG_FUNCTION_INFO_V1(outbox_pause);
PG_FUNCTION_INFO_V1(outbox_resume);

/* Runs an UPDATE of the one row, with one text argument that may be NULL. */
static void
update_instance(const char *statement, Datum argument, bool is_null)
{
	Oid  type = TEXTOID;
	char nulls[2] = {is_null ? 'n' : ' '};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(statement, 1, &type, &argument, nulls, false, 0) != SPI_OK_UPDATE ||
	    SPI_processed != 1)
		ereport(ERROR, errcode(ERRCODE_DATA_CORRUPTED),
		        errmsg("table outbox.instance must have exactly one row"));
	SPI_finish();
	xact_mark_changed();
}

Datum
outbox_pause(PG_FUNCTION_ARGS)
{
	PreventCommandDuringRecovery("outbox.pause()");
	PreventCommandIfReadOnly("outbox.pause()");
	update_instance("UPDATE outbox.instance SET paused_at = now(), pause_reason = $1",
	                PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0), PG_ARGISNULL(0));
	PG_RETURN_VOID();
}

Datum
outbox_resume(PG_FUNCTION_ARGS)
{
	PreventCommandDuringRecovery("outbox.resume()");
	PreventCommandIfReadOnly("outbox.resume()");
	update_instance("UPDATE outbox.instance SET paused_at = NULL, pause_reason = $1", (Datum) 0,
	                true);
	PG_RETURN_VOID();
}
