/*
 * relay.c
 *    Windows and the position: relay/store.c.
 */
#include "model/state.h"

#include <string.h>

static void
accept(State *state, int writer)
{
	uint8_t missing = state->writers[writer].after & ~state->accepted;

	if (state->now.transactions[writer].status != COMMITTED)
		state->untrue = true;
	if (missing != 0)
		state->disordered = true;
	state->accepted |= BIT(writer);
}

/* load_position() */
static void
start_relay(const State *state, Search *search)
{
	State next = *state;

	next.relay = (Relay){.step = IDLE, .position = state_saved(state)};
	next.relay.last = next.relay.position;
	search_step(search, &next, "the relay starts at the saved position", 0);
}

/* find_tick() of all tables, and next_end(): where the window ends; the tick's id, or 0 */
static int
find_tick(const State *state, const Shot *present, Shot *end)
{
	const Relay *relay = &state->relay;
	int          id = 0;

	for (int i = 0; i < protocol_size.writers; i++)
	{
		const Transaction *it = &state->now.transactions[i];

		if (it->tick_id > relay->tick_id && (id == 0 || it->tick_id < id) &&
		    shot_sees(state, present, i) && shot_ended(&it->tick) > shot_ended(&relay->last) &&
		    shot_not_older(&relay->last, &it->tick) && shot_not_older(&it->tick, present))
		{
			id = it->tick_id;
			*end = it->tick;
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

	for (int i = 0; i < protocol_size.writers; i++)
	{
		const Transaction *it = &state->now.transactions[i];
		bool               is_new =
            rule_holds(RULE_IN_PROGRESS) ? !shot_contains(last, it->xid) : it->xid >= last->xmax;

		if (is_new && shot_sees(state, rows, i) && shot_contains(end, it->xid) &&
		    (rule_holds(RULE_ALL_TABLES) || it->table == state->current))
			found |= BIT(i);
	}
	return found;
}

uint8_t
relay_open_window(State *state, const Shot *rows, const Shot *present)
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
		if (found != 0 ? !rule_holds(RULE_CONFIRM_FIRST) : relay->window_count == 0)
			relay->position = end;
	} while (found == 0 && tick_id != 0);
	return found;
}

/* store_open_window(): its snapshot */
static void
look(const State *state, Search *search)
{
	State next = *state;

	next.relay.shot = shot_take(state);
	if (shot_same(&next.relay.shot, &state->relay.last))
		return; /* nothing has ended since */
	next.relay.step = LOOKING;
	search_step(search, &next, "the relay takes a snapshot", 0);
}

static bool
has_message(const State *state, uint8_t writers)
{
	for (int i = 0; i < protocol_size.writers; i++)
	{
		if ((writers & BIT(i)) && state->writers[i].message)
			return true;
	}
	return false;
}

/* Its rows, its end. */
static void
gather_step(const State *state, Search *search)
{
	State next = *state;
	Shot  present = rule_holds(RULE_ONE_SNAPSHOT) ? state->relay.shot : shot_take(state);

	next.relay.unsent = relay_open_window(&next, &state->relay.shot, &present);
	next.relay.shot = (Shot){0};
	next.relay.step = IDLE;
	if (has_message(&next, next.relay.unsent) && rule_holds(RULE_FENCE))
		next.relay.step = FENCING;
	search_step(search, &next,
	            next.relay.unsent != 0 ? "the relay opens a window" : "the relay finds nothing", 0);
}

/* XLogFlush() at the end of store_open_window() */
static void
fence(const State *state, Search *search)
{
	State next = *state;

	state_flush(&next);
	next.relay.step = IDLE;
	search_step(search, &next, "the relay flushes WAL", 0);
}

static bool
comes_before(const State *state, int writer, int other)
{
	const Transaction *one = &state->now.transactions[writer];
	const Transaction *two = &state->now.transactions[other];

	return rule_holds(RULE_ORDER_BY_ID) ? one->id < two->id : one->xid < two->xid;
}

/* In the order of ids: of the events that wait, the first. */
static int
first_of(const State *state, uint8_t writers)
{
	int first = 0;

	while ((writers & BIT(first)) == 0)
		first++;
	for (int i = first + 1; i < protocol_size.writers; i++)
	{
		if ((writers & BIT(i)) != 0 && comes_before(state, i, first))
			first = i;
	}
	return first;
}

/* store_park(): an asynchronous commit */
static void
copy_refused(State *state)
{
	state->now.parked |= state->relay.refused;
	state->relay.refused = 0;
}

static void
park(const State *state, int writer, Search *search)
{
	State next = *state;

	next.relay.unsent &= ~BIT(writer);
	next.relay.refused |= BIT(writer);
	if (rule_holds(RULE_PARK_FIRST))
		copy_refused(&next);
	search_step(search, &next, "the broker refuses writer %d's event, which is parked", writer);
}

static void
park_late(const State *state, Search *search)
{
	State next = *state;

	copy_refused(&next);
	search_step(search, &next, "the relay copies what was refused", 0);
}

/* The next event of the newest window. On its way and taken is one step: the publisher, which sends
 * again what is lost, has a simulation of its own. There is but one destination: while an event is
 * parked those behind it are, too. */
static void
send_event(const State *state, Search *search)
{
	State next = *state;
	int   first = first_of(state, state->relay.unsent);

	if (protocol_size.parks)
		park(state, first, search);
	if (state->now.parked != 0 || state->relay.refused != 0)
		return;
	next.relay.unsent &= ~BIT(first);
	next.gone |= state->now.transactions[first].table == NO_TABLE;
	accept(&next, first);
	search_step(search, &next, "the broker is sent writer %d's event", first);
}

/* parked_settle(): sent, and deleted by an asynchronous commit */
static void
try_parked(const State *state, Search *search)
{
	State next = *state;
	int   first = first_of(state, state->now.parked);

	next.now.parked &= ~BIT(first);
	accept(&next, first);
	search_step(search, &next, "the broker takes writer %d's parked event", first);
}

/* store_confirmed(), of the oldest window */
static void
confirm(const State *state, Search *search)
{
	State  next = *state;
	Relay *relay = &next.relay;

	if (rule_holds(RULE_CONFIRM_FIRST))
		relay->position = relay->windows[0];
	memmove(relay->windows, relay->windows + 1, sizeof(relay->windows) - sizeof(relay->windows[0]));
	relay->windows[--relay->window_count] = (Shot){0};
	search_step(search, &next, "the broker confirms the oldest window", 0);
}

/* store_save_position(): an asynchronous commit. Only the relay reads and writes these rows, so
 * that its steps in between cannot be seen. */
static void
save(const State *state, Search *search)
{
	State next = *state;
	Shot  newest = state_saved(state);

	if (shot_same(&newest, &state->relay.position))
		return;
	relay_write_position(&next);
	search_step(search, &next, "the relay saves its position", 0);
}

/* store_write_position(). Its id is of no interest but for being the greatest. */
void
relay_write_position(State *state)
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
	if (relay->refused != 0)
		park_late(state, search);
	if (state->now.parked != 0)
		try_parked(state, search);
	save(state, search);
	if (protocol_size.rotates)
		rotation_begin(state, search);
}

void
relay_steps(const State *state, Search *search)
{
	const Relay *relay = &state->relay;

	switch ((RelayStep) relay->step)
	{
	case DOWN:
		if (state_is_installed(state))
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
	case LOCKED:
	case TESTED:
		rotation_go_on(state, search);
		break;
	}
}
