/*
 * protocol.c
 *    The steps, each with the place whose behaviour it copies, and the promises.
 *
 * A step is what no other process can look into: one WAL record, one snapshot, one lock. Positions
 * are compared by the relay's own code (relay/window.c).
 *
 * Transaction ids and event ids are small numbers from 1. `now` is what the tables and the commit log
 * hold, `disk` what a crash leaves of it: flushing copies all of it, as WAL is flushed up to a place
 * and never around one. That WAL may be cut at any place behind the last flush is covered as well:
 * the WAL writer may flush at any time.
 */
#include "model/protocol.h"

#include <assert.h>
#include <string.h>

#include "relay/window.h"

#define TABLES      2 /* a third changes nothing: writers use one, the relay empties others */
#define WINDOWS     2 /* under way at most */
#define XIDS_MAX    8 /* bits of a set */
#define NO_TABLE    0xff
#define NEWEST      2
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
	uint8_t xid; /* 0: none yet */
	uint8_t table; /* of its rows; NO_TABLE: none, or that table was emptied */
	uint8_t id; /* of its event; 0: none */
	uint8_t message; /* not an invalidation */
	uint8_t tick_id; /* 0: none */
	Shot    tick;
} Transaction;

/* What a crash may take back. */
typedef struct Storage
{
	Transaction transactions[WRITERS_MAX];
	uint8_t     saved_age[TABLES]; /* of the newest position row there; 0: none, NEWEST: of all */
	Shot        saved[TABLES];
	uint8_t     used; /* bits of tables that have pages */
	uint8_t     next_xid, next_id;
} Storage;

/* Next: the one behind it, and where others are named those too. Any of BEGUN to READY may abort. */
typedef enum WriterStep
{
	NEW,
	BEGUN,   /* has a transaction id; may change the row that all of them change */
	AIMED,   /* has read which table is current */
	WRITTEN, /* its event is inserted. READY where no multiple was passed */
	READY,   /* all is written. ON_RECORD, WAITING */
	WAITING, /* prepared */
	ON_RECORD, /* its commit is in WAL */
	SEEN,    /* in snapshots; it still holds its locks */
	ENDED
} WriterStep;

typedef struct Writer
{
	uint8_t step;
	uint8_t table;     /* from AIMED on */
	uint8_t changed;   /* the row */
	uint8_t after;     /* bits of writers who had changed the row and ended before */
	uint8_t installed; /* wrote the first position */
} Writer;

typedef enum RelayStep
{
	DOWN,
	IDLE,
	LOOKING, /* has a snapshot */
	FENCING, /* has found a window with messages */
	QUEUEING, /* waits for a lock (only where a rule is taken out) */
	LOCKED,  /* table `emptied` */
	TESTED   /* it, without a lock (only where a rule is taken out) */
} RelayStep;

typedef struct Relay
{
	uint8_t step;
	Shot    position; /* confirmed */
	Shot    last;     /* end of the newest window */
	Shot    shot;     /* of the present look */
	Shot    windows[WINDOWS]; /* their ends, oldest first */
	uint8_t window_count;
	uint8_t unsent; /* bits of writers whose event is in the newest window, and not sent */
	uint8_t tick_id; /* of the last tick that ended a window */
	uint8_t emptied;
} Relay;

typedef struct State
{
	Storage now, disk; /* disk is left empty where nothing crashes */
	Writer  writers[WRITERS_MAX];
	Relay   relay;
	uint8_t newest_xid; /* of those that have ended */
	Shot    saved; /* the newest position that was ever saved, less what a crash took back */
	uint8_t current; /* the table for writers, in shared memory */
	uint8_t accepted; /* bits of writers whose event the broker has */
	uint8_t untrue; /* an event was sent that is not committed, or a message that is no longer */
	uint8_t disordered; /* something was sent before what it follows */
	uint8_t gone; /* an event of a window was emptied before it was sent */
	uint8_t crashes, restarts; /* left */
} State;

