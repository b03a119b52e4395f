/*
 * state.c
 *    What all of them share: see state.h.
 */
#include "model/state.h"

#include "relay/window.h"

Size     protocol_size;
unsigned protocol_without;

bool
rule_holds(Rule rule)
{
	return (protocol_without & BIT(rule)) == 0;
}

/* ---- snapshots ------------------------------------------------------------------------------- */

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

bool
shot_contains(const Shot *shot, int xid)
{
	uint64_t xids[XIDS_MAX];
	Position position = position_of(shot, xids);

	return position_contains(&position, (uint64_t) xid);
}

uint64_t
shot_ended(const Shot *shot)
{
	uint64_t xids[XIDS_MAX];
	Position position = position_of(shot, xids);

	return position_ended(&position);
}

bool
shot_not_older(const Shot *earlier, const Shot *later)
{
	uint64_t earlier_xids[XIDS_MAX], later_xids[XIDS_MAX];
	Position earlier_position = position_of(earlier, earlier_xids);
	Position later_position = position_of(later, later_xids);

	return position_not_older(&earlier_position, &later_position);
}

Shot
shot_take(const State *state)
{
	Shot shot = {.xmax = state->newest_xid + 1};

	for (int i = 0; i < protocol_size.writers; i++)
	{
		int xid = state->now.transactions[i].xid;

		if (xid != 0 && xid < shot.xmax && state->writers[i].step < SEEN)
			shot.open |= BIT(xid);
	}
	return shot;
}

Shot
shot_to_write(const State *state, int writer)
{
	int  mine = state->now.transactions[writer].xid;
	Shot shot = shot_take(state);

	if (mine >= shot.xmax && !rule_holds(RULE_XMAX_STAYS))
	{
		shot.xmax = mine + 1;
		shot.open |= BIT(mine);
	}
	if (mine < shot.xmax && !rule_holds(RULE_OWN_XID))
		shot.open &= ~BIT(mine);
	return shot;
}

bool
shot_sees(const State *state, const Shot *shot, int writer)
{
	const Transaction *transaction = &state->now.transactions[writer];

	return transaction->table != NO_TABLE && transaction->status == COMMITTED &&
	       shot_contains(shot, transaction->xid);
}

bool
shot_same(const Shot *one, const Shot *other)
{
	return one->xmax == other->xmax && one->open == other->open;
}

/* ---- questions and changes ------------------------------------------------------------------- */

void
state_flush(State *state)
{
	if (state->crashes > 0)
		state->disk = state->now;
}

void
state_end_transaction(State *state, int writer)
{
	int xid = state->now.transactions[writer].xid;

	if (xid > state->newest_xid)
		state->newest_xid = xid;
}

static bool
writer_holds(const State *state, int writer, int table)
{
	const Writer *it = &state->writers[writer];

	if (it->table != table || it->step < WRITTEN || it->step == ENDED)
		return false;
	return it->step == WRITTEN || rule_holds(RULE_KEEP_LOCK);
}

bool
state_table_is_held(const State *state, int table)
{
	for (int i = 0; i < protocol_size.writers; i++)
	{
		if (writer_holds(state, i, table))
			return true;
	}
	return false;
}

bool
state_table_is_barred(const State *state, int table)
{
	return (state->relay.step == LOCKED || state->relay.step == QUEUEING) &&
	       state->relay.emptied == table;
}

bool
state_is_installed(const State *state)
{
	return !protocol_size.installs ||
	       (state->writers[0].step >= SEEN && state->now.transactions[0].status == COMMITTED);
}

Shot
state_saved(const State *state)
{
	Shot nothing = {.xmax = 1};
	int  newest = 0;

	for (int table = 1; table < TABLES; table++)
	{
		if (state->now.saved_age[table] > state->now.saved_age[newest])
			newest = table;
	}
	return state->now.saved_age[newest] == 0 ? nothing : state->now.saved[newest];
}
