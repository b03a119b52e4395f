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

/* Opens a table, which is locked with RowExclusiveLock already, and its indexes, which are locked
 * too. One at a time: until row_writer_end, or an error. */
RowWriter *row_writer_begin(Oid table);

/* The open table. */
Relation row_writer_table(RowWriter *writer);

/* Where values of the next row may lie; row_writer_insert empties it. */
MemoryContext row_writer_context(RowWriter *writer);

/* Inserts one row; values and nulls have an entry for each column. */
void row_writer_insert(RowWriter *writer, const Datum *values, const bool *nulls);

/* Closes; locks stay. */
void row_writer_end(RowWriter *writer);

#endif