static Size     size;
static unsigned without;

static bool
has_rule(Rule rule)
{
	return (without & BIT(rule)) == 0;
}

/* ---- snapshots -------------------------------------------------------------------------------- */

static Position
position_of(const Shot *shot, uint64_t *xids)
{
	Position position = {.xmin = shot->xmax, .xmax = shot->xmax, .xids = xids};

	for (uint64_t xid = 1; xid < shot->xmax; xid++)
	{
		if (shot->open & BIT(xid))
			xids[position.xid_count++] = xid;
	}
	if (position.xid_count > 0)
		position.xmin = xids[0];
	return position;
}

static bool
contains(const Shot *shot, int xid)
{
	uint64_t xids[XIDS_MAX];
	Position position = position_of(shot, xids);

	return position_contains(&position, (uint64_t) xid);
}

static uint64_t
ended(const Shot *shot)
{
	uint64_t xids[XIDS_MAX];
	Position position = position_of(shot, xids);

	return position_ended(&position);
}

static bool
not_older(const Shot *earlier, const Shot *later)
{
	uint64_t earlier_xids[XIDS_MAX], later_xids[XIDS_MAX];
	Position earlier_position = position_of(earlier, earlier_xids);
	Position later_position = position_of(later, later_xids);

	return position_not_older(&earlier_position, &later_position);
}

/* GetSnapshotData */
static Shot
snapshot(const State *state)
{
	Shot shot = {.xmax = state->newest_xid + 1};

	for (int i = 0; i < size.writers; i++)
	{
		int xid = state->now.transactions[i].xid;

		if (xid != 0 && xid < shot.xmax && state->writers[i].step < SEEN)
			shot.open |= BIT(xid);
	}
	return shot;
}

/* position_now() in extension/position.c */
static Shot
snapshot_to_write(const State *state, int writer)
{
	int  mine = state->now.transactions[writer].xid;
	Shot shot = snapshot(state);

	if (mine >= shot.xmax && !has_rule(RULE_XMAX_STAYS))
	{
		shot.xmax = mine + 1;
		shot.open |= BIT(mine);
	}
	if (mine < shot.xmax && !has_rule(RULE_OWN_XID))
		shot.open &= ~BIT(mine);
	return shot;
}

/* HeapTupleSatisfiesMVCC, of the rows of this writer */
static bool
sees(const State *state, const Shot *shot, int writer)
{
	const Transaction *transaction = &state->now.transactions[writer];

	return transaction->table != NO_TABLE && transaction->status == COMMITTED &&
		   contains(shot, transaction->xid);
}

/* ---- the broker's and the disk's side --------------------------------------------------------- */

static void
flush(State *state)
{
	if (state->crashes > 0)
		state->disk = state->now;
}

static void
accept(State *state, int writer)
{
	uint8_t missing = state->writers[writer].after & ~state->accepted;

	if (state->now.transactions[writer].table == NO_TABLE)
		state->gone = true;
	if (state->now.transactions[writer].status != COMMITTED)
		state->untrue = true;
	if (missing != 0)
		state->disordered = true;
	state->accepted |= BIT(writer);
}

/* ---- writers ---------------------------------------------------------------------------------- */

static bool
holds_table(const State *state, int writer, int table)
{
	const Writer *it = &state->writers[writer];

	if (it->table != table || it->step < WRITTEN || it->step == ENDED)
		return false;
	return it->step == WRITTEN || has_rule(RULE_KEEP_LOCK);
}

static bool
row_is_free(const State *state)
{
	for (int i = 0; i < size.writers; i++)
	{
		if (state->writers[i].changed && state->writers[i].step < ENDED)
			return false;
	}
	return true;
}

static bool
is_installed(const State *state)
{
	return !size.installs || (state->writers[0].step >= SEEN &&
							  state->now.transactions[0].status == COMMITTED);
}

