/*
 * store.c
 *    Position and windows in the outbox tables.
 *
 * Tables are read by index scans on (xid, id) alone: after a TRUNCATE there are no statistics for
 * a planner to go by. A window's events are found as (id, xid, place in the table) first, with copies of
 * the first rows (refs.h), sorted by id, and then read piece by piece. All but the first piece are read in
 * transactions of their own: the rows are committed and are never updated or deleted, and this relay is the
 * only one that empties tables, so any later snapshot sees them. They stay in their place, too, unless
 * somebody rewrites the table (CLUSTER, VACUUM FULL): then the index tells where they are now.
 *
 * Of a window with more than REFS_MAX events, those with the smallest ids are remembered; when they are
 * read the next ones are looked for. One transaction of millions of messages is such a window.
 */
#include "postgres.h"

#include "relay/store.h"

#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "catalog/pg_control.h"
#include "commands/dbcommands.h"
#include "extension/event.h"
#include "extension/settings.h"
#include "miscadmin.h"
#include "relay/decode.h"
#include "relay/instance.h"
#include "relay/refs.h"
#include "relay/scan.h"
#include "relay/store_parked.h"
#include "relay/stored_position.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#define REFS_MAX (64 * 1024)
#define REFS_KEPT (48 * 1024)        /* of REFS_MAX, when there are more */
#define KEPT_BYTES (2 * 1024 * 1024) /* of rows: a window between two ticks, of some keys each */
#define PIECE_BYTES (1024 * 1024)
#define PIECE_EVENTS 1024

/* A window that is opened and not wholly confirmed. */
typedef struct StoreWindow
{
	uint64   number;
	Position position; /* once it is confirmed */
} StoreWindow;

struct Store
{
	OutboxSlot   *slot;
	MemoryContext context;        /* as long as the store */
	MemoryContext window_context; /* refs of the open window */
	MemoryContext piece_context;  /* events handed out by store_read */
	MemoryContext parked_context; /* ... and by store_read_parked */
	char          instance[64];

	Position position; /* confirmed */
	Position last;     /* of the newest window */
	bool     dirty;    /* events were confirmed since the position was saved */

	StoreWindow *windows; /* opened, oldest first */
	int          window_count, window_capacity;
	uint64       last_number;

	int64 tick_id;    /* of the last tick that ended a window or lies behind; 0: none */
	bool  at_present; /* the newest window ends now, not at a tick */

	Position    open_from;     /* where the open window begins; it ends at `last` */
	EventRefs   events;        /* of it */
	KeptRows    kept;          /* their rows, as many as there is room for */
	uint64      events_window; /* its number; 0: a look that found nothing has taken their place */
	size_t      next_event;
	RelayEvent *piece; /* fetched, and not handed out yet */
	size_t      piece_count;
	char        lsn[32], parked_lsn[32];
};

/* ---- positions -------------------------------------------------------------------------------- */

/* Shows the confirmed position to the views. */
static void
share_position(const Store *store)
{
	SharedPosition *shared;

	if (store->slot == NULL)
		return;
	shared = &store->slot->position;
	LWLockAcquire(&store->slot->text_lock, LW_EXCLUSIVE);
	shared->valid = store->position.xid_count <= OUTBOX_MAX_POSITION_XIDS;
	if (shared->valid)
	{
		shared->xmin = store->position.xmin;
		shared->xmax = store->position.xmax;
		shared->xid_count = (int) store->position.xid_count;
		memcpy(shared->xids, store->position.xids, store->position.xid_count * sizeof(uint64));
	}
	LWLockRelease(&store->slot->text_lock);
}

static void
set_position(Store *store, const Position *position)
{
	Position copy = position_copy(position, store->context);

	position_free(&store->position);
	store->position = copy;
	share_position(store);
}

/* ---- opening ---------------------------------------------------------------------------------- */

typedef struct NewestPosition
{
	int64    id;
	Position position;
} NewestPosition;

static void
take_newest(NewestPosition *newest, TupleTableSlot *row)
{
	int64 id = DatumGetInt64(scan_value(row, EVENT_ID));

	if (id > newest->id)
	{
		position_free(&newest->position);
		newest->id = id;
		newest->position = position_from_datum(scan_value(row, EVENT_SNAPSHOT));
	}
}

