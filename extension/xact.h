/*
 * xact.h
 *    What this session records, and what happens to it when its transaction ends.
 */
#ifndef OUTBOX_XACT_H
#define OUTBOX_XACT_H

#include "postgres.h"

#include "event.h"

/* Registers the transaction callbacks; for _PG_init. */
void xact_init(void);

/* To be asked before anything is recorded: false where outbox.enabled is off. ERROR, naming `call`,
 * where commit could not write: in recovery, in a READ ONLY transaction. */
bool xact_may_record(const char *call);

/* Record a key, a pattern, a message (all copied) with the current subtransaction. Text is checked
 * already. May write early: xact.c says when. */
void xact_record_key(const char *key, int length);
void xact_record_pattern(const char *pattern, int length);
void xact_record_message(const EventRow *row);

/* A key that was recorded when this was the same number need not be recorded again. Never 0. */
uint64 xact_generation(void);

/* If this transaction commits, the launcher looks for a new outbox. Call before commit. */
void xact_mark_installed(void);

/* If this transaction commits, the relay looks anew whether its outbox is there, and whose it is. */
void xact_mark_changed(void);

/* If this transaction commits, the relay looks anew at the parked events, and tries them. */
void xact_mark_parked(void);

/* Events were written: the relay is woken if this transaction commits. */
void xact_mark_written(void);

#endif
