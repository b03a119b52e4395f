/*
 * relay.h
 *    The background worker of one database.
 */
#ifndef OUTBOX_RELAY_H
#define OUTBOX_RELAY_H

#include "postgres.h"

/* Entry point; main_arg: the database's oid. */
PGDLLEXPORT void outbox_relay_main(Datum main_arg);

#endif
