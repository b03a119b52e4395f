/*
 * writer.c
 *    A transaction that records an event: extension/xact.c, flush.c, event.c, install.c.
 */
#include "model/state.h"

#include <assert.h>

static bool
row_is_free(const State *state)
{
	for (int i = 0; i < protocol_size.writers; i++)
	{
		if (state->writers[i].changed && state->writers[i].step < ENDED)
			return false;
	}
	return true;
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
	if (!rule_holds(RULE_IDS_LATE))
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
	next.now.saved[0] = next.saved = shot_to_write(state, writer);
	next.now.used |= BIT(0);
	next.writers[writer].installed = true;
	search_step(search, &next, "writer %d creates the extension: the first position", writer);
}

/* The row's lock is free once the one who changed it before has ended. */
static void
change_row(const State *state, int writer, Search *search)
{
	State next = *state;

	for (int i = 0; i < protocol_size.writers; i++)
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
	int          tick_ids = protocol_size.tick_ids;
	bool         passed;

	draw_id(&next, writer);
	transaction->table = table;
	next.writers[writer].message = message;
	next.now.used |= BIT(table);
	passed = tick_ids > 0 && (transaction->id - 1) / tick_ids != transaction->id / tick_ids;
	next.writers[writer].step = passed ? WRITTEN : READY;
	search_step(search, &next,
	            message ? "writer %d locks its table and inserts a message"
	                    : "writer %d locks its table and inserts an invalidation",
	            writer);
}

/* event_writer_tick() */
static void
write_tick(const State *state, int writer, Search *search)
{
	State next = *state;

	next.now.transactions[writer].tick = shot_to_write(state, writer);
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
	state_flush(&next);
	search_step(search, &next, "writer %d is prepared", writer);
}

/* RecordTransactionCommit(). A prepared one always flushes. */
static void
commit(const State *state, int writer, Search *search)
{
	State next = *state;

	next.now.transactions[writer].status = COMMITTED;
	next.writers[writer].step = ON_RECORD;
	if (protocol_size.asynchronous && state->writers[writer].step == READY)
		search_step(search, &next, "writer %d's commit is in WAL, not on disk", writer);
	state_flush(&next);
	search_step(search, &next, "writer %d's commit is on disk", writer);
}

/* ProcArrayEndTransaction() */
static void
become_seen(const State *state, int writer, Search *search)
{
	State next = *state;

	state_end_transaction(&next, writer);
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
	state_end_transaction(&next, writer);
	if (state->writers[writer].step == WAITING)
		state_flush(&next);
	search_step(search, &next, "writer %d rolls back", writer);
}

static void
steps_of_begun(const State *state, int writer, Search *search)
{
	const Writer *it = &state->writers[writer];

	if (protocol_size.installs && writer == 0 && !it->installed)
	{
		install(state, writer, search);
		return;
	}
	if (protocol_size.conflicts && !it->changed && row_is_free(state))
		change_row(state, writer, search);
	if (it->installed || state_is_installed(state))
		aim(state, writer, search);
}

void
writer_steps(const State *state, int writer, Search *search)
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
		if (state_table_is_barred(state, it->table))
			break;
		write_event(state, writer, true, search);
		if (protocol_size.keys)
			write_event(state, writer, false, search);
		break;
	case WRITTEN:
		write_tick(state, writer, search);
		break;
	case READY:
		if (protocol_size.prepares)
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
	if (protocol_size.aborts && it->step >= BEGUN && it->step <= WAITING && !it->installed)
		abort_transaction(state, writer, search);
}