static bool
may_begin(const State *state, int writer)
{
	/* In the order of their numbers: they are all alike. */
	return state->writers[writer].step == NEW &&
		   (writer == 0 || state->writers[writer - 1].step != NEW);
}

/* nextval, with CACHE 1: an id that was drawn long ago is one of a cache */
static void
draw_id(State *state, int writer)
{
	if (state->now.transactions[writer].id == 0)
		state->now.transactions[writer].id = state->now.next_id++;
}

static void
begin(const State *state, int writer, Search *search)
{
	State next = *state;

	next.now.transactions[writer].status = RUNNING;
	next.now.transactions[writer].xid = next.now.next_xid++;
	assert(next.now.next_xid <= XIDS_MAX);
	if (!has_rule(RULE_IDS_LATE))
		draw_id(&next, writer);
	next.writers[writer].step = BEGUN;
	search_step(search, &next, "writer %d begins, and has a transaction id", writer);
}

/* write_first_position() in extension/install.c */
static void
install(const State *state, int writer, Search *search)
{
	State next = *state;

	next.now.saved_age[0] = NEWEST;
	next.now.saved[0] = next.saved = snapshot_to_write(state, writer);
	next.now.used |= BIT(0);
	next.writers[writer].installed = true;
	search_step(search, &next, "writer %d creates the extension: the first position", writer);
}

/* The row's lock is free once the one who changed it before has ended. */
static void
change_row(const State *state, int writer, Search *search)
{
	State next = *state;

	for (int i = 0; i < size.writers; i++)
	{
		if (state->writers[i].changed && state->now.transactions[i].status == COMMITTED)
			next.writers[writer].after |= BIT(i);
	}
	next.writers[writer].changed = true;
	search_step(search, &next, "writer %d changes the row", writer);
}

/* shmem_current_table() in flush_write() */
static void
aim(const State *state, int writer, Search *search)
{
	State next = *state;

	next.writers[writer].table = state->current;
	next.writers[writer].step = AIMED;
	search_step(search, &next, "writer %d reads which table is current", writer);
}

/* event_writer_begin() and _insert(): the table's lock, an id, a row */
static void
write_event(const State *state, int writer, bool message, Search *search)
{
	State        next = *state;
	Transaction *transaction = &next.now.transactions[writer];
	int          table = state->writers[writer].table;
	bool         passed;

	draw_id(&next, writer);
	transaction->table = table;
	transaction->message = message;
	next.now.used |= BIT(table);
	passed = size.tick_ids > 0 &&
			 (transaction->id - 1) / size.tick_ids != transaction->id / size.tick_ids;
	next.writers[writer].step = passed ? WRITTEN : READY;
	search_step(search, &next, message ? "writer %d locks its table and inserts a message"
									   : "writer %d locks its table and inserts an invalidation",
				writer);
}

/* event_writer_tick() */
static void
write_tick(const State *state, int writer, Search *search)
{
	State next = *state;

	next.now.transactions[writer].tick = snapshot_to_write(state, writer);
	next.now.transactions[writer].tick_id = next.now.next_id++;
	next.writers[writer].step = READY;
	search_step(search, &next, "writer %d inserts a tick", writer);
}

static void
prepare(const State *state, int writer, Search *search)
{
	State next = *state;

	next.now.transactions[writer].status = PREPARED;
	next.writers[writer].step = WAITING;
	flush(&next);
	search_step(search, &next, "writer %d is prepared", writer);
}

/* RecordTransactionCommit(). A prepared one always flushes. */
static void
commit(const State *state, int writer, Search *search)
{
	State next = *state;

	next.now.transactions[writer].status = COMMITTED;
	next.writers[writer].step = ON_RECORD;
	if (size.asynchronous && state->writers[writer].step == READY)
		search_step(search, &next, "writer %d's commit is in WAL, not on disk", writer);
	flush(&next);
	search_step(search, &next, "writer %d's commit is on disk", writer);
}

