/*
 * trigger.h
 *    The trigger functions, and what they have in common.
 */
#ifndef OUTBOX_TRIGGER_H
#define OUTBOX_TRIGGER_H

#include "postgres.h"

#include "access/attnum.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "fmgr.h"

#include "trigger_catalog.h"

/* Has CREATE TRIGGER checked where it uses our functions; for _PG_init. */
void trigger_init(void);

/* ERROR unless called as a trigger; function: its name, for the message. */
void trigger_check_call(FunctionCallInfo fcinfo, const char *function);

/* ERROR unless the trigger's time, level and number of arguments are right. */
void trigger_check_use(TriggerKind kind, const Trigger *trigger);

/* Has none of the columns another value, compared detoasted? column_count 0: of all columns. */
bool trigger_rows_are_same(TupleDesc row, TupleTableSlot *old_row, TupleTableSlot *new_row,
                           const AttrNumber *columns, int column_count);

/* The relation that a function's first argument names. ERROR where it is NULL or gone. */
Oid trigger_relation_argument(FunctionCallInfo fcinfo);

#endif