bool
store_read_position(Snapshot snapshot, Position *position)
{
	NewestPosition newest = {0};

	for (int number = 0; number < EVENT_TABLES; number++)
	{
		ScanKeyData key = scan_xid_key(BTEqualStrategyNumber, EVENT_XID_POSITION);
		TableScan   scan;

		if (!table_scan_begin(&scan, number, snapshot, 1))
			continue;
		index_rescan(scan.scan, &key, 1, NULL, 0);
		/* Scanned backwards: the first of a table is its newest. */
		if (index_getnext_slot(scan.scan, BackwardScanDirection, scan.slot))
			take_newest(&newest, scan.slot);
		table_scan_end(&scan);
	}
	*position = newest.position;
	return newest.id != 0;
}

static Store *
store_new(OutboxSlot *slot)
{
	MemoryContext context =
		AllocSetContextCreate(TopMemoryContext, "outbox store", ALLOCSET_DEFAULT_SIZES);
	Store *store = MemoryContextAllocZero(context, sizeof(*store));

	store->slot = slot;
	store->context = context;
	store->window_context = AllocSetContextCreate(context, "outbox window", ALLOCSET_DEFAULT_SIZES);
	store->piece_context = AllocSetContextCreate(context, "outbox piece", ALLOCSET_DEFAULT_SIZES);
	store->parked_context =
		AllocSetContextCreate(context, "outbox parked piece", ALLOCSET_DEFAULT_SIZES);
	store->window_capacity = 16;
	store->windows = MemoryContextAlloc(context, store->window_capacity * sizeof(StoreWindow));
	kept_rows_init(&store->kept, context, KEPT_BYTES);
	return store;
}

/* Where to begin. Without any position everything that is there is published: too much rather than
 * too little. */
static void
load_position(Store *store)
{
	Position position;

	if (!store_read_position(GetActiveSnapshot(), &position))
		position = (Position){.xmin = EVENT_XID_FIRST, .xmax = EVENT_XID_FIRST};
	set_position(store, &position);
	store->last = position_copy(&position, store->context);
}

static bool
position_from_the_future(const Position *position)
{
	return position->xmax > U64FromFullTransactionId(ReadNextFullTransactionId());
}

static ScanNext
found_one(void *context, int table, TupleTableSlot *row)
{
	(void) table;
	(void) row;
	*(bool *) context = true;
	return SCAN_END;
}

/* An event of a transaction that is still to come here: of another cluster. It would wait in silence,
 * and go out when that id comes. */
static bool
event_from_the_future(void)
{
	uint64   next = U64FromFullTransactionId(ReadNextFullTransactionId());
	Position present = {.xmin = next, .xmax = next};
	bool     found = false;

	scan_tables(&present, SCAN_NO_END, GetActiveSnapshot(), found_one, &found);
	return found;
}

static bool
store_is_paused(const Store *store, const char **reason)
{
	MemoryContext caller = MemoryContextSwitchTo(store->context);
	bool          paused = instance_is_paused(reason);

	MemoryContextSwitchTo(caller);
	return paused;
}

StoreOpening
store_open(OutboxSlot *slot, Store **result, const char **reason)
{
	StoreOpening opening = STORE_OPENED;
	Store       *store;

	StartTransactionCommand();
	if (!OidIsValid(event_table_oid(0)))
	{
		CommitTransactionCommand();
		return STORE_MISSING;
	}
	PushActiveSnapshot(GetTransactionSnapshot());
	store = store_new(slot);
	if (!instance_is_ours(store->instance, sizeof(store->instance)))
	{
		opening = STORE_COPIED;
		*reason = "this outbox is a copy of another database's: see outbox.adopt(), or after "
				  "pg_upgrade outbox.adopt_with_events()";
	}
	load_position(store);
	if (opening == STORE_OPENED && position_from_the_future(&store->position))
	{
		opening = STORE_COPIED;
		*reason = "the outbox's position lies in the future of this cluster's transaction ids: "
				  "see outbox.adopt()";
	}
	if (opening == STORE_OPENED && event_from_the_future())
	{
		opening = STORE_COPIED;
		*reason = "the outbox holds an event from the future of this cluster's transaction ids: "
				  "see outbox.adopt()";
	}
	if (opening == STORE_OPENED && store_is_paused(store, reason))
		opening = STORE_PAUSED;
	PopActiveSnapshot();
	CommitTransactionCommand();
	*result = store;
	return opening;
}

const char *
store_instance(const Store *store)
{
	return store->instance;
}

/* ---- windows ---------------------------------------------------------------------------------- */