static void
end_transaction(State *state, int writer)
{
	int xid = state->now.transactions[writer].xid;

	if (xid > state->newest_xid)
		state->newest_xid = xid;
}

/* ProcArrayEndTransaction() */
static void
become_seen(const State *state, int writer, Search *search)
{
	State next = *state;

	end_transaction(&next, writer);
	next.writers[writer].step = SEEN;
	search_step(search, &next, "writer %d's commit can be seen", writer);
}

static void
unlock(const State *state, int writer, Search *search)
{
	State next = *state;

	next.writers[writer].step = ENDED;
	search_step(search, &next, "writer %d lets its locks go", writer);
}

static void
abort_transaction(const State *state, int writer, Search *search)
{
	State next = *state;

	next.now.transactions[writer].status = ABORTED;
	next.writers[writer].step = ENDED;
	end_transaction(&next, writer);
	if (state->writers[writer].step == WAITING)
		flush(&next);
	search_step(search, &next, "writer %d rolls back", writer);
}

/* The relay that waits in a queue for an exclusive lock lets nobody past. */
static bool
relay_bars(const State *state, int table)
{
	return (state->relay.step == LOCKED || state->relay.step == QUEUEING) &&
		   state->relay.emptied == table;
}

static void
steps_of_begun(const State *state, int writer, Search *search)
{
	const Writer *it = &state->writers[writer];

	if (size.installs && writer == 0 && !it->installed)
	{
		install(state, writer, search);
		return;
	}
	if (size.conflicts && !it->changed && row_is_free(state))
		change_row(state, writer, search);
	if (it->installed || is_installed(state))
		aim(state, writer, search);
}

static void
steps_of_writer(const State *state, int writer, Search *search)
{
	const Writer *it = &state->writers[writer];

	switch ((WriterStep) it->step)
	{
	case NEW:
		if (may_begin(state, writer))
			begin(state, writer, search);
		break;
	case BEGUN:
		steps_of_begun(state, writer, search);
		break;
	case AIMED:
		if (relay_bars(state, it->table))
			break;
		write_event(state, writer, true, search);
		if (size.keys)
			write_event(state, writer, false, search);
		break;
	case WRITTEN:
		write_tick(state, writer, search);
		break;
	case READY:
		if (size.prepares)
			prepare(state, writer, search);
		commit(state, writer, search);
		break;
	case WAITING:
		commit(state, writer, search);
		break;
	case ON_RECORD:
		become_seen(state, writer, search);
		break;
	case SEEN:
		unlock(state, writer, search);
		break;
	case ENDED:
		break;
	}
	if (size.aborts && it->step >= BEGUN && it->step <= WAITING && !it->installed)
		abort_transaction(state, writer, search);
}

/* ---- relay: windows --------------------------------------------------------------------------- */

/* store_read_position(): the newest in any table. Without any, nothing counts as published. */
static Shot
newest_saved(const State *state)
{
	int newest = 0;

	for (int table = 1; table < TABLES; table++)
	{
		if (state->now.saved_age[table] > state->now.saved_age[newest])
			newest = table;
	}
	return state->now.saved_age[newest] == 0 ? (Shot){.xmax = 1} : state->now.saved[newest];
}

/* load_position() */
static void
start_relay(const State *state, Search *search)
{
	State next = *state;

	next.relay = (Relay){.step = IDLE, .position = newest_saved(state)};
	next.relay.last = next.relay.position;
	search_step(search, &next, "the relay starts at the saved position", 0);
}

/* find_tick() of all tables, and next_end(): where the window ends; the tick's id, or 0 */
static int
find_tick(const State *state, const Shot *present, Shot *end)
{
	const Relay *relay = &state->relay;
	int          id = 0;

	for (int i = 0; i < size.writers; i++)
	{
		const Transaction *transaction = &state->now.transactions[i];

		if (transaction->tick_id > relay->tick_id && sees(state, present, i) &&
			ended(&transaction->tick) > ended(&relay->last) &&
			not_older(&relay->last, &transaction->tick) && not_older(&transaction->tick, present) &&
			(id == 0 || transaction->tick_id < id))
		{
			id = transaction->tick_id;
			*end = transaction->tick;
		}
	}
	return id;
}

