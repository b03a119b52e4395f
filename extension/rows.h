/*
 * rows.h
 *    Rows into the extension's own tables, below the executor.
 *
 * No privileges, triggers, rules, defaults or constraints are looked at, and logical decoding never
 * sees the row: a publication FOR ALL TABLES must not carry an outbox to a subscriber that has its
 * own. The caller answers for NOT NULL and for types. Unique indexes are enforced.
 */
#ifndef OUTBOX_ROWS_H
#define OUTBOX_ROWS_H

#include "postgres.h"

#include "utils/relcache.h"

typedef struct RowWriter RowWriter;

/* Opens a table with RowExclusiveLock, kept until the transaction ends, and its indexes. Allocates
 * in the current memory context. NULL: there is no such table any more. Needs an active snapshot
 * until row_writer_end. */
RowWriter *row_writer_begin(Oid table);

/* The open table. */
Relation row_writer_table(RowWriter *writer);

/* Inserts one row; values and nulls have an entry for each column, and may be freed after. */
void row_writer_insert(RowWriter *writer, const Datum *values, const bool *nulls);

/* Closes; locks stay. */
void row_writer_end(RowWriter *writer);

#endif
