/*
 * cluster.h
 *    A Redis Cluster: who owns which slot, and a connection to each owner.
 *
 * Asks some node for the map (CLUSTER SLOTS): at first one of the URL's, later any that answers; again
 * whenever something speaks against the map: a MOVED, a lost connection, a refusal. MOVED changes the map at
 * once, ASK only sends one key elsewhere.
 *
 * What a node answers counts only while it is confirmed: since we connected to it, another node has
 * named it as an owner. A master that was stopped while its replica took over answers for a moment as
 * if nothing had happened; its connection was lost meanwhile, or its answers are too late (2 s).
 *
 * A pattern is scanned on all masters at once, and again until nothing can have slipped through: keys
 * move between nodes while we look. Before and after each round every master tells which slots it owns
 * and which are moving (CLUSTER NODES). Enough is one round in which nothing moved, or two in a row in
 * which no slot moved twice: a key that left its old node before we came there, for a node where we had
 * been already, is there during the whole second round.
 *
 * Redis replicates asynchronously: a deletion that a master answered and its replica had not heard of is
 * undone when that replica takes over. So what a master has answered is kept until its replicas say that they
 * have it (ROLE, once a second), and deleted again by whoever owns it after the connection was lost.
 */
#ifndef WORKER_CLUSTER_H
#define WORKER_CLUSTER_H

#include "wire/tls.h"
#include "wire/url.h"
#include "worker/cache.h"
#include "worker/deletion.h"

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Cluster Cluster;

/* url: copied. certificates: for TLS, borrowed. NULL: out of memory. */
Cluster *cluster_new(const RedisUrl *url, TlsContext *certificates, uint64_t seed);
void     cluster_free(Cluster *cluster);

/* Fills in what deletion_new needs of a cluster's output. */
void cluster_output(Cluster *cluster, DeletionOutput *output);

/* What it serves; borrowed. To be called once, before the first step. */
void cluster_serve(Cluster *cluster, Deletion *deletion);

/* As of cache.h. */
void        cluster_renew(Cluster *cluster, const RedisUrl *url, TlsContext *certificates);
const char *cluster_name(const Cluster *cluster);
bool        cluster_step(Cluster *cluster, int64_t now_us);
void        cluster_send(Cluster *cluster, int64_t now_us);
CacheHealth cluster_health(const Cluster *cluster);
const char *cluster_problem(const Cluster *cluster);
const char *cluster_scan_problem(const Cluster *cluster);
size_t      cluster_poll(const Cluster *cluster, struct pollfd *fds, size_t room);
int64_t     cluster_due_us(const Cluster *cluster);

#endif