/* gather_row() of scan_tables(): bits of writers whose event lies in the window */
static uint8_t
gather(const State *state, const Shot *rows, const Shot *end)
{
	const Shot *last = &state->relay.last;
	uint8_t     found = 0;

	for (int i = 0; i < size.writers; i++)
	{
		const Transaction *transaction = &state->now.transactions[i];
		bool               in_range = has_rule(RULE_IN_PROGRESS) ? !contains(last, transaction->xid)
																 : transaction->xid >= last->xmax;

		if (sees(state, rows, i) && in_range && contains(end, transaction->xid) &&
			(has_rule(RULE_ALL_TABLES) || transaction->table == state->current))
			found |= BIT(i);
	}
	return found;
}

/* gather_window(): windows until one holds something, or ends at the present. `rows` and
 * `present` are the same snapshot. Gives the events found. */
static uint8_t
open_window(State *state, const Shot *rows, const Shot *present)
{
	Relay  *relay = &state->relay;
	uint8_t found;
	int     tick_id;

	do
	{
		Shot end = *present;

		tick_id = find_tick(state, rows, &end);
		if (tick_id != 0)
			relay->tick_id = tick_id;
		found = gather(state, rows, &end);
		relay->last = end;
		if (found != 0)
			relay->windows[relay->window_count++] = end;
		if (found != 0 ? !has_rule(RULE_CONFIRM_FIRST) : relay->window_count == 0)
			relay->position = end;
	} while (found == 0 && tick_id != 0);
	return found;
}

static bool
same_shot(const Shot *one, const Shot *other)
{
	return one->xmax == other->xmax && one->open == other->open;
}

/* store_open_window(): its snapshot */
static void
look(const State *state, Search *search)
{
	State next = *state;

	next.relay.shot = snapshot(state);
	if (same_shot(&next.relay.shot, &state->relay.last))
		return; /* nothing has ended since */
	next.relay.step = LOOKING;
	search_step(search, &next, "the relay takes a snapshot", 0);
}

static bool
has_message(const State *state, uint8_t writers)
{
	for (int i = 0; i < size.writers; i++)
	{
		if ((writers & BIT(i)) && state->now.transactions[i].message)
			return true;
	}
	return false;
}

/* Its rows, its end. */
static void
gather_step(const State *state, Search *search)
{
	State next = *state;
	Shot  present = has_rule(RULE_ONE_SNAPSHOT) ? state->relay.shot : snapshot(state);

	next.relay.unsent = open_window(&next, &state->relay.shot, &present);
	next.relay.shot = (Shot){0};
	next.relay.step = IDLE;
	if (has_message(&next, next.relay.unsent) && has_rule(RULE_FENCE))
		next.relay.step = FENCING;
	search_step(search, &next,
				next.relay.unsent != 0 ? "the relay opens a window" : "the relay finds nothing", 0);
}

/* XLogFlush() at the end of store_open_window() */
static void
fence(const State *state, Search *search)
{
	State next = *state;

	flush(&next);
	next.relay.step = IDLE;
	search_step(search, &next, "the relay flushes WAL", 0);
}

/* The next event of the newest window, in the order of ids. On its way and taken is one step: the
 * publisher, which sends again what is lost, has a simulation of its own. */
static void
send_event(const State *state, Search *search)
{
	State next = *state;
	int   first = -1;

	for (int i = 0; i < size.writers; i++)
	{
		const Transaction *it = &state->now.transactions[i];
		const Transaction *other = &state->now.transactions[first < 0 ? i : first];

		if ((state->relay.unsent & BIT(i)) == 0)
			continue;
		if (first < 0 || (has_rule(RULE_ORDER_BY_ID) ? it->id < other->id : it->xid < other->xid))
			first = i;
	}
	next.relay.unsent &= ~BIT(first);
	accept(&next, first);
	search_step(search, &next, "the broker is sent writer %d's event", first);
}

