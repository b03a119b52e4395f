/*
 * watched.h
 *    What is wrong with a watched table: behind the view outbox.watched.
 */
#ifndef OUTBOX_WATCHED_H
#define OUTBOX_WATCHED_H

#include "postgres.h"

/* A table that inherits from this one (no partition) and has no row trigger of ours: its changes
 * are missed. InvalidOid: there is none. */
Oid watched_missed_child(Oid relation);

#endif
