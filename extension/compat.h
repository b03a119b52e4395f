/*
 * compat.h
 *    The one place that knows server versions: PostgreSQL 15 to 17.
 *
 * What differs between them gets one name here.
 */
#ifndef OUTBOX_COMPAT_H
#define OUTBOX_COMPAT_H

#include "postgres.h"
#include "catalog/pg_database.h"
#include "commands/tablecmds.h"
#include "utils/acl.h"
#include "utils/guc.h"

#if PG_VERSION_NUM < 150000
#error "pg_outbox needs PostgreSQL 15 or newer"
#endif

static inline bool
compat_owns_database(Oid database, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, database, role);
#else
	return pg_database_ownercheck(database, role);
#endif
}

/* Settings of newer servers that could bite the relay. */
static inline void
compat_pin_settings(void)
{
#if PG_VERSION_NUM >= 170000
	SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
#endif
}

/* Empties tables that are open and locked, telling logical decoding nothing. */
static inline void
compat_truncate(List *relations, List *oids)
{
#if PG_VERSION_NUM >= 160000
	ExecuteTruncateGuts(relations, oids, NIL, DROP_RESTRICT, false, false);
#else
	ExecuteTruncateGuts(relations, oids, NIL, DROP_RESTRICT, false);
#endif
}

#endif