/* What gathering events needs beside the rows. */
typedef struct Gathering
{
	EventRefs      *events;
	KeptRows       *kept; /* NULL: rows are not copied */
	const Position *end;  /* of the window */
	int64           to;   /* no greater ids are wanted; 0: all are */
	bool            has_messages;
	uint64          beyond; /* transaction of the last row left out */
} Gathering;

static bool
is_left_out(const Gathering *gathering, int64 id)
{
	return (gathering->events->until != 0 && id > gathering->events->until) ||
	       (gathering->to != 0 && id > gathering->to);
}

static ScanNext
gather_row(void *context, int table, TupleTableSlot *row)
{
	Gathering *gathering = context;
	EventRefs *events = gathering->events;
	EventRef   ref = {.place = row->tts_tid, .table = (uint16) table};
	bool       no_routing_key;

	ref.xid = row_xid(row);
	ref.id = DatumGetInt64(scan_value(row, EVENT_ID));
	if (!position_contains(gathering->end, ref.xid))
		return SCAN_TRANSACTION;
	refs_make_room(events, REFS_KEPT);
	if (is_left_out(gathering, ref.id))
	{
		bool again = gathering->beyond == ref.xid;

		gathering->beyond = ref.xid;
		return again ? SCAN_TRANSACTION : SCAN_ROW;
	}
	if (gathering->kept != NULL)
		ref.row = kept_rows_add(gathering->kept, row);
	refs_add(events, ref);
	slot_getattr(row, EVENT_ROUTING_KEY, &no_routing_key);
	if (!no_routing_key)
		gathering->has_messages = true;
	return SCAN_ROW;
}

/* The end of WAL as a position that can be flushed and that a standby can reach: just behind the
 * header of a page that is not written yet, the insert position is rounded down to the page. */
static XLogRecPtr
insert_position(void)
{
	XLogRecPtr lsn = GetXLogInsertRecPtr();
	uint32     header = XLogSegmentOffset(lsn, wal_segment_size) < XLOG_BLCKSZ ? SizeOfXLogLongPHD
	                                                                           : SizeOfXLogShortPHD;

	if (lsn % XLOG_BLCKSZ == header)
		lsn -= header;
	return lsn;
}

static void
remember_window(Store *store, const Position *position)
{
	if (store->window_count == store->window_capacity)
	{
		store->window_capacity *= 2;
		store->windows = repalloc(store->windows, store->window_capacity * sizeof(StoreWindow));
	}
	store->windows[store->window_count++] = (StoreWindow){
		.number = ++store->last_number,
		.position = position_copy(position, store->context),
	};
}

/* The newest window ends at `position`. */
static void
set_last(Store *store, const Position *position)
{
	Position copy = position_copy(position, store->context);

	position_free(&store->last);
	store->last = copy;
}

/* The first tick of one table behind the last one used that is newer than the last window and not
 * newer than the present. false: none. Ticks that are too old will always be: they are not looked at
 * again. */
static bool
find_tick(Store *store, TableScan *scan, const Position *present, int64 *id, Position *tick)
{
	ScanKeyData keys[2];
	bool        found = false;

	keys[0] = scan_xid_key(BTEqualStrategyNumber, EVENT_XID_TICK);
	ScanKeyInit(&keys[1], 2, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(store->tick_id));
	index_rescan(scan->scan, keys, 2, NULL, 0);
	while (!found && index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot))
	{
		CHECK_FOR_INTERRUPTS();
		*id = DatumGetInt64(scan_value(scan->slot, EVENT_ID));
		*tick = position_from_datum(scan_value(scan->slot, EVENT_SNAPSHOT));
		if (position_ended(tick) > position_ended(&store->last) &&
		    position_not_older(&store->last, tick))
			found = position_not_older(tick, present);
		else
			store->tick_id = Max(store->tick_id, *id);
	}
	return found;
}

/* Where the next window ends: at the next tick, or else now. Any tick behind the last window is
 * right; the one with the smallest id is the nearest, or nearly. */
static Position
next_end(Store *store, TableScans *scans, const Position *present)
{
	Position end = *present;
	int64    end_id = 0;

	for (int number = 0; number < EVENT_TABLES; number++)
	{
		TableScan *scan = &scans->tables[number];
		Position   tick;
		int64      id;

		if (scan->table != NULL && find_tick(store, scan, present, &id, &tick) &&
		    (end_id == 0 || id < end_id))
		{
			end = tick;
			end_id = id;
		}
	}
	if (end_id != 0)
		store->tick_id = end_id;
	store->at_present = end_id == 0;
	return end;
}

