/*
 * window.h
 *    Positions and windows: snapshots of PostgreSQL as plain numbers.
 *
 * A position is a snapshot: what it sees has been published. A window is what a newer snapshot
 * sees and the position does not: transactions from the position's xmax on, and those that were
 * in progress then. Ids will not do: a small id may commit late.
 * Source: PgQ, batch_event_sql. Core: libc only.
 */
#ifndef OUTBOX_WINDOW_H
#define OUTBOX_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Position
{
	uint64_t  xmin; /* below: all ended */
	uint64_t  xmax; /* from here on: none had ended */
	uint64_t *xids; /* in progress between the two, ascending; owned by whoever made it */
	size_t    xid_count;
} Position;

/* Had transaction xid ended when the snapshot was taken? (Whether it committed is another
 * question.) */
bool position_contains(const Position *position, uint64_t xid);

/* How many transactions had ended. Of two snapshots of one cluster the one with more is the newer,
 * and contains the other. */
uint64_t position_ended(const Position *position);

/* Is `later` as new as `earlier`, or newer? A window from a newer to an older snapshot would
 * publish nothing and lose events: a restored dump, a reset counter. */
bool position_not_older(const Position *earlier, const Position *later);

#endif
