/*
 * cache.h
 *    One cache, wherever its keys live: what the worker deletes from, and the connections to it.
 *
 * The worker hands in the keys of messages and gets the messages back whose keys are gone; where a
 * key lives, and which connections that takes, is known here alone:
 *
 *     redis://           one connection
 *     redis+sentinel://  one connection, to the master that Sentinel names
 *     redis+cluster://   a connection to each master
 *
 * A message is done only once the owner of each of its keys has answered. What was sent and not
 * answered before a connection was lost is sent again, to whoever owns the key then.
 *
 * Pulled, like everything below worker.c: cache_step takes what has come, cache_next_done says what
 * is done with, cache_send lets go what may go, cache_poll and cache_due_us say what to wait for.
 */
#ifndef WORKER_CACHE_H
#define WORKER_CACHE_H

#include "wire/bytes.h"
#include "wire/tls.h"
#include "wire/url.h"
#include "worker/deletion.h"
#include "worker/tags.h"

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CACHE_MAX_FDS 512
#define CACHE_PROBLEM_BYTES 512

typedef struct Cache Cache;

typedef enum CacheHealth
{
	CACHE_AWAY,   /* nothing can be deleted */
	CACHE_PARTLY, /* some keys cannot be */
	CACHE_WORKS
} CacheHealth;

typedef struct CacheOptions
{
	const RedisUrl *url;              /* copied */
	TlsContext     *certificates;     /* for TLS, borrowed */
	const char     *key_prefix;       /* see deletion.h */
	int64_t         second_delete_us; /* 0: off */
	uint64_t        seed;             /* see backoff.h */

	void *context;
	void (*deleted)(void *context, MqBytes key); /* told of each answered key; NULL: is not */
} CacheOptions;

/* Begins to connect at the first step. NULL: out of memory. */
Cache *cache_new(const CacheOptions *options);
void   cache_free(Cache *cache);

/* Connections to come log in with the passwords of this URL and use these certificates; those that
 * wait try again at once. */
void cache_renew(Cache *cache, const RedisUrl *url, TlsContext *certificates);

/* The keys and patterns of one message: add them, then close the ticket with the message's name.
 * Bytes are copied. false: out of memory; the ticket must then not be closed. */
bool cache_add_key(Cache *cache, MqBytes key);
bool cache_add_pattern(Cache *cache, MqBytes pattern);
bool cache_close_ticket(Cache *cache, TagRef ref);

/* Moves bytes and takes answers. Returns whether anything happened. */
bool cache_step(Cache *cache, int64_t now_us);

/* The next message whose keys are all deleted; false: none. */
bool cache_next_done(Cache *cache, TagRef *ref);

/* Sends what the windows allow. */
void cache_send(Cache *cache, int64_t now_us);

/* Forgets every message: the broker will send them again. Second deletions stay. */
void cache_forget(Cache *cache);

/* The worker stops: what waits for its second deletion is due now. */
void cache_hurry(Cache *cache);

/* Does a key wait to be deleted once more, or for the answer to that? */
bool cache_has_second(const Cache *cache);

CacheHealth cache_health(const Cache *cache);

/* Why it does not work, or not wholly; empty: it does, or nothing was tried yet. No password. */
const char *cache_problem(const Cache *cache);

/* Why patterns do not go on; empty: they do. */
const char *cache_scan_problem(const Cache *cache);

/* Bytes of keys and patterns held, bookkeeping included. */
size_t cache_waiting_bytes(const Cache *cache);

/* "host:port/db" and the like, for logs. */
const char *cache_name(const Cache *cache);

const DeletionCounters *cache_counters(const Cache *cache);

/* Adds what to wait for, at most room entries. Returns how many were added. */
size_t cache_poll(const Cache *cache, struct pollfd *fds, size_t room);

/* When to call cache_step at the latest. */
int64_t cache_due_us(const Cache *cache);

#endif
