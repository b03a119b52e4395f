/*
 * status.h
 *    What the functions behind outbox.relay and outbox.lag have in common.
 */
#ifndef OUTBOX_STATUS_H
#define OUTBOX_STATUS_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "fmgr.h"

#include "shmem.h"

/* The row type that the function called is to give. */
TupleDesc status_row_type(FunctionCallInfo fcinfo);

/* The relay's state as text; slot: NULL where there is none. */
const char *status_relay_state(OutboxSlot *slot);

/* A column's value: NULL where the time is 0, never. */
void status_set_time(Datum *values, bool *nulls, int column, TimestampTz time);

#endif
