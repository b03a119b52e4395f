/*
 * compat.h
 *    The one place that knows server versions: PostgreSQL 15 to 17.
 *
 * What differs between them gets one name here. So far nothing that we use does.
 */
#ifndef OUTBOX_COMPAT_H
#define OUTBOX_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "pg_outbox needs PostgreSQL 15 or newer"
#endif

#endif