/* Finds the events between the last window's end and the next, up to the first window that has
 * any; the caller's snapshot defines the present and is what all rows are read with. */
static void
gather_window(Store *store, TableScans *scans, const Position *present, Gathering *gathering)
{
	do
	{
		Position end = next_end(store, scans, present);

		gathering->end = &end;
		scan_open_tables(scans, &store->last, end.xmax, gather_row, gathering);
		if (store->events.count > 0)
		{
			store->open_from = position_copy(&store->last, store->window_context);
			remember_window(store, &end);
		}
		else if (store->window_count == 0)
			set_position(store, &end);
		set_last(store, &end);
	} while (store->events.count == 0 && !store->at_present);
}

static bool
row_is(TupleTableSlot *row, const EventRef *ref)
{
	return DatumGetInt64(scan_value(row, EVENT_ID)) == ref->id && row_xid(row) == ref->xid;
}

static bool
find_by_index(TableScan *scan, const EventRef *ref)
{
	ScanKeyData keys[2];

	keys[0] = scan_xid_key(BTEqualStrategyNumber, ref->xid);
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(ref->id));
	index_rescan(scan->scan, keys, 2, NULL, 0);
	return index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot);
}

/* One event's row; valid until the next call. Tables are opened as they are needed. */
static TupleTableSlot *
fetch_row(Store *store, TableScans *scans, const EventRef *ref)
{
	TableScan *scan = &scans->tables[ref->table];

	CHECK_FOR_INTERRUPTS();
	if (ref->row != NULL)
		return kept_rows_show(&store->kept, ref->row);
	if (scan->table == NULL && !table_scan_begin(scan, ref->table, GetActiveSnapshot(), 2))
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE), errmsg("the outbox tables are gone"));
	if (!(table_scan_fetch(scan, ref->place) && row_is(scan->slot, ref)) &&
	    !find_by_index(scan, ref))
		ereport(ERROR, errcode(ERRCODE_DATA_CORRUPTED),
		        errmsg("event %lld is gone from the outbox before it was published",
		               (long long) ref->id),
		        errhint("Was an outbox table changed by hand?"));
	return scan->slot;
}

/* Fetches the next events of the open window. */
static void
read_piece(Store *store, TableScans *scans)
{
	const EventRefs *events = &store->events;
	MemoryContext    caller;
	Size             bytes = 0;

	MemoryContextReset(store->piece_context);
	caller = MemoryContextSwitchTo(store->piece_context);
	store->piece =
		palloc(Min(PIECE_EVENTS, events->count - store->next_event) * sizeof(RelayEvent));
	store->piece_count = 0;
	while (store->piece_count < PIECE_EVENTS && bytes < PIECE_BYTES &&
	       store->next_event < events->count)
	{
		TupleTableSlot *row = fetch_row(store, scans, &events->refs[store->next_event++]);

		bytes += decode_event(row, &store->piece[store->piece_count++]);
	}
	MemoryContextSwitchTo(caller);
}

bool
store_open_window(Store *store, uint64_t *number, const char **lsn)
{
	Gathering  gathering = {.events = &store->events, .kept = &store->kept};
	TableScans scans;
	Position   present;
	XLogRecPtr end;

	MemoryContextReset(store->window_context);
	refs_init(&store->events, store->window_context, REFS_MAX);
	store->events_window = 0;
	store->next_event = 0;
	kept_rows_forget(&store->kept);
	StartTransactionCommand();
	/* One snapshot for the window's end and for its rows: with two, what commits between them
	 * would be in neither this window nor the next. */
	PushActiveSnapshot(GetTransactionSnapshot());
	present = position_of_active_snapshot();
	if (!position_not_older(&store->last, &present))
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		        errmsg("the outbox's position is newer than the present snapshot"),
		        errhint("Was the outbox restored from another cluster? See outbox.adopt()."));
	table_scans_begin(&scans, GetActiveSnapshot(), 2);
	gather_window(store, &scans, &present, &gathering);
	end = insert_position();
	if (store->events.count > 0)
	{
		refs_sort(&store->events);
		read_piece(store, &scans); /* mostly all there is: one transaction is enough */
	}
	table_scans_end(&scans);
	PopActiveSnapshot();
	CommitTransactionCommand();

	if (store->events.count == 0)
		return false;
	/* An asynchronous commit that a crash undoes must not have been published as a message. Where
	 * events were left out nobody looked. */
	if (gathering.has_messages || store->events.until != 0)
		XLogFlush(end);
	snprintf(store->lsn, sizeof(store->lsn), "%X/%X", LSN_FORMAT_ARGS(end));
	*lsn = store->lsn;
	*number = store->events_window = store->last_number;
	return true;
}

