/*
 * decode.h
 *    A row of the outbox as the core's RelayEvent.
 */
#ifndef OUTBOX_DECODE_H
#define OUTBOX_DECODE_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "relay/batch.h"

/* Fills *event with copies in the current memory context, all text in UTF-8. Gives about how many
 * bytes it took. Needs a transaction: values are detoasted and converted. */
Size decode_event(TupleTableSlot *row, RelayEvent *event);

#endif
