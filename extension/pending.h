/*
 * pending.h
 *    What this transaction will record: keys, patterns and messages, in memory only.
 *
 * A journal in the order of the calls. Keys and patterns that it holds already are not added again.
 * Sections, one for each subtransaction that added something, are the journal's consecutive pieces;
 * a rolled back subtransaction's section is always the last one, and is cut off.
 *
 * Knows neither tables nor settings: xact.c says when, flush.c writes.
 */
#ifndef OUTBOX_PENDING_H
#define OUTBOX_PENDING_H

#include "postgres.h"

#include "event.h"

typedef enum PendingKind
{
	PENDING_KEY,
	PENDING_PATTERN,
	PENDING_MESSAGE
} PendingKind;

typedef struct PendingEntry
{
	PendingKind kind;
	uint32      hash;   /* of a key or pattern, once it is in the hash table */
	int         length; /* of data */
	size_t      bytes;  /* what it counts against the limit */
	union
	{
		char     *data;    /* KEY, PATTERN: text in the database's encoding, no NUL */
		EventRow *message; /* MESSAGE: with copies of all it points to; xid is not set */
	} of;
} PendingEntry;

/* Adds a key or a pattern (copied) unless it is there already. */
void pending_add(PendingKind kind, const char *data, int length);

/* Adds a message; the row and everything it points to is copied, datums are detoasted already. */
void pending_add_message(const EventRow *row);

/* Entries 0 to pending_count() - 1, oldest first; borrowed until the next change. */
uint64              pending_count(void);
const PendingEntry *pending_entry(uint64 index);

/* How many entries from the start on have, if they are messages, their id already; and sets it. */
uint64 pending_numbered(void);
void   pending_set_numbered(uint64 count);

/* Another number as soon as anything has left the journal: what was in it may be gone. Never 0. */
uint64 pending_generation(void);

/* What all entries count. */
size_t pending_bytes(void);

/* Where the section starts that subtransactions of nest_level and deeper have added. */
uint64 pending_section_start(int nest_level);

/* Takes the entries from `from` to `to` (exclusive) out of the journal. Cannot fail. */
void pending_remove(uint64 from, uint64 to);

/* The subtransaction at this nest level committed: its section is its parent's now. Cannot fail. */
void pending_subcommit(int nest_level);

/* It rolled back: its section is gone. Cannot fail. */
void pending_subabort(int nest_level);

/* All is written, or the transaction ended: nothing is left, and memory is given back. Cannot fail. */
void pending_forget(void);

#endif
