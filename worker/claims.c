/*
 * claims.c
 *    See claims.h.
 */
#include "worker/claims.h"

#include <stdio.h>
#include <string.h>

static bool
same_master(const RedisHost *a, const RedisHost *b)
{
	return a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* What is held against an address in an epoch holds whoever names it. */
static void
inherit_refutation(Claims *claims, Claim *claim)
{
	for (int i = 0; i < claims->count; i++)
	{
		const Claim *other = &claims->claims[i];

		if (other != claim && other->state > CLAIM_OPEN && other->epoch == claim->epoch &&
		    same_master(&other->master, &claim->master))
		{
			claim->state = other->state;
			claim->refuted_us = other->refuted_us;
		}
	}
}

void
claims_say(Claims *claims, int who, const char *host, uint16_t port, int64_t epoch, int64_t now_us)
{
	Claim *claim = &claims->claims[who];
	Claim  said = {.state = CLAIM_OPEN, .master = {.port = port}, .epoch = epoch};

	snprintf(said.master.host, sizeof(said.master.host), "%s", host);
	if (claim->state == CLAIM_NONE || claim->epoch != epoch ||
	    !same_master(&claim->master, &said.master))
	{
		*claim = said;
		inherit_refutation(claims, claim);
	}
	claim->said_us = now_us;
}

void
claims_withdraw(Claims *claims, int who)
{
	claims->claims[who].state = CLAIM_NONE;
}

static bool
is_fresh(const Claim *claim, int64_t now_us)
{
	return claim->state != CLAIM_NONE && now_us < claim->said_us + CLAIM_FRESH_US;
}

/* The latest epoch of which a claim is not known to be false. false: all are, or there is none. */
static bool
latest_epoch(const Claims *claims, int64_t now_us, int64_t *epoch)
{
	bool found = false;

	for (int i = 0; i < claims->count; i++)
	{
		const Claim *claim = &claims->claims[i];

		if (!is_fresh(claim, now_us) || claim->state == CLAIM_FALSE ||
		    (found && claim->epoch <= *epoch))
			continue;
		*epoch = claim->epoch;
		found = true;
	}
	return found;
}

static int
count_votes(const Claims *claims, const Claim *claim, int64_t now_us)
{
	int votes = 0;

	for (int i = 0; i < claims->count; i++)
		if (is_fresh(&claims->claims[i], now_us) && claims->claims[i].epoch == claim->epoch &&
		    same_master(&claims->claims[i].master, &claim->master))
			votes++;
	return votes;
}

/* Of one epoch: open before refuted, those refuted long ago first, then by votes. */
static bool
is_better(const Claims *claims, const Claim *claim, const Claim *best, int64_t now_us)
{
	bool open = claim->state == CLAIM_OPEN;

	if (best == NULL)
		return true;
	if (open != (best->state == CLAIM_OPEN))
		return open;
	if (!open && claim->refuted_us != best->refuted_us)
		return claim->refuted_us < best->refuted_us;
	return count_votes(claims, claim, now_us) > count_votes(claims, best, now_us);
}

bool
claims_choose(Claims *claims, int64_t now_us, bool *hopeful)
{
	const Claim *best = NULL;
	int64_t      epoch = CLAIM_NO_EPOCH;
	bool         all_false = !latest_epoch(claims, now_us, &epoch);

	for (int i = 0; i < claims->count; i++)
	{
		const Claim *claim = &claims->claims[i];

		if (is_fresh(claim, now_us) &&
		    (all_false || (claim->epoch == epoch && claim->state != CLAIM_FALSE)) &&
		    is_better(claims, claim, best, now_us))
			best = claim;
	}
	claims->chosen = best != NULL;
	if (best == NULL)
		return false;
	claims->master = best->master;
	claims->epoch = best->epoch;
	*hopeful = best->state == CLAIM_OPEN;
	return true;
}

bool
claims_is_outdated(Claims *claims, int64_t now_us)
{
	int64_t epoch = CLAIM_NO_EPOCH;

	if (!claims->chosen || !latest_epoch(claims, now_us, &epoch) || epoch < claims->epoch)
		return false;
	for (int i = 0; i < claims->count; i++)
	{
		const Claim *claim = &claims->claims[i];

		if (is_fresh(claim, now_us) && claim->epoch == epoch &&
		    same_master(&claim->master, &claims->master))
		{
			claims->epoch = epoch;
			return false;
		}
	}
	return true;
}

static void
mark_chosen(Claims *claims, ClaimState state, int64_t now_us)
{
	for (int i = 0; i < claims->count; i++)
	{
		Claim *claim = &claims->claims[i];

		if (claim->state == CLAIM_NONE || claim->epoch != claims->epoch ||
		    !same_master(&claim->master, &claims->master))
			continue;
		claim->state = state;
		claim->refuted_us = now_us;
	}
}

void
claims_refute(Claims *claims, ClaimState state, int64_t now_us)
{
	if (claims->chosen)
		mark_chosen(claims, state, now_us);
	claims->chosen = false;
}

void
claims_confirm(Claims *claims)
{
	mark_chosen(claims, CLAIM_OPEN, 0);
}

void
claims_leave(Claims *claims)
{
	claims->chosen = false;
}

int
claims_who_says(const Claims *claims)
{
	for (int i = 0; i < claims->count; i++)
		if (claims->claims[i].state != CLAIM_NONE &&
		    same_master(&claims->claims[i].master, &claims->master))
			return i;
	return -1;
}
