/*
 * store.h
 *    The relay's PostgreSQL half: position, windows and events in the outbox tables.
 *
 * Every call runs in transactions of its own and holds no snapshot, lock or transaction when it
 * returns. Errors are ereport()ed; the relay then ends and a new one starts at the saved position.
 */
#ifndef OUTBOX_STORE_H
#define OUTBOX_STORE_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "extension/shmem.h"
#include "relay/batch.h"
#include "relay/publisher.h"
#include "relay/window.h"
#include "utils/snapshot.h"

typedef enum StoreOpening
{
	STORE_OPENED,
	STORE_PAUSED,  /* by outbox.pause(): *reason says why */
	STORE_MISSING, /* the extension is not installed in this database */
	STORE_COPIED   /* the outbox belongs to another database: *reason says so */
} StoreOpening;

typedef struct Store Store;

/* Reads instance and position. slot: where the position is shown to others; may be NULL. */
StoreOpening store_open(OutboxSlot *slot, Store **store, const char **reason);

/* This outbox's uuid as text; lives as long as the store. */
const char *store_instance(const Store *store);

/* What is visible now and not in the last window, up to the next tick: true and *number, *lsn (pg_lsn text, valid until
 * the next call). Where nothing is, the position of an idle store moves on in memory. A window
 * with messages is on disk when this returns (the fence of asynchronous commits). */
bool store_open_window(Store *store, uint64_t *number, const char **lsn);

/* Did the last look reach the present? Otherwise more is waiting behind it. */
bool store_is_at_present(const Store *store);

/* The next events of the open window, in the order of their ids, at most about a megabyte; valid
 * until the next call. 0: its end. */
size_t store_read(Store *store, const RelayEvent **events);

/* PublisherSource.park: copies events of windows that are not wholly confirmed into outbox.parked. */
void store_park(Store *store, ParkRange *ranges, size_t count);

/* PublisherSource.read_parked. */
size_t store_read_parked(Store *store, MqBytes exchange, MqBytes routing_key, int64_t after,
                         size_t limit, const RelayEvent **events, const char **lsn, bool *held);

/* Everything up to window `number` is confirmed: moves the position, in memory. */
void store_confirmed(Store *store, uint64_t number);

/* The number of the last window opened; 0: none. */
uint64_t store_last_window(const Store *store);

/* Is the position in memory newer than the saved one, by events? */
bool store_is_dirty(const Store *store);

/* Appends the position to the current table, in a transaction with asynchronous commit: a crash
 * costs a few messages sent again. */
void store_save_position(Store *store);

/* The same within the caller's transaction. */
void store_write_position(Store *store);

/* The confirmed position. */
const Position *store_position(const Store *store);

/* Does the table hold a committed event that the position does not contain? Called with the table
 * locked against writers; takes its own fresh snapshot. Index probes only. */
bool store_table_has_unpublished(const Store *store, int table);

/* Does the table hold any event that the active snapshot sees, published or not? */
bool store_table_has_events(int table);

/* The newest position row in the tables as seen by the snapshot, palloc'd in the current context;
 * false: there is none. For views and start. */
bool store_read_position(Snapshot snapshot, Position *position);

/* Counts events visible in the snapshot and not in the position, at most `limit`; the oldest
 * created_at among them goes to *oldest, the median of their ids to *median_id (both untouched if
 * there is none). */
int64 store_count_pending(const Position *position, Snapshot snapshot, int64 limit,
                          TimestampTz *oldest, int64 *median_id);

#endif
