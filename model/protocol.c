/*
 * protocol.c
 *    What befalls all of them, and the promises.
 */
#include "model/protocol.h"

#include <assert.h>
#include <string.h>

#include "model/state.h"

/* ---- crash ----------------------------------------------------------------------------------- */

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
	if (transaction->status != PREPARED && transaction->status != COMMITTED && it->message &&
	    (state->accepted & BIT(writer)) != 0)
		state->untrue = true;
}

static void
crash(const State *state, Search *search)
{
	State next = *state;

	next.crashes--;
	next.now = state->disk;
	next.newest_xid = next.now.next_xid - 1;
	for (int i = 0; i < protocol_size.writers; i++)
		recover(&next, i);
	next.current = 0;
	next.saved = state_saved(&next);
	next.relay = (Relay){.step = DOWN};
	if (next.crashes == 0)
		next.disk = (Storage){0};
	search_step(search, &next, "the server crashes", 0);
}

static void
write_wal(const State *state, Search *search)
{
	State next = *state;

	state_flush(&next);
	if (memcmp(&next.disk, &state->disk, sizeof(next.disk)) != 0)
		search_step(search, &next, "the WAL writer flushes", 0);
}

static void
steps(const void *bytes, Search *search)
{
	const State *state = bytes;

	for (int i = 0; i < protocol_size.writers; i++)
		writer_steps(state, i, search);
	relay_steps(state, search);
	if (state->restarts > 0 && state->relay.step != DOWN)
		restart_relay(state, search);
	if (state->crashes > 0)
	{
		write_wal(state, search);
		crash(state, search);
	}
}

/* ---- promises -------------------------------------------------------------------------------- */

/* Would the relay, left alone, do nothing more? */
static bool
relay_rests(const State *state)
{
	State look = *state;
	Shot  present = shot_take(state);

	if (state->relay.step != IDLE || state->relay.window_count > 0 || state->now.parked != 0)
		return false;
	return relay_open_window(&look, &present, &present) == 0;
}

static bool
one_is_missing(const State *state)
{
	for (int i = 0; i < protocol_size.writers; i++)
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
	for (int i = 0; i < protocol_size.writers; i++)
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
	Shot         present = shot_take(state);
	Shot         saved = state_saved(state);

	if (state->gone)
		return "an event is emptied before it is sent";
	if (state->untrue)
		return "a message is sent that is not committed, or not after a crash";
	if (state->disordered)
		return "events of one row are sent in the wrong order";
	if (commit_waits(state))
		return "a commit waits for a rotation, which waits for an open transaction";
	if (state->relay.step != DOWN && !shot_not_older(&state->relay.last, &present))
		return "the relay's position is newer than the present";
	if (!shot_same(&saved, &state->saved))
		return "a position that was saved is lost: what it contains is sent again";
	if (relay_rests(state) && one_is_missing(state))
		return "the relay has nothing left to do, and a committed event is not sent";
	for (int i = 0; last && i < protocol_size.writers; i++)
	{
		if (state->writers[i].step != ENDED)
			return "a transaction cannot end";
	}
	return NULL;
}

/* ---- outside --------------------------------------------------------------------------------- */

void
protocol_set(const Size *size, unsigned without)
{
	assert(size->writers <= WRITERS_MAX);
	protocol_size = *size;
	protocol_without = without;
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
	state.crashes = protocol_size.crashes;
	state.restarts = protocol_size.restarts;
	state.saved = state_saved(&state);
	for (int i = 0; i < WRITERS_MAX; i++)
		state.now.transactions[i].table = NO_TABLE;
	if (!protocol_size.installs)
	{
		state.now.saved_age[0] = NEWEST;
		state.now.saved[0] = (Shot){.xmax = 1};
		state.now.used = BIT(0);
	}
	state_flush(&state);
	return &state;
}
