/*
 * instance.h
 *    Whose outbox is this? A copied database must never publish its original's events.
 */
#ifndef OUTBOX_INSTANCE_H
#define OUTBOX_INSTANCE_H

#include "postgres.h"

/* Reads the one row of outbox.instance: its uuid as text goes to out. true: it was made in this
 * database of this cluster, or in a template whose outbox never held an event, which is then made
 * this database's own (a new uuid). false: a copy. Needs a transaction and an active snapshot; may
 * write. */
bool instance_is_ours(char *out, Size size);

/* Has somebody called outbox.pause()? *reason: what was given, or a word of our own; palloc'd in the
 * current memory context. Needs a transaction and an active snapshot. */
bool instance_is_paused(const char **reason);

#endif
