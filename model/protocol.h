/*
 * protocol.h
 *    Writers, relay, broker and crash as a handful of steps: see README.md.
 */
#ifndef OUTBOX_MODEL_PROTOCOL_H
#define OUTBOX_MODEL_PROTOCOL_H

#include <stdbool.h>

#include "model/search.h"

#define WRITERS_MAX 4

/* What a search goes through. Whatever is allowed may happen or not, at any time. */
typedef struct Size
{
	const char *name;
	int         writers;
	int         tick_ids; /* as EVENT_TICK_IDS: whose id passes a multiple leaves a tick; 0: none */
	int         crashes;  /* of the server, at most */
	int         restarts; /* of the relay alone, at most */
	bool        installs; /* the first writer's transaction is the one with CREATE EXTENSION */
	bool        keys;     /* an event may be an invalidation, beside a message */
	bool        asynchronous; /* a commit may be */
	bool        prepares;     /* a transaction may be prepared */
	bool        aborts;
	bool        conflicts; /* transactions may change the same row */
	bool        rotates;
	bool        parks; /* the broker may refuse an event for a while */
} Size;

/* Rules of the protocol, each of which may be taken out. */
typedef enum Rule
{
	RULE_ONE_SNAPSHOT,   /* a window's rows and its end come from one snapshot */
	RULE_IN_PROGRESS,    /* a window holds those that were in progress at the position, too */
	RULE_ALL_TABLES,     /* a window is read from all tables, whichever is current */
	RULE_ORDER_BY_ID,    /* not by xid */
	RULE_IDS_LATE,       /* ids are drawn when rows are written, not earlier */
	RULE_OWN_XID,        /* a snapshot that is written has its writer in progress */
	RULE_XMAX_STAYS,     /* and for its writer's sake its xmax is not raised */
	RULE_PARK_FIRST,     /* what is parked is copied before its window counts as settled */
	RULE_CONFIRM_FIRST,  /* the position moves when a window is confirmed, not when it is opened */
	RULE_FENCE,          /* a window with messages is flushed before it is sent */
	RULE_LOCK_FIRST,     /* emptying: first the lock, then snapshot and test */
	RULE_LOCK_IF_FREE,   /* the lock is not waited for */
	RULE_KEEP_LOCK,      /* writers keep their lock until they end */
	RULE_TEST_CONFIRMED, /* the test goes by what is confirmed, not by what is opened */
	RULE_POSITION_MOVES, /* emptying a table leaves the position in another */
	RULES
} Rule;

/* Chooses what the next search goes through. without: bits of rules. */
void protocol_set(const Size *size, unsigned without);

const SearchModel *protocol_model(void);

/* The state before anything has happened. */
const void *protocol_start(void);

#endif
