/*
 * sentinel.h
 *    The Sentinels of one group: all of them are asked, twice a second, who the master is.
 *
 * All, not one after another: which of two answers is the newer one shows only if both are there, and
 * a Sentinel that hangs costs nothing. Two commands each time: SENTINEL GET-MASTER-ADDR-BY-NAME knows a
 * fail-over soonest; SENTINEL MASTER tells the epoch of that answer, how many replicas there are and how
 * long a fail-over may take. A Sentinel that refuses the second is believed last (see claims.h).
 *
 * No subscription to +switch-master: it would save a quarter of a second, on a connection that has to be
 * watched all the same.
 */
#ifndef WORKER_SENTINEL_H
#define WORKER_SENTINEL_H

#include "wire/tls.h"
#include "wire/url.h"
#include "worker/claims.h"

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SENTINEL_ASK_US ((int64_t) 500000)
#define SENTINEL_HURRY_US ((int64_t) 200000)        /* while there is no master */
#define SENTINEL_FIRST_ROUND_US ((int64_t) 1000000) /* for all to answer, before one is believed */
#define SENTINEL_DOWN_AFTER_US ((int64_t) 30000000) /* where none tells it: its default */

typedef struct Sentinel Sentinel;

/* url: of kind REDIS_SENTINEL, copied. certificates: for TLS, borrowed. NULL: out of memory. */
Sentinel *sentinel_new(const RedisUrl *url, TlsContext *certificates, uint64_t seed);
void      sentinel_free(Sentinel *sentinel);

/* Connections to come log in so; those that wait try again at once. */
void sentinel_renew(Sentinel *sentinel, const RedisUrl *url, TlsContext *certificates);

/* Moves bytes, asks, takes answers. hurry: there is no master. Returns whether anything happened. */
bool sentinel_step(Sentinel *sentinel, bool hurry, int64_t now_us);

/* What they say. NULL: not all have answered yet. */
Claims *sentinel_claims(Sentinel *sentinel);

/* Is one of those they name chosen? */
bool sentinel_has_master(const Sentinel *sentinel);

/* Why they name no master: what is wrong with each. */
void sentinel_describe_problem(const Sentinel *sentinel, char *out, size_t size);

/* "host:port" of one. */
void sentinel_describe(const Sentinel *sentinel, int who, char *out, size_t size);

/* How many replicas the master has, those that are down included; 0: nobody said. */
int sentinel_replicas(const Sentinel *sentinel);

/* After what silence a master is taken for dead. */
int64_t sentinel_down_after_us(const Sentinel *sentinel);

size_t  sentinel_poll(const Sentinel *sentinel, struct pollfd *fds, size_t room);
int64_t sentinel_due_us(const Sentinel *sentinel, bool hurry);

#endif