bool
store_is_at_present(const Store *store)
{
	return store->at_present;
}

/* The next events of a window that has too many: as gather_window, behind those that were read. What
 * was committed since lies behind the window's end. */
static void
gather_rest(Store *store)
{
	Gathering gathering = {.events = &store->events, .kept = &store->kept, .end = &store->last};
	int64     after = store->events.until;

	store->events.count = store->next_event = 0;
	kept_rows_forget(&store->kept);
	store->events.until = 0;
	scan_tables_after(&store->open_from, store->last.xmax, after, GetActiveSnapshot(), gather_row,
	                  &gathering);
	refs_sort(&store->events);
}

size_t
store_read(Store *store, const RelayEvent **events)
{
	size_t count;

	if (store->piece_count == 0 &&
	    (store->next_event < store->events.count || store->events.until != 0))
	{
		TableScans scans = {0};

		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		if (store->next_event == store->events.count)
			gather_rest(store);
		read_piece(store, &scans);
		table_scans_end(&scans);
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	count = store->piece_count;
	*events = store->piece;
	store->piece_count = 0;
	return count;
}

/* ---- setting aside ---------------------------------------------------------------------------- */

/* Where a window begins that is not wholly confirmed: at the end of the one before. (Empty windows
 * between the two are not kept, but are empty for ever.) */
static const Position *
window_begin(const Store *store, int index)
{
	return index == 0 ? &store->position : &store->windows[index - 1].position;
}

/* Are the events between two ids among those of the open window that are at hand? */
static bool
at_hand(const Store *store, uint64 number, int64 from, int64 to)
{
	const EventRefs *events = &store->events;

	return number == store->events_window && events->count > 0 && from >= events->refs[0].id &&
	       to <= events->refs[events->count - 1].id;
}

/* The events between two ids of a window that is not wholly confirmed. Those that are not at hand any
 * more are found again between the window's two snapshots. */
static EventRefs
events_between(Store *store, uint64 number, int64 from, int64 to)
{
	EventRefs events;
	Gathering gathering = {.events = &events, .to = to};
	int       index = 0;

	if (at_hand(store, number, from, to))
		return store->events;
	while (index < store->window_count && store->windows[index].number != number)
		index++;
	if (index == store->window_count)
		elog(ERROR, "window %llu is not open", (unsigned long long) number);
	refs_init(&events, CurrentMemoryContext, SIZE_MAX);
	gathering.end = &store->windows[index].position;
	scan_tables_after(window_begin(store, index), gathering.end->xmax, from - 1,
	                  GetActiveSnapshot(), gather_row, &gathering);
	refs_sort(&events);
	return events;
}

static size_t
park_range(Store *store, ParkedWriter *writer, TableScans *tables, const EventRefs *events,
           const ParkRange *range)
{
	size_t parked = 0;
	bool   found = false;

	for (size_t i = refs_lower_bound(events, range->first_id);
	     i < events->count && events->refs[i].id <= range->last_id; i++)
	{
		TupleTableSlot *row = fetch_row(store, tables, &events->refs[i]);
		bool            is_invalidation;

		slot_getattr(row, EVENT_ROUTING_KEY, &is_invalidation);
		if (is_invalidation != range->invalidations)
			continue;
		found = true;
		if (parked_writer_add(writer, row, range))
			parked++;
	}
	/* What is not kept must not count as settled. */
	if (!found)
		elog(ERROR, "event %lld is not in window %llu", (long long) range->last_id,
		     (unsigned long long) range->window);
	return parked;
}

/* How many of the ranges, from the first on, are of the same window; and the ids they span. */
static size_t
same_window(const ParkRange *ranges, size_t count, int64 *from, int64 *to)
{
	size_t same = 0;

	*from = ranges[0].first_id;
	*to = ranges[0].last_id;
	while (same < count && ranges[same].window == ranges[0].window)
	{
		*from = Min(*from, ranges[same].first_id);
		*to = Max(*to, ranges[same].last_id);
		same++;
	}
	return same;
}

void
store_park(Store *store, ParkRange *ranges, size_t count)
{
	TableScans    tables = {0};
	ParkedWriter *writer;
	size_t        same;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	writer = parked_writer_begin();
	for (size_t done = 0; done < count; done += same)
	{
		int64     from, to;
		EventRefs events;

		same = same_window(ranges + done, count - done, &from, &to);
		events = events_between(store, ranges[done].window, from, to);
		for (size_t i = done; i < done + same; i++)
			ranges[i].parked = park_range(store, writer, &tables, &events, &ranges[i]);
	}
	parked_writer_end(writer);
	table_scans_end(&tables);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

size_t
store_read_parked(Store *store, MqBytes exchange, MqBytes routing_key, int64_t after, size_t limit,
                  const RelayEvent **events, const char **lsn, bool *held)
{
	size_t count;

	MemoryContextReset(store->parked_context);
	count = parked_read(exchange, routing_key, after, limit, store->parked_context, events, held);
	snprintf(store->parked_lsn, sizeof(store->parked_lsn), "%X/%X",
	         LSN_FORMAT_ARGS(insert_position()));
	*lsn = store->parked_lsn;
	return count;
}

void
store_confirmed(Store *store, uint64_t number)
{
	int done = 0;

	while (done < store->window_count && store->windows[done].number <= number)
		done++;
	if (done == 0)
		return;
	set_position(store, &store->windows[done - 1].position);
	for (int i = 0; i < done; i++)
		position_free(&store->windows[i].position);
	store->window_count -= done;
	memmove(store->windows, store->windows + done, store->window_count * sizeof(StoreWindow));
	store->dirty = true;
}

uint64_t
store_last_window(const Store *store)
{
	return store->last_number;
}

const Position *
store_position(const Store *store)
{
	return &store->position;
}

/* ---- saving ----------------------------------------------------------------------------------- */

bool
store_is_dirty(const Store *store)
{
	return store->dirty;
}

void
store_write_position(Store *store)
{
	EventRow     row = {.xid = EVENT_XID_POSITION};
	EventWriter *writer = event_writer_begin(shmem_current_table());

	row.snapshot = position_to_datum(&store->position);
	event_writer_insert(writer, &row);
	event_writer_end(writer);
	store->dirty = false;
}

void
store_save_position(Store *store)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	store_write_position(store);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* ---- questions -------------------------------------------------------------------------------- */

bool
store_table_has_unpublished(const Store *store, int table)
{
	bool found = false;

	PushActiveSnapshot(GetLatestSnapshot());
	scan_table(&store->position, SCAN_NO_END, GetActiveSnapshot(), table, found_one, &found);
	PopActiveSnapshot();
	return found;
}

bool
store_table_has_events(int table)
{
	Position nothing = {.xmin = EVENT_XID_FIRST, .xmax = EVENT_XID_FIRST};
	bool     found = false;

	scan_table(&nothing, SCAN_NO_END, GetActiveSnapshot(), table, found_one, &found);
	return found;
}

typedef struct Counting
{
	int64        count, limit;
	TimestampTz *oldest;
	int64       *ids;
} Counting;

static ScanNext
count_row(void *context, int table, TupleTableSlot *row)
{
	Counting   *counting = context;
	TimestampTz created_at = DatumGetTimestampTz(scan_value(row, EVENT_CREATED_AT));

	(void) table;
	if (counting->count == 0 || created_at < *counting->oldest)
		*counting->oldest = created_at;
	counting->ids[counting->count++] = DatumGetInt64(scan_value(row, EVENT_ID));
	return counting->count < counting->limit ? SCAN_ROW : SCAN_END;
}

static int
compare_ids(const void *a, const void *b)
{
	int64 left = *(const int64 *) a;
	int64 right = *(const int64 *) b;

	return left < right ? -1 : left > right;
}

int64
store_count_pending(const Position *position, Snapshot snapshot, int64 limit, TimestampTz *oldest,
                    int64 *median_id)
{
	Counting counting = {.limit = limit, .oldest = oldest};

	counting.ids = palloc(limit * sizeof(int64));
	scan_tables(position, SCAN_NO_END, snapshot, count_row, &counting);
	qsort(counting.ids, counting.count, sizeof(int64), compare_ids);
	if (counting.count > 0)
		*median_id = counting.ids[counting.count / 2];
	pfree(counting.ids);
	return counting.count;
}
