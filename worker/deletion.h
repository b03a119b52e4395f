/*
 * deletion.h
 *    Deletes keys: the only module that knows how. Today by UNLINK, patterns by SCAN.
 *
 * Keys of all messages that have arrived are merged into chunks; a key that waits already is not sent
 * twice. Chunks are pipelined, a bounded number of them at a time. Patterns are scanned one after
 * another in bounded steps, between which exact keys go on; what a step finds is deleted before the
 * next step.
 *
 * There is one node, or, with an output that knows each key's owner, many: then every key is a command
 * of its own, and one that is sent elsewhere (MOVED, ASK) goes there, and its messages wait for it
 * there. A message is done once all chunks that hold its keys, and its patterns, are answered by
 * whoever owns them (tickets.h).
 *
 * A pattern is scanned on every node that is said to take part, in rounds: with several nodes their
 * owner allows each round to begin, and says whether it has seen every key (deletion_wants_survey).
 *
 * Knows neither sockets nor states of a connection: commands go out through DeletionOutput, replies
 * are handed in. The owner says when a connection was lost: everything in flight there is then sent
 * again, and a scan begins anew, since a cursor belongs to one connection.
 *
 * Memory: the keys that wait (deletion_waiting_bytes, bounded by the owner), the chunks in flight,
 * what waits for its second deletion (second.h), and what may have to be deleted again (recent.h).
 */
#ifndef WORKER_DELETION_H
#define WORKER_DELETION_H

#include "wire/bytes.h"
#include "wire/error.h"
#include "worker/histogram.h"
#include "worker/tags.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redisReply; /* hiredis */
struct Role;

#define DELETION_WINDOW 32       /* chunks and questions in flight, for each node */
#define DELETION_SECOND_WINDOW 8 /* of them for second deletions */
#define DELETION_AGAIN_WINDOW 8  /* and for those to be done again */
#define DELETION_MAX_NODES 500
#define DELETION_MAX_HOPS 8 /* a key that is sent elsewhere so often goes in circles */
#define DELETION_NODE 0     /* the only one; of many: where keys wait that have no owner yet */
#define DELETION_NO_NODE (-1)

typedef enum DeletionVerdict
{
	DELETION_DONE,    /* as hoped */
	DELETION_PASSING, /* an error that may pass by itself: READONLY, LOADING, unknown ones */
	DELETION_SETTINGS /* an error that waits for somebody: NOPERM, NOAUTH, a cluster's MOVED */
} DeletionVerdict;

/* Where commands go. */
typedef struct DeletionOutput
{
	void *send_context;

	/* So many whole commands, in Redis' protocol. MQ_OK: appended; MQ_FULL: later; anything else: the
	 * connection is lost, its owner will say so. */
	MqResult (*send)(void *send_context, int node, MqBytes commands, size_t count);

	/* Whose key is this, its prefix included? DELETION_NO_NODE: not known. NULL: there is one node. */
	int (*owner)(void *send_context, MqBytes key);

	/* An error of this node: does it send us elsewhere? The node to go to, *asking: with ASKING;
	 * DELETION_NO_NODE: it does not. */
	int (*redirected)(void *send_context, int node, MqBytes error, bool *asking);

	/* The answer to deletion_ask. Anything but DELETION_DONE: as deletion_reply. */
	DeletionVerdict (*answered)(void *send_context, int node, uint64_t question,
	                            const struct redisReply *reply, char *error);

	void *context;
	void (*deleted)(void *context, MqBytes key); /* told of each answered key; NULL: is not */
} DeletionOutput;

typedef struct DeletionCounters
{
	uint64_t  keys_sent;    /* after merging, keys found by scans included */
	uint64_t  keys_deleted; /* those that existed */
	uint64_t  keys_merged;  /* not sent, since they waited already */
	uint64_t  keys_moved;   /* sent to another node than at first */
	uint64_t  patterns;     /* scanned to the end */
	uint64_t  keys_again;   /* sent a second time */
	Histogram round_trip;   /* of each chunk or step: sent to answered */

	/* forgotten before every replica had their deletion */
	uint64_t keys_unkept, patterns_unkept;
} DeletionCounters;

typedef struct Deletion Deletion;

/* key_prefix: put before every key and, glob characters escaped, before every pattern; copied.
 * second_delete_us: each key is deleted again so much later; 0: once is enough. DELETION_NODE is
 * there from the start. NULL: out of memory. */