/* store_confirmed(), of the oldest window */
static void
confirm(const State *state, Search *search)
{
	State  next = *state;
	Relay *relay = &next.relay;

	if (has_rule(RULE_CONFIRM_FIRST))
		relay->position = relay->windows[0];
	memmove(relay->windows, relay->windows + 1, sizeof(relay->windows) - sizeof(relay->windows[0]));
	relay->windows[--relay->window_count] = (Shot){0};
	search_step(search, &next, "the broker confirms the oldest window", 0);
}

/* store_write_position(). Its id is of no interest but for being the greatest. */
static void
write_position(State *state)
{
	for (int table = 0; table < TABLES; table++)
	{
		if (state->now.saved_age[table] == NEWEST)
			state->now.saved_age[table]--;
	}
	state->now.saved_age[state->current] = NEWEST;
	state->now.saved[state->current] = state->saved = state->relay.position;
	state->now.used |= BIT(state->current);
}

/* store_save_position(): an asynchronous commit. Only the relay reads and writes these rows, so that
 * its steps in between cannot be seen. */
static void
save(const State *state, Search *search)
{
	State next = *state;
	Shot  newest = newest_saved(state);

	if (same_shot(&newest, &state->relay.position))
		return;
	write_position(&next);
	search_step(search, &next, "the relay saves its position", 0);
}

/* ---- relay: rotation -------------------------------------------------------------------------- */

/* switch_table() */
static void
switch_table(const State *state, Search *search)
{
	State next = *state;

	next.current = (state->current + 1) % TABLES;
	if ((state->now.used & BIT(next.current)) != 0 || (state->now.used & BIT(state->current)) == 0)
		return;
	search_step(search, &next, "the relay makes table %d the current one", next.current);
}

static bool
table_is_held(const State *state, int table)
{
	for (int i = 0; i < size.writers; i++)
	{
		if (holds_table(state, i, table))
			return true;
	}
	return false;
}

/* store_table_has_unpublished(), with a snapshot of its own */
static bool
has_unpublished(const State *state, int table)
{
	const Relay *relay = &state->relay;
	const Shot  *done = has_rule(RULE_TEST_CONFIRMED) ? &relay->position : &relay->last;
	Shot         fresh = snapshot(state);

	for (int i = 0; i < size.writers; i++)
	{
		const Transaction *transaction = &state->now.transactions[i];

		if (transaction->table == table && sees(state, &fresh, i) &&
			!contains(done, transaction->xid))
			return true;
	}
	return false;
}

/* lock_with_indexes() */
static void
lock_table(const State *state, int table, Search *search)
{
	State next = *state;

	next.relay.emptied = table;
	next.relay.step = LOCKED;
	if (!table_is_held(state, table))
		search_step(search, &next, "the relay locks table %d", table);
	else if (!has_rule(RULE_LOCK_IF_FREE))
	{
		next.relay.step = QUEUEING;
		search_step(search, &next, "the relay waits for a lock on table %d", table);
	}
}

/* The rest of empty_table(): the position, and TRUNCATE, which flushes its commit. */
static void
truncate_table(const State *state, int table, Search *search)
{
	State next = *state;

	if (has_rule(RULE_POSITION_MOVES))
		write_position(&next);
	for (int i = 0; i < size.writers; i++)
	{
		if (next.now.transactions[i].table == table)
			next.now.transactions[i].table = NO_TABLE;
	}
	next.now.saved_age[table] = 0;
	next.now.saved[table] = (Shot){0};
	next.now.used &= ~BIT(table);
	next.relay.step = IDLE;
	next.relay.emptied = 0;
	flush(&next);
	search_step(search, &next, "the relay empties table %d", table);
}

