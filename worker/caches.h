/*
 * caches.h
 *    Several caches as one: a message is done once all of them have deleted its keys.
 *
 * The same calls as cache.h, for --redis-url given again. With one cache it adds nothing but a call. With
 * several each has its own connections, windows and queues: one that is away keeps its keys, and the others go
 * on with the messages that are here, while these wait for their acknowledgement. More come only as far as the
 * broker's prefetch goes: caches that must not wait for each other need a queue and a worker each.
 *
 * Tickets are numbered here, since each cache is done with them in an order of its own.
 */
#ifndef WORKER_CACHES_H
#define WORKER_CACHES_H

#include "worker/cache.h"

#define CACHES_MAX MQ_MAX_URLS

typedef struct Caches Caches;

/* options: as for one; its url is not looked at. NULL: out of memory. */
Caches *caches_new(const CacheOptions *options, const RedisUrl *urls, int count);
void    caches_free(Caches *caches);
void    caches_renew(Caches *caches, const RedisUrl *urls, TlsContext *certificates);

bool caches_add_key(Caches *caches, MqBytes key);
bool caches_add_pattern(Caches *caches, MqBytes pattern);
bool caches_close_ticket(Caches *caches, TagRef ref);

bool caches_step(Caches *caches, int64_t now_us);
bool caches_next_done(Caches *caches, TagRef *ref);
void caches_send(Caches *caches, int64_t now_us);
void caches_forget(Caches *caches);
void caches_hurry(Caches *caches);

/* Of those that work: those that do not are not waited for. */
bool caches_has_second(const Caches *caches);

/* CACHE_PARTLY: one is away. */
CacheHealth caches_health(const Caches *caches);

/* Of the first one that has a problem, with its name in front where there are several. */
const char *caches_problem(Caches *caches);
const char *caches_scan_problem(Caches *caches);

/* Of the one that holds most. */
size_t caches_waiting_bytes(const Caches *caches);

/* All of them, separated by commas. */
const char *caches_name(Caches *caches);

/* Their sums. Valid until the next call. */
const DeletionCounters *caches_counters(Caches *caches);

size_t  caches_poll(const Caches *caches, struct pollfd *fds, size_t room);
int64_t caches_due_us(const Caches *caches);

#endif
