/*
 * state.h
 *    What all of them share: the state, snapshots, flushing.
 *
 * A step is what no other process can look into: one WAL record, one snapshot, one lock. Each is a
 * function that names what it copies, takes a state and gives the next one to the search.
 *
 * Transaction ids and event ids are small numbers from 1. `now` is what the tables and the commit
 * log hold, `disk` what a crash leaves of it: flushing copies all of it, as WAL is flushed up to a
 * place and never around one. That WAL may be cut at any place behind the last flush is covered as
 * well: the WAL writer may flush at any time.
 */
#ifndef OUTBOX_MODEL_STATE_H
#define OUTBOX_MODEL_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "model/protocol.h"

#define TABLES 2   /* a third changes nothing: writers use one, the relay empties others */
#define WINDOWS 2  /* under way at most */
#define XIDS_MAX 8 /* bits of a set */
#define NO_TABLE 0xff
#define NEWEST 2 /* age of a position row: 1 is older */
#define BIT(number) (1u << (number))

/* A snapshot: which transactions below xmax had not ended. */
typedef struct Shot
{
	uint8_t xmax;
	uint8_t open; /* bits of transaction ids */
} Shot;

typedef enum Status
{
	NONE,
	RUNNING,
	PREPARED,
	COMMITTED, /* by its WAL record: others see it later, when it leaves the process array */
	ABORTED
} Status;

/* A transaction and its rows. */
typedef struct Transaction
{
	uint8_t status;
	uint8_t xid;     /* 0: none yet */
	uint8_t table;   /* of its rows; NO_TABLE: none, or that table was emptied */
	uint8_t id;      /* of its event; 0: none */
	uint8_t tick_id; /* 0: none */
	Shot    tick;
} Transaction;

/* What a crash may take back. */
typedef struct Storage
{
	Transaction transactions[WRITERS_MAX];
	uint8_t     saved_age[TABLES]; /* of the newest position row there; 0: none */
	Shot        saved[TABLES];
	uint8_t     used;   /* bits of tables that have pages */
	uint8_t     parked; /* bits of writers whose event is in outbox.parked */
	uint8_t     next_xid, next_id;
} Storage;

/* Next: the one behind it; where others are named, those. Any of BEGUN to WAITING may abort. */
typedef enum WriterStep
{
	NEW,
	BEGUN,     /* has a transaction id; may change the row that all of them change */
	AIMED,     /* has read which table is current. WRITTEN, READY */
	WRITTEN,   /* its event is inserted, and its id passed a multiple */
	READY,     /* all is written. WAITING, ON_RECORD */
	WAITING,   /* prepared */
	ON_RECORD, /* its commit is in WAL */
	SEEN,      /* in snapshots; it still holds its locks */
	ENDED
} WriterStep;

typedef struct Writer
{
	uint8_t step;
	uint8_t table;     /* from AIMED on */
	uint8_t changed;   /* the row */
	uint8_t after;     /* bits of writers who had changed the row and ended before */
	uint8_t message;   /* its event is one, not an invalidation */
	uint8_t installed; /* wrote the first position */
} Writer;

typedef enum RelayStep
{
	DOWN,
	IDLE,
	LOOKING,  /* has a snapshot */
	FENCING,  /* has found a window with messages */
	QUEUEING, /* waits for a lock (only where a rule is taken out) */
	LOCKED,   /* table `emptied` */
	TESTED    /* it, without a lock (only where a rule is taken out) */
} RelayStep;

typedef struct Relay
{
	uint8_t step;
	Shot    position;         /* confirmed */
	Shot    last;             /* end of the newest window */
	Shot    shot;             /* of the present look */
	Shot    windows[WINDOWS]; /* their ends, oldest first */
	uint8_t window_count;
	uint8_t unsent;  /* bits of writers whose event is in the newest window, and not sent */
	uint8_t refused; /* bits of writers whose event is to be copied into outbox.parked */
	uint8_t tick_id; /* of the last tick that ended a window */
	uint8_t emptied;
} Relay;

typedef struct State
{
	Storage now, disk; /* disk is left empty where nothing crashes */
	Writer  writers[WRITERS_MAX];
	Relay   relay;
	uint8_t newest_xid; /* of those that have ended */
	Shot    saved;      /* the newest position that was ever saved, less what a crash took back */
	uint8_t current;    /* the table for writers, in shared memory */
	uint8_t accepted;   /* bits of writers whose event the broker has */
	uint8_t untrue; /* an event was sent that is not committed, or a message that is no longer */
	uint8_t disordered;        /* something was sent before what it follows */
	uint8_t gone;              /* an event of a window was emptied before it was sent */
	uint8_t crashes, restarts; /* left */
} State;

extern Size     protocol_size;
extern unsigned protocol_without; /* bits of rules */

bool rule_holds(Rule rule);

/* Snapshots: compared by the relay's own code (relay/window.c). */
bool     shot_contains(const Shot *shot, int xid);
uint64_t shot_ended(const Shot *shot);
bool     shot_not_older(const Shot *earlier, const Shot *later);
bool     shot_same(const Shot *one, const Shot *other);

/* GetSnapshotData */
Shot shot_take(const State *state);

/* position_now() in extension/position.c */
Shot shot_to_write(const State *state, int writer);

/* HeapTupleSatisfiesMVCC, of the rows of this writer */
bool shot_sees(const State *state, const Shot *shot, int writer);

void state_flush(State *state);
void state_end_transaction(State *state, int writer);

/* Does an unfinished transaction have the table's lock? */
bool state_table_is_held(const State *state, int table);

/* The relay that has the table's exclusive lock, or waits in a queue for it, lets nobody past. */
bool state_table_is_barred(const State *state, int table);

bool state_is_installed(const State *state);

/* store_read_position(): the newest in any table. Without any, nothing counts as published. */
Shot state_saved(const State *state);

void writer_steps(const State *state, int writer, Search *search);

void relay_steps(const State *state, Search *search);
void relay_write_position(State *state);

/* gather_window(): windows until one holds something, or ends at the present. `rows` and `present`
 * are the same snapshot. Gives bits of the writers whose events it holds. */
uint8_t relay_open_window(State *state, const Shot *rows, const Shot *present);

/* Of an idle relay: another current table, and the first step of emptying one. */
void rotation_begin(const State *state, Search *search);

/* The steps of a relay that is about to empty a table. */
void rotation_go_on(const State *state, Search *search);

#endif
