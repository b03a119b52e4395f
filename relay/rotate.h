/*
 * rotate.h
 *    Emptying outbox tables whose events are all published, by TRUNCATE.
 */
#ifndef OUTBOX_ROTATE_H
#define OUTBOX_ROTATE_H

#include "relay/store.h"

typedef enum RotateResult
{
	ROTATE_NOTHING, /* every table is as empty as it gets */
	ROTATE_DONE,    /* what there was to empty is empty */
	ROTATE_LATER    /* a table is in use, or holds what is not published yet: try again */
} RotateResult;

/* Is the current table larger than ROTATE_TABLE_BYTES, so that a switch is due even under load? */
bool rotate_is_due(OutboxSlot *slot);

/* Is any table larger than it must be? Transactions that rolled back leave rows behind, too. */
bool rotate_has_work(OutboxSlot *slot);

/* Switches writers to an empty table if the current one holds more than a position, and empties
 * the others where that is possible at once. Never waits for a lock. Transactions of its own. Where
 * others' locks are in the way, outbox.rotation says since when. */
RotateResult rotate(Store *store, OutboxSlot *slot);

#endif