static void
give_up(const State *state, Search *search)
{
	State next = *state;

	next.relay.step = IDLE;
	next.relay.emptied = 0;
	search_step(search, &next, "the relay leaves table %d alone", state->relay.emptied);
}

static void
test_without_lock(const State *state, int table, Search *search)
{
	State next = *state;

	next.relay.emptied = table;
	next.relay.step = TESTED;
	if (!has_unpublished(state, table))
		search_step(search, &next, "the relay finds that all of table %d is published", table);
}

static void
begin_emptying(const State *state, Search *search)
{
	for (int table = 0; table < TABLES; table++)
	{
		if (table == state->current || (state->now.used & BIT(table)) == 0)
			continue;
		if (has_rule(RULE_LOCK_FIRST))
			lock_table(state, table, search);
		else
			test_without_lock(state, table, search);
	}
}

static void
finish_emptying(const State *state, bool published, Search *search)
{
	if (published)
		truncate_table(state, state->relay.emptied, search);
	else
		give_up(state, search);
}

/* ---- relay, crash ----------------------------------------------------------------------------- */

static void
steps_of_idle(const State *state, Search *search)
{
	const Relay *relay = &state->relay;

	if (relay->unsent != 0)
		send_event(state, search);
	else if (relay->window_count < WINDOWS)
		look(state, search);
	if (relay->window_count > (relay->unsent != 0 ? 1 : 0))
		confirm(state, search);
	save(state, search);
	if (size.rotates)
	{
		switch_table(state, search);
		begin_emptying(state, search);
	}
}

static void
steps_of_relay(const State *state, Search *search)
{
	const Relay *relay = &state->relay;

	switch ((RelayStep) relay->step)
	{
	case DOWN:
		if (is_installed(state))
			start_relay(state, search);
		break;
	case IDLE:
		steps_of_idle(state, search);
		break;
	case LOOKING:
		gather_step(state, search);
		break;
	case FENCING:
		fence(state, search);
		break;
	case QUEUEING:
		lock_table(state, relay->emptied, search);
		break;
	case LOCKED:
		finish_emptying(state, !has_unpublished(state, relay->emptied), search);
		break;
	case TESTED:
		finish_emptying(state, !table_is_held(state, relay->emptied), search);
		break;
	}
}

/* An ERROR in the relay, a SIGTERM: what it had in memory is gone. */
static void
restart_relay(const State *state, Search *search)
{
	State next = *state;

	next.relay = (Relay){.step = DOWN};
	next.restarts--;
	search_step(search, &next, "the relay is restarted", 0);
}

/* What recovery makes of a writer. */
static void
recover(State *state, int writer)
{
	Transaction *transaction = &state->now.transactions[writer];
	Writer      *it = &state->writers[writer];

	if (it->step == NEW)
		return;
	if (transaction->status == RUNNING)
		transaction->status = ABORTED;
	it->step = transaction->status == PREPARED ? WAITING : ENDED;
	if (transaction->status != PREPARED && transaction->status != COMMITTED &&
		transaction->message && (state->accepted & BIT(writer)))
		state->untrue = true;
}

static void
crash(const State *state, Search *search)
{
	State next = *state;

	next.crashes--;
	for (int i = 0; i < size.writers; i++)
	{
		bool message = state->now.transactions[i].message;

		next.now.transactions[i] = state->disk.transactions[i];
		next.now.transactions[i].message = message;
	}
	memcpy(next.now.saved_age, state->disk.saved_age, sizeof(next.now.saved_age));
	memcpy(next.now.saved, state->disk.saved, sizeof(next.now.saved));
	next.now.used = state->disk.used;
	next.now.next_xid = state->disk.next_xid;
	next.now.next_id = state->disk.next_id;
	next.newest_xid = next.now.next_xid - 1;
	for (int i = 0; i < size.writers; i++)
		recover(&next, i);
	next.current = 0;
	next.saved = newest_saved(&next);
	next.relay = (Relay){.step = DOWN};
	if (next.crashes == 0)
		next.disk = (Storage){0};
	search_step(search, &next, "the server crashes", 0);
}

