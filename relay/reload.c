/*
 * reload.c
 *    A fingerprint of the relay's settings: their values, the rows of pg_db_role_setting that
 *    apply to this process, and the times of the files that are named. A new password or certificate
 *    comes under an old name.
 */
#include "postgres.h"

#include "relay/reload.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_db_role_setting.h"
#include "extension/settings.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include <sys/stat.h>

static char *remembered = NULL;

static void
append_values(StringInfo out)
{
	appendStringInfo(out, "%s\n%s\n%s\n%s\n%s\n%s\n%s\n%s\n%d %d %d\n", setting_amqp_url,
	                 setting_amqp_password_file, setting_amqp_ca_file, setting_amqp_cert_file,
	                 setting_amqp_key_file, setting_queue, setting_invalidation_exchange,
	                 setting_run_on, setting_queue_type, setting_declare_topology,
	                 setting_max_keys_per_message);
}

/* One that is not there has a fingerprint, too. */
static void
append_file(StringInfo out, const char *path)
{
	struct stat file;

	if (path[0] == '\0' || stat(path, &file) != 0)
		appendStringInfoString(out, "none\n");
	else
		appendStringInfo(out, "%llu %lld %lld.%09ld\n", (unsigned long long) file.st_ino,
		                 (long long) file.st_size, (long long) file.st_mtim.tv_sec,
		                 (long) file.st_mtim.tv_nsec);
}

/* What is set for a database, or with InvalidOid for all of them, and for all roles. */
static void
append_database(StringInfo out, Relation settings, Oid database)
{
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple   tuple;

	ScanKeyInit(&keys[0], Anum_pg_db_role_setting_setdatabase, BTEqualStrategyNumber, F_OIDEQ,
	            ObjectIdGetDatum(database));
	ScanKeyInit(&keys[1], Anum_pg_db_role_setting_setrole, BTEqualStrategyNumber, F_OIDEQ,
	            ObjectIdGetDatum(InvalidOid));
	scan = systable_beginscan(settings, DbRoleSettingDatidRolidIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool  is_null;
		Datum value = heap_getattr(tuple, Anum_pg_db_role_setting_setconfig,
		                           RelationGetDescr(settings), &is_null);

		if (!is_null)
			appendStringInfo(out, "%s\n", OidOutputFunctionCall(F_ARRAY_OUT, value));
	}
	systable_endscan(scan);
}

/* Palloc'd in TopMemoryContext. */
static char *
fingerprint(void)
{
	StringInfoData out;
	Relation       settings;
	char          *result;

	StartTransactionCommand();
	initStringInfo(&out);
	append_values(&out);
	append_file(&out, setting_amqp_password_file);
	append_file(&out, setting_amqp_ca_file);
	append_file(&out, setting_amqp_cert_file);
	append_file(&out, setting_amqp_key_file);
	settings = table_open(DbRoleSettingRelationId, AccessShareLock);
	append_database(&out, settings, MyDatabaseId);
	append_database(&out, settings, InvalidOid);
	table_close(settings, AccessShareLock);
	result = MemoryContextStrdup(TopMemoryContext, out.data);
	CommitTransactionCommand();
	return result;
}

void
reload_remember(void)
{
	remembered = fingerprint();
}

bool
reload_settings(void)
{
	char *present;
	bool  changed;

	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	present = fingerprint();
	changed = strcmp(present, remembered) != 0;
	pfree(present);
	return changed;
}