Deletion *deletion_new(DeletionOutput output, const char *key_prefix, int64_t second_delete_us);
void      deletion_free(Deletion *deletion);

/* Another node. scanned: it takes part in the rounds that begin from now on. DELETION_NO_NODE: too
 * many, or out of memory. */
int  deletion_add_node(Deletion *deletion);
void deletion_node_is_scanned(Deletion *deletion, int node, bool scanned);

/* The node is gone, and nobody's owner: what waits and is in flight there goes to the owners. false: out
 * of memory, it is still there. */
bool deletion_remove_node(Deletion *deletion, int node);

/* Owners have changed: what waits goes to the new ones. false: out of memory, some of it still waits
 * where it was. */
bool deletion_reroute(Deletion *deletion);

/* The keys and patterns of one message: add them, then close the ticket with the message's name.
 * Bytes are copied. false: out of memory; the ticket must then not be closed (what was added is
 * deleted all the same, which harms no one). */
bool deletion_add_key(Deletion *deletion, MqBytes key);
bool deletion_add_pattern(Deletion *deletion, MqBytes pattern);
bool deletion_close_ticket(Deletion *deletion,
                           TagRef    ref); /* without any: Redis is asked whether it is there */

/* Sends what the window of this node allows. now_us: for the pause after a refused SCAN. */
void deletion_send(Deletion *deletion, int node, int64_t now_us);

/* Asks this node something in between. MQ_OK: output.answered will be called, unless the connection is
 * lost; MQ_FULL: later; anything else: it is lost. */
MqResult deletion_ask(Deletion *deletion, int node, MqBytes command, uint64_t question,
                      int64_t now_us);

/* The next reply of this node. Anything but DELETION_DONE: Redis refused to delete, *error
 * (512 bytes) holds its words; the owner drops the connection and calls deletion_lost. From then
 * on only the refused command is sent there, until it is answered well: deletion_is_troubled. */
DeletionVerdict deletion_reply(Deletion *deletion, int node, const struct redisReply *reply,
                               int64_t now_us, char *error);

/* What was answered and may not have reached every replica is deleted again after the connection was
 * lost (recent.h), by whoever owns it then: what is younger than keep_us, and not below what replicas
 * are said to have. */
void deletion_keep_recent(Deletion *deletion, int64_t keep_us);
void deletion_replicas(Deletion *deletion, int node, const struct Role *role, bool replicated,
                       int64_t now_us);

/* Is anything kept of this node? */
bool deletion_keeps_recent(const Deletion *deletion, int node);

/* Was anything deleted that has to be deleted again, or is that under way? */
bool deletion_has_again(const Deletion *deletion);

/* What waits for its second deletion is due now: the worker stops. */
void deletion_hurry(Deletion *deletion);

/* Does a key wait for its second deletion, or for the answer to it? */
bool deletion_has_second(const Deletion *deletion);

/* The connection to this node is gone: nothing of what is in flight there counts. */
void deletion_lost(Deletion *deletion, int node);

/* Forgets every ticket, and everything that is not in flight. Second deletions stay. */
void deletion_forget(Deletion *deletion);

/* The next message whose keys are all deleted; false: none. */
bool deletion_next_done(Deletion *deletion, TagRef *ref);

/* With several nodes. true: a pattern waits for the first round, or for the judgement of one:
 * begin (or repeat) a round, or the pattern is done. */
bool deletion_wants_survey(const Deletion *deletion);
bool deletion_round_is_over(const Deletion *deletion); /* it waits for judgement */
void deletion_begin_round(Deletion *deletion);
void deletion_end_pattern(Deletion *deletion);

/* A node that takes part went: the round is void. */
void deletion_break_round(Deletion *deletion);

/* The node answers, but does not delete. */
bool deletion_is_troubled(const Deletion *deletion, int node);

/* Why patterns do not go on; empty: they do. Redis refused the last SCAN; it is tried again. */
const char *deletion_scan_problem(const Deletion *deletion);

/* When deletion_send has something to do again by itself (INT64_MAX: never). */
int64_t deletion_due_us(const Deletion *deletion, int node);

/* Bytes of keys and patterns held, bookkeeping included. */
size_t deletion_waiting_bytes(const Deletion *deletion);

/* Chunks and questions in flight. */
size_t deletion_in_flight(const Deletion *deletion, int node);

const DeletionCounters *deletion_counters(const Deletion *deletion);

#endif
