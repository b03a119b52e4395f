/*
 * claims.h
 *    Which master to believe, of what several Sentinels say.
 *
 * The last answer of each Sentinel is its claim: an address, and the configuration epoch it is from.
 * Every fail-over has a greater epoch than those before, so of two claims the greater epoch is the newer
 * one: a Sentinel that was cut off, or restarted from an old file, is outvoted by a single one that
 * knows better. Only among claims of one epoch does it matter how many name an address.
 *
 * Who trusts, tries; what turns out wrong is refuted, and comes last until it changes:
 *
 *   CLAIM_FALSE        that server says itself that it is no master: an older epoch may be right
 *   CLAIM_UNREACHABLE  nothing is known about it. An older epoch is not better: its master may still be
 *                      there, cut off from its replicas, and what is deleted in it is not deleted
 *
 * A master that says it is one, and that we reach, is left for a claim of its own or a later epoch alone,
 * not for an older one. A claim counts for CLAIM_FRESH_US: a Sentinel that went away keeps the others
 * from going back in time for so long.
 *
 * Knows neither sockets nor a clock; nothing is allocated.
 */
#ifndef WORKER_CLAIMS_H
#define WORKER_CLAIMS_H

#include "wire/url.h"

#include <stdbool.h>
#include <stdint.h>

#define CLAIM_FRESH_US ((int64_t) 10000000)
#define CLAIM_NO_EPOCH (-1) /* not told: older than any */

typedef enum ClaimState
{
	CLAIM_NONE, /* it has not answered yet, or does not know that master */
	CLAIM_OPEN,
	CLAIM_FALSE,
	CLAIM_UNREACHABLE
} ClaimState;

typedef struct Claim
{
	ClaimState state;
	RedisHost  master;
	int64_t    epoch;
	int64_t    said_us;
	int64_t    refuted_us; /* when last */
} Claim;

typedef struct Claims
{
	int   count;
	Claim claims[REDIS_MAX_HOSTS];

	bool      chosen; /* tried, or in use */
	RedisHost master;
	int64_t   epoch;
} Claims;

/* Sentinel number `who` names this master. */
void claims_say(Claims *claims, int who, const char *host, uint16_t port, int64_t epoch,
                int64_t now_us);

/* It names none. */
void claims_withdraw(Claims *claims, int who);

/* Chooses the master to try. false: nobody names one. *hopeful: it is not refuted yet. */
bool claims_choose(Claims *claims, int64_t now_us, bool *hopeful);

/* Somebody who knows better names another than the one chosen: leave it and choose again. */
bool claims_is_outdated(Claims *claims, int64_t now_us);

/* What became of trying the chosen one: it is no master, or cannot be used. Nobody is chosen now. */
void claims_refute(Claims *claims, ClaimState state, int64_t now_us);

/* The chosen one proved good, whatever was held against it before. */
void claims_confirm(Claims *claims);

/* Left in peace, to be chosen again. */
void claims_leave(Claims *claims);

/* A Sentinel that names the chosen master; -1: none. */
int claims_who_says(const Claims *claims);

#endif
