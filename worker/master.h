/*
 * master.h
 *    The connection to the one server whose keys are deleted: that of the URL, or the master that
 *    Sentinel names.
 *
 * Used like a RedisLink, and is one where there is no Sentinel. With Sentinels (sentinel.h) it connects
 * to the master that they name (claims.h decides whom to believe), asks it for its ROLE before anything
 * else, and once a second from then on:
 *
 *     SEEKING -> ASKED -> TRUSTED -> SEEKING
 *
 * A server that is no master, or no longer the one that Sentinels name, is left at once, whatever it would
 * still answer: REDIS_EVENT_LOST. What was not answered is then sent to the next one. How far replicas
 * are comes as REDIS_EVENT_ROLE, in the order of the answers, for recent.h.
 */
#ifndef WORKER_MASTER_H
#define WORKER_MASTER_H

#include "worker/redis.h"

#include <poll.h>
#include <stddef.h>

#define MASTER_ROLE_US ((int64_t) 1000000)
#define MASTER_KEEP_US                                                                             \
	((int64_t) 30000000) /* beyond the silence that means dead: an election takes seconds */

typedef struct Master Master;

/* See redis_link_new. */
Master *master_new(const RedisUrl *url, TlsContext *certificates, uint64_t seed);
void    master_free(Master *master);
void    master_renew(Master *master, const RedisUrl *url, TlsContext *certificates);

/* Returns whether Sentinels had something to say. */
bool     master_step(Master *master, int64_t now_us);
void     master_flush(Master *master, int64_t now_us);
bool     master_next(Master *master, int64_t now_us, RedisEvent *event);
MqResult master_send(Master *master, int64_t now_us, MqBytes commands, size_t count);
void     master_drop(Master *master, bool settings, int64_t now_us);
void     master_worked(Master *master);

/* READY: a master, with ROLE asked. */
bool master_is_ready(const Master *master);

/* "host:port/db" and the like; with Sentinel also of the master that was found last. */
const char *master_name(const Master *master);

size_t  master_poll(const Master *master, struct pollfd *fds, size_t room);
int64_t master_due_us(const Master *master);

#endif
