/*
 * position.h
 *    Snapshots that are stored: the first position, ticks.
 */
#ifndef OUTBOX_POSITION_H
#define OUTBOX_POSITION_H

#include "postgres.h"

/* The latest snapshot as a pg_snapshot: which transactions have ended by now. This one has not, and
 * neither have its events been published: so it is in progress in it. Assigns a transaction id. */
Datum position_now(void);

#endif
