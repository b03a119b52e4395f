/*
 * version.c
 *    Do the library and the SQL objects belong together?
 *
 * A new library meets the tables of the old version until ALTER EXTENSION ran in each database, so it
 * lists the versions that it can serve: its own, those before it that it still knows, and all that an
 * update passes on its way. With any other, rows would be written to columns that are not there; so
 * recording fails, with what to do.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "version.h"
#include "xact.h"

static const char *const known_versions[] = {OUTBOX_VERSION};

static object_access_hook_type previous_hook;
static bool                    checked; /* in this session */

static bool
is_known(const char *version)
{
	for (int i = 0; i < lengthof(known_versions); i++)
	{
		if (strcmp(version, known_versions[i]) == 0)
			return true;
	}
	return false;
}

/* The version of the extension pg_outbox as this command left it. NULL: it is not there, or not the
 * one with this oid (InvalidOid: any). */
static char *
read_version(Oid extension)
{
	Relation    catalog = table_open(ExtensionRelationId, AccessShareLock);
	char       *version = NULL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple   tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
	            CStringGetDatum("pg_outbox"));
	scan = systable_beginscan(catalog, ExtensionNameIndexId, true, SnapshotSelf, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple) &&
	    (!OidIsValid(extension) || ((Form_pg_extension) GETSTRUCT(tuple))->oid == extension))
	{
		bool  is_null;
		Datum value =
			heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(catalog), &is_null);

		if (!is_null)
			version = TextDatumGetCString(value);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return version;
}

static void
check_changed(Oid extension)
{
	char *version = read_version(extension);

	if (version != NULL && !is_known(version))
		ereport(
			ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("the library of pg_outbox does not know version \"%s\" of its extension",
		           version),
			errdetail("The library that this server has loaded is version %s.", OUTBOX_VERSION),
			errhint(
				"Install that version's package, restart the server so that it loads the library, then repeat the command."));
}

/* A relay that could not serve the version before may serve this one. */
static void
version_hook(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (previous_hook != NULL)
		previous_hook(access, class, object, sub, arg);
	if (class != ExtensionRelationId || (access != OAT_POST_CREATE && access != OAT_POST_ALTER))
		return;
	check_changed(object);
	if (access == OAT_POST_ALTER && object == get_extension_oid("pg_outbox", true))
		xact_mark_changed();
}

const char *
version_problem(void)
{
	char *version = read_version(InvalidOid);

	if (version == NULL || is_known(version))
		return NULL;
	return psprintf("extension \"pg_outbox\" has version \"%s\", which its library does not know",
	                version);
}

const char *
version_installed(void)
{
	return read_version(InvalidOid);
}

void
version_check(void)
{
	const char *problem;

	if (checked)
		return;
	problem = version_problem();
	if (problem != NULL)
		ereport(
			ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("%s", problem),
			errdetail("The library that this server has loaded is version %s.", OUTBOX_VERSION),
			errhint(
				"Run ALTER EXTENSION pg_outbox UPDATE in this database; if the extension is the newer one, restart the server so that it loads the new library."));
	checked = OidIsValid(get_extension_oid("pg_outbox", true));
}

void
version_init(void)
{
	previous_hook = object_access_hook;
	object_access_hook = version_hook;
}
