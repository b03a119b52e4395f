/*
 * watched.h
 *    What is wrong with a watched table: behind the view outbox.watched.
 */
#ifndef OUTBOX_WATCHED_H
#define OUTBOX_WATCHED_H

#include "postgres.h"

/* A table that inherits from this one (no partition) and has no row trigger of ours: its changes
 * are missed. InvalidOid: there is none. */
Oid watched_missed_child(Oid relation);

/* All watched tables at once, as outbox.watched has them. */
typedef struct WatchedSummary
{
	int         tables;
	int         problems;    /* tables with one */
	bool        writes_fail; /* to one of these, at least */
	const char *first_table; /* the first one, qualified, and of those if there are; NULL: none */
	const char *first_problem;
} WatchedSummary;

/* Reads pg_trigger: costs with the number of triggers. */
WatchedSummary watched_look(void);

#endif
