/*
 * rotation.c
 *    Another current table, and emptying the others: relay/rotate.c.
 */
#include "model/state.h"

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

/* store_table_has_unpublished(), with a snapshot of its own */
static bool
has_unpublished(const State *state, int table)
{
	const Relay *relay = &state->relay;
	const Shot  *done = rule_holds(RULE_TEST_CONFIRMED) ? &relay->position : &relay->last;
	Shot         fresh = shot_take(state);

	for (int i = 0; i < protocol_size.writers; i++)
	{
		const Transaction *transaction = &state->now.transactions[i];

		if (transaction->table == table && shot_sees(state, &fresh, i) &&
		    !shot_contains(done, transaction->xid))
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
	if (!state_table_is_held(state, table))
		search_step(search, &next, "the relay locks table %d", table);
	else if (!rule_holds(RULE_LOCK_IF_FREE))
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

	if (rule_holds(RULE_POSITION_MOVES))
		relay_write_position(&next);
	for (int i = 0; i < protocol_size.writers; i++)
	{
		if (next.now.transactions[i].table == table)
			next.now.transactions[i].table = NO_TABLE;
	}
	next.now.saved_age[table] = 0;
	next.now.saved[table] = (Shot){0};
	next.now.used &= ~BIT(table);
	next.relay.step = IDLE;
	next.relay.emptied = 0;
	state_flush(&next);
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

void
rotation_begin(const State *state, Search *search)
{
	switch_table(state, search);
	for (int table = 0; table < TABLES; table++)
	{
		if (table == state->current || (state->now.used & BIT(table)) == 0)
			continue;
		if (rule_holds(RULE_LOCK_FIRST))
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

void
rotation_go_on(const State *state, Search *search)
{
	int table = state->relay.emptied;

	if (state->relay.step == QUEUEING)
		lock_table(state, table, search);
	else if (state->relay.step == LOCKED)
		finish_emptying(state, !has_unpublished(state, table), search);
	else
		finish_emptying(state, !state_table_is_held(state, table), search);
}
