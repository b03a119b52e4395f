/*
 * instance.c
 *    The row that names an outbox: uuid, database, cluster.
 */
#include "postgres.h"

#include "relay/instance.h"

#include "access/xlog.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

/* Runs a statement that gives one row of one text value, palloc'd by the caller's context; NULL:
 * no row. The relay has pinned search_path to pg_catalog. */
static char *
select_text(const char *statement)
{
	MemoryContext caller = CurrentMemoryContext;
	char         *result = NULL;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(statement, false, 1) < 0)
		elog(ERROR, "could not execute: %s", statement);
	if (SPI_processed > 0 && SPI_tuptable != NULL)
	{
		char *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		if (value != NULL)
			result = MemoryContextStrdup(caller, value);
	}
	SPI_finish();
	return result;
}

/* Sequences remember whether they were ever used: the first position took an id of its own. */
static bool
never_held_an_event(void)
{
	char *found = select_text("SELECT 'used' FROM outbox.event LIMIT 1");
	char *last = select_text("SELECT last_value::text FROM outbox.event_id_seq");

	return found == NULL && last != NULL && strcmp(last, "1") == 0;
}

static char *
make_ours(void)
{
	return select_text(psprintf("UPDATE outbox.instance SET id = gen_random_uuid(), "
	                            "database = %u, system_identifier = %lld, adopted_at = now() "
	                            "RETURNING id::text",
	                            MyDatabaseId, (long long) GetSystemIdentifier()));
}

bool
instance_is_ours(char *out, Size size)
{
	char *id = select_text(psprintf("SELECT id::text FROM outbox.instance WHERE database = %u "
	                                "AND system_identifier = %lld",
	                                MyDatabaseId, (long long) GetSystemIdentifier()));

	if (id == NULL && never_held_an_event())
		id = make_ours();
	strlcpy(out, id == NULL ? "" : id, size);
	return id != NULL;
}

bool
instance_is_paused(const char **reason)
{
	*reason = select_text("SELECT 'outbox.pause()' || coalesce(': ' || pause_reason, '') "
	                      "FROM outbox.instance WHERE paused_at IS NOT NULL");
	return *reason != NULL;
}