static void
write_wal(const State *state, Search *search)
{
	State next = *state;

	flush(&next);
	if (memcmp(&next.disk, &state->disk, sizeof(next.disk)) != 0)
		search_step(search, &next, "the WAL writer flushes", 0);
}

static void
steps(const void *bytes, Search *search)
{
	const State *state = bytes;

	for (int i = 0; i < size.writers; i++)
		steps_of_writer(state, i, search);
	steps_of_relay(state, search);
	if (state->restarts > 0 && state->relay.step != DOWN)
		restart_relay(state, search);
	if (state->crashes > 0)
	{
		write_wal(state, search);
		crash(state, search);
	}
}

/* ---- promises --------------------------------------------------------------------------------- */

/* Would the relay, left alone, do nothing more? */
static bool
relay_rests(const State *state)
{
	State look = *state;
	Shot  present = snapshot(state);

	if (state->relay.step != IDLE || state->relay.window_count > 0)
		return false;
	return open_window(&look, &present, &present) == 0;
}

static bool
one_is_missing(const State *state)
{
	for (int i = 0; i < size.writers; i++)
	{
		const Transaction *transaction = &state->now.transactions[i];

		if (transaction->id != 0 && transaction->status == COMMITTED &&
			state->writers[i].step >= SEEN && (state->accepted & BIT(i)) == 0)
			return true;
	}
	return false;
}

/* Somebody stands behind the relay, which stands behind a transaction that may stay open. */
static bool
commit_waits(const State *state)
{
	for (int i = 0; i < size.writers; i++)
	{
		if (state->relay.step == QUEUEING && state->writers[i].step == AIMED &&
			state->writers[i].table == state->relay.emptied)
			return true;
	}
	return false;
}

static const char *
broken(const void *bytes, int last)
{
	const State *state = bytes;
	Shot         present = snapshot(state);
	Shot         saved = newest_saved(state);

	if (state->gone)
		return "an event is emptied before it is sent";
	if (state->untrue)
		return "a message is sent that is not committed, or not after a crash";
	if (state->disordered)
		return "events of one row are sent in the wrong order";
	if (commit_waits(state))
		return "a commit waits for a rotation, which waits for an open transaction";
	if (state->relay.step != DOWN && !not_older(&state->relay.last, &present))
		return "the relay's position is newer than the present";
	if (!same_shot(&saved, &state->saved))
		return "a position that was saved is lost: what it contains is sent again";
	if (relay_rests(state) && one_is_missing(state))
		return "the relay has nothing left to do, and a committed event is not sent";
	for (int i = 0; last && i < size.writers; i++)
	{
		if (state->writers[i].step != ENDED)
			return "a transaction cannot end";
	}
	return NULL;
}

/* ---- outside ---------------------------------------------------------------------------------- */

void
protocol_set(const Size *new_size, unsigned new_without)
{
	assert(new_size->writers <= WRITERS_MAX);
	size = *new_size;
	without = new_without;
}

const SearchModel *
protocol_model(void)
{
	static const SearchModel model = {sizeof(State), steps, broken};

	return &model;
}

const void *
protocol_start(void)
{
	static State state;

	memset(&state, 0, sizeof(state));
	state.now.next_xid = state.now.next_id = 1;
	state.crashes = size.crashes;
	state.restarts = size.restarts;
	state.saved = newest_saved(&state);
	for (int i = 0; i < WRITERS_MAX; i++)
		state.now.transactions[i].table = NO_TABLE;
	if (!size.installs)
	{
		state.now.saved_age[0] = NEWEST;
		state.now.saved[0] = (Shot){.xmax = 1};
		state.now.used = BIT(0);
	}
	flush(&state);
	return &state;
}
