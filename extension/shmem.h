/*
 * shmem.h
 *    What backends, launcher and relays share: one slot for each database with an outbox.
 *
 * Exists only with shared_preload_libraries; without it every function here does the sensible
 * nothing, and events are recorded all the same.
 */
#ifndef OUTBOX_SHMEM_H
#define OUTBOX_SHMEM_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "extension/event.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

#define OUTBOX_MAX_DATABASES 64
#define OUTBOX_MAX_POSITION_XIDS 512 /* transactions in progress that a shared position can hold */

/* The order is that of relay_state_name(). */
typedef enum RelayState
{
	RELAY_NOT_RUNNING,
	RELAY_STARTING,
	RELAY_CONNECTING,
	RELAY_IDLE,
	RELAY_PUBLISHING,
	RELAY_BLOCKED,
	RELAY_PAUSED,
	RELAY_COPIED,
	RELAY_WAITING
} RelayState;

typedef enum RelayCounter
{
	COUNTER_EVENTS, /* published, each once however often it was sent */
	COUNTER_MESSAGES,
	COUNTER_KEYS,           /* keys and patterns in these messages */
	COUNTER_KEYS_COALESCED, /* left out because the same message had them */
	COUNTER_CONFIRMED,
	COUNTER_RETURNED,
	COUNTER_NACKED,
	COUNTER_RECONNECTS,
	RELAY_COUNTERS
} RelayCounter;

/* A position that others can read: see store.h. */
typedef struct SharedPosition
{
	bool   valid;
	uint64 xmin, xmax;
	int    xid_count;
	uint64 xids[OUTBOX_MAX_POSITION_XIDS];
} SharedPosition;

/* What the broker said of outbox.queue when it was asked last: for monitors, and at their wish only. */
typedef struct SharedQueue
{
	TimestampTz asked_at;            /* by a backend; 0: never */
	TimestampTz looked_at;           /* the broker's answer; 0: none yet */
	int64       messages, consumers; /* of the last look that had them */
	char        problem[256];        /* its refusal; "": the figures are good */
} SharedQueue;

typedef struct OutboxSlot
{
	/* under OutboxShared.lock */
	Oid    database;       /* InvalidOid: free */
	bool   wanted;         /* the launcher keeps a relay running */
	bool   confirmed;      /* a relay has found the extension there */
	int    holder_pid;     /* backend that keeps the relay away (DROP DATABASE ...); 0: none */
	int    relay_pid;      /* 0: not running */
	uint32 number;         /* among all that were ever taken: see attach_relay */
	uint32 reloads;        /* when it was started: a process that is being made misses a SIGHUP */
	Latch *relay_latch;    /* of the running relay, else NULL */
	int64  start_after_us; /* the launcher starts none before; CLOCK_MONOTONIC, 0: at once */

	/* atomics */
	pg_atomic_uint32  current_table; /* 0 to EVENT_TABLES - 1: where writers insert */
	pg_atomic_uint32  state;         /* RelayState; written by the relay */
	pg_atomic_uint32  commands;      /* OUTBOX_COMMAND_* for the relay */
	pg_atomic_uint32  wake_wanted;   /* 1: the next commit wakes the relay. See shmem_want_wake */
	pg_atomic_uint64  counters[RELAY_COUNTERS]; /* written by the relay */
	pg_atomic_uint64  requested;                /* wait_published: numbers of requests */
	pg_atomic_uint64  served;
	ConditionVariable served_changed; /* ... or queue.looked_at */

	/* under text_lock: read by the views */
	LWLock         text_lock;
	char           broker[320];
	char           last_error[512];
	TimestampTz    last_error_at, connected_at, last_confirmed_at; /* 0: never */
	TimestampTz    stuck_since; /* nothing can be sent: no connection, or blocked; 0: it can */
	SharedQueue    queue;
	SharedPosition position;
	uint32 destinations; /* dsm_handle of the segment that destinations.h tells of; 0: none */
	TimestampTz
		rotation_blocked_since[EVENT_TABLES]; /* others hold its locks; 0: not known of any */
} OutboxSlot;

#define OUTBOX_COMMAND_RESTART                                                                     \
	1u /* leave; the launcher starts a new relay, which looks for itself */
#define OUTBOX_COMMAND_PARKED 2u /* parked events were changed by hand: try what is left */
#define OUTBOX_COMMAND_ROTATE 4u /* empty what can be emptied, now */
#define OUTBOX_COMMAND_QUEUE 8u  /* somebody wants to know how long the queue is */

typedef struct OutboxShared
{
	LWLock           lock;
	Latch           *launcher_latch; /* under lock; NULL: no launcher runs */
	int              tranche;        /* of all locks here; written once */
	pg_atomic_uint32 reloads;        /* that the launcher has seen; relays compare */
	pg_atomic_uint32 taken; /* counts slots that were taken: none is looked for in vain twice */
	OutboxSlot       slots[OUTBOX_MAX_DATABASES];
} OutboxShared;

/* NULL without shared_preload_libraries. */
extern OutboxShared *outbox_shared;

/* _PG_init, while shared_preload_libraries are loaded: asks for the memory. */
void shmem_init(void);

/* The slot of a database, or NULL. Takes the lock in shared mode; a slot once found stays valid
 * until the database's outbox is dropped, and reading a stale one is harmless. */
OutboxSlot *shmem_find(Oid database);

/* The slot of a database that is to have a relay, made if it has none, and wakes the launcher.
 * NULL: all slots are taken, or no shared memory. Cannot fail otherwise. */
OutboxSlot *shmem_want(Oid database);

/* The database is gone, or its extension: frees the slot. */
void shmem_forget(Oid database);

/* This database's slot, looked up once per backend and again after it was freed; NULL: none. */
OutboxSlot *shmem_mine(void);

/* The table that writers insert into: 0 to EVENT_TABLES - 1; 0 where there is no slot. */
int shmem_current_table(void);

/* Prepares shmem_wake_relay: call before commit, where it may still fail. */
void shmem_prepare_wake(void);

/* Something can be seen that the relay has to read: sets its latch, unless another has done so since
 * it last looked. Cannot fail: for commit callbacks. */
void shmem_wake_relay(void);

/* The relay is about to take a snapshot: what it does not show wakes it. A relay that does not say so is
 * not woken, and looks again by itself. (Nobody is missed. Whoever becomes visible too late for the
 * snapshot finds the wish; and where there is none, the one who took it has set the latch, and the relay
 * looks again.) */
void shmem_want_wake(OutboxSlot *slot);

/* Adds OUTBOX_COMMAND_* for this database's relay and wakes it. Cannot fail. */
void shmem_command_relay(uint32 command);

/* Tells the launcher that this database has the extension, or had it: a relay is started that looks
 * for itself. Cannot fail: for commit callbacks. */
void shmem_wake_launcher(void);

const char *relay_state_name(RelayState state);

#endif
