/*
 * trigger_catalog.h
 *    Triggers as pg_trigger has them: for checks when one is made, for watch and its view.
 */
#ifndef OUTBOX_TRIGGER_CATALOG_H
#define OUTBOX_TRIGGER_CATALOG_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/snapshot.h"

#include "template.h"
#include "trigger_arguments.h"

/* What outbox.watch() and its kin make. A condition takes three row triggers: the first for INSERT,
 * one for UPDATE, one for DELETE. Else the first is the only one. */
#define WATCH_TRIGGER "outbox_invalidate"
#define WATCH_TRIGGER_UPDATE "outbox_invalidate_update"
#define WATCH_TRIGGER_DELETE "outbox_invalidate_delete"
#define WATCH_TRIGGER_TRUNCATE "outbox_invalidate_truncate"

typedef enum TriggerKind
{
	TRIGGER_OF_OTHERS,
	TRIGGER_INVALIDATES,  /* calls outbox.invalidate() */
	TRIGGER_PUBLISHES_ROW /* calls outbox.publish_row() */
} TriggerKind;

typedef struct TriggerRow
{
	Oid              oid;
	Oid              relation;
	Oid              parent; /* the trigger that this one follows in a partition, or InvalidOid */
	TriggerKind      kind;
	char            *name;
	int16            type; /* TRIGGER_FOR_* */
	char             enabled;
	bool             has_condition;
	int              argument_count;
	char           **arguments;
	TriggerArguments parts; /* of outbox.invalidate(): the arguments, taken apart */
} TriggerRow;

/* The trigger's row (palloc'd), or NULL. snapshot: NULL for the catalog's, SnapshotSelf for a row
 * that this command has just made. */
TriggerRow *trigger_row_read(Oid trigger, Snapshot snapshot);

/* The table's triggers that call outbox.invalidate(): a list of TriggerRow, ordered by name. */
List *trigger_rows_of(Oid relation);

/* Which function it is, whatever its oid. Loads no library. */
TriggerKind trigger_function_kind(Oid function);

/* Is the trigger of the right time and level, with the right number of arguments? false: *problem
 * says why. */
bool trigger_use_is_right(TriggerKind kind, const char *name, int16 type, int argument_count,
                          TemplateProblem *problem);

/* Can the column be one of those that count? false: *problem says why. */
bool trigger_column_fits(const char *column, Oid relation, TemplateProblem *problem);

/* All that can be wrong with the row: its use, its columns and its templates. false: *problem says
 * why. */
bool trigger_row_is_right(const TriggerRow *row, TemplateProblem *problem);

#endif
