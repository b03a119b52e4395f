/*
 * reconnect.h
 *    When to try the broker again, and at which address.
 *
 * Addresses are tried in turn without a pause; after a whole round, or when the only one failed,
 * comes a pause: 0.1 s doubling to 5 s, since a broker that restarts is back soon, and up to 30 s
 * once it is away for more than a minute. Where the broker answered and said no (password, vhost,
 * permission) somebody has to act: 1 s doubling to 30 s.
 */
#ifndef WORKER_RECONNECT_H
#define WORKER_RECONNECT_H

#include "wire/backoff.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct Reconnect
{
	int     address_count;
	int     address; /* of the next try */
	int     failed;  /* addresses of this round */
	int64_t due_us;
	int64_t away_since_us; /* 0: it is not known to be away */
	Backoff pause;
	Backoff refused_pause;
} Reconnect;

/* The first try is due at once. */
void reconnect_init(Reconnect *reconnect, int address_count, uint64_t seed);

int     reconnect_address(const Reconnect *reconnect);
int64_t reconnect_due_us(const Reconnect *reconnect);

/* A try failed, or the connection was lost. */
void reconnect_failed(Reconnect *reconnect, bool refused, int64_t now_us);

/* The next try is due at once. */
void reconnect_hurry(Reconnect *reconnect);

/* The broker let us in. The pauses stay as they are: it may throw us out at once. */
void reconnect_reached(Reconnect *reconnect);

/* A connection that did its work for so long: after a while the pauses begin anew. */
void reconnect_lasted(Reconnect *reconnect, int64_t duration_us);

/* Does an AMQP reply code mean "no" rather than "not now"? declaring: while a queue was declared,
 * where a queue of another kind is in the way. */
bool reconnect_is_refusal(int reply_code, bool declaring);

/* Is this host this machine, by its name or address? */
bool reconnect_is_local(const char *host);

#endif
