/*
 * stored_position.h
 *    Positions (window.h) in memory of the server's, and as pg_snapshot, which is how they are stored.
 */
#ifndef OUTBOX_STORED_POSITION_H
#define OUTBOX_STORED_POSITION_H

#include "postgres.h"

#include "relay/window.h"

void     position_free(Position *position); /* what it points to; and it is zeroed */
Position position_copy(const Position *from, MemoryContext context);

/* In the current context. */
Position position_from_datum(Datum datum);
Datum    position_to_datum(const Position *position);
Position position_of_active_snapshot(void);

#endif
