/*
 * trigger_catalog.h
 *    Triggers as pg_trigger has them: for checks when one is made, for watch and its view.
 */
#ifndef OUTBOX_TRIGGER_CATALOG_H
#define OUTBOX_TRIGGER_CATALOG_H

#include "postgres.h"

#include "utils/snapshot.h"

#include "template.h"

typedef struct TriggerRow
{
	Oid    oid;
	Oid    relation;
	Oid    function;
	char  *name;
	int16  type; /* TRIGGER_FOR_* */
	char   enabled;
	int    argument_count;
	char **arguments;
} TriggerRow;

/* The trigger's row (palloc'd), or NULL. snapshot: NULL for the catalog's, SnapshotSelf for a row
 * that this command has just made. */
TriggerRow *trigger_row_read(Oid trigger, Snapshot snapshot);

/* Is the function outbox.invalidate(), whatever its oid? Loads no library. */
bool trigger_function_is_ours(Oid function);

/* Is the trigger of the right time and level, with arguments? false: *problem says why. */
bool trigger_use_is_right(const char *name, int16 type, int argument_count,
                          TemplateProblem *problem);

/* All that can be wrong with the row: its use and its templates. false: *problem says why. */
bool trigger_row_is_right(const TriggerRow *row, TemplateProblem *problem);

#endif
