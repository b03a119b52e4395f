/*
 * deletion.h
 *    Deletes keys: the only module that knows how. Today by UNLINK, patterns by SCAN.
 *
 * Keys of all messages that have arrived are merged into chunks, one UNLINK each; a key that waits
 * already is not sent twice. Chunks are pipelined, a bounded number of commands at a time.
 * Patterns are scanned one after another in bounded steps, between which exact keys go on; what a
 * step finds is deleted before the next step.
 *
 * A ticket stands for one message. Commands of one connection are answered in order, so a ticket
 * is done once the last chunk that holds one of its keys, and the last pattern of its, have been
 * answered; nothing is counted for each key.
 *
 * Knows neither sockets nor states of a connection: commands go out through DeletionOutput, replies
 * are handed in. The owner says when the connection was lost: everything in flight is then sent
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

#define DELETION_CHUNK_KEYS 128
#define DELETION_CHUNK_BYTES ((size_t) 64 * 1024)
#define DELETION_WINDOW 32      /* commands in flight */
#define DELETION_SECOND_WINDOW 8 /* of them for second deletions */
#define DELETION_AGAIN_WINDOW 8 /* and for those to be done again */
#define DELETION_SCAN_COUNT "500" /* slots of the keyspace looked at in one step */

/* Where commands go. MQ_OK: appended; MQ_FULL: later; anything else: the connection is lost, its
 * owner will say so. */
typedef struct DeletionOutput
{
	void *send_context;
	MqResult (*send)(void *send_context, MqBytes command); /* whole, in Redis' protocol */
	void *context;
	void (*deleted)(void *context, MqBytes key); /* told of each answered key; NULL: is not */
} DeletionOutput;

typedef enum DeletionVerdict
{
	DELETION_DONE,    /* as hoped */
	DELETION_PASSING, /* an error that may pass by itself: READONLY, LOADING, unknown ones */
	DELETION_SETTINGS /* an error that waits for somebody: NOPERM, NOAUTH, a cluster's MOVED */
} DeletionVerdict;

typedef struct DeletionCounters
{
	uint64_t keys_sent;    /* after merging, keys found by scans included */
	uint64_t keys_deleted; /* those that existed */
	uint64_t keys_merged;  /* not sent, since they waited already */
	uint64_t patterns;     /* scanned to the end */
	uint64_t keys_again;   /* sent a second time */
	Histogram round_trip;  /* of each command: sent to answered */
} DeletionCounters;

typedef struct Deletion Deletion;

/* key_prefix: put before every key and, glob characters escaped, before every pattern; copied.
 * second_delete_us: each key is deleted again so much later; 0: once is enough. NULL: out of
 * memory. */
Deletion *deletion_new(DeletionOutput output, const char *key_prefix, int64_t second_delete_us);
void      deletion_free(Deletion *deletion);

/* The keys and patterns of one message: add them, then close the ticket with the message's name.
 * Bytes are copied. false: out of memory; the ticket must then not be closed (what was added is
 * deleted all the same, which harms no one). */
bool deletion_add_key(Deletion *deletion, MqBytes key);
bool deletion_add_pattern(Deletion *deletion, MqBytes pattern);
bool deletion_close_ticket(Deletion *deletion, TagRef ref); /* without any: Redis is asked whether it is there */

/* Sends what the window allows. now_us: for the pause after a refused SCAN. */
void deletion_send(Deletion *deletion, int64_t now_us);

/* The next reply of this connection. Anything but DELETION_DONE: Redis refused to delete, *error
 * (512 bytes) holds its words; the owner drops the connection and calls deletion_lost. From then
 * on only the refused command is sent, until it is answered well: deletion_is_troubled. */
DeletionVerdict deletion_reply(Deletion *deletion, const struct redisReply *reply, int64_t now_us,
							   char *error);

/* What was answered and may not have reached every replica is deleted again after the connection was
 * lost (recent.h): what is younger than keep_us, and not below what replicas are said to have. */
void deletion_keep_recent(Deletion *deletion, int64_t keep_us);
void deletion_replicas(Deletion *deletion, const struct Role *role, bool replicated,
					   int64_t now_us);

/* Was anything deleted that has to be deleted again, or is that under way? */
bool deletion_has_again(const Deletion *deletion);

/* What waits for its second deletion is due now: the worker stops. */
void deletion_hurry(Deletion *deletion);

/* Does a key wait for its second deletion, or for the answer to it? */
bool deletion_has_second(const Deletion *deletion);

/* The connection is gone: nothing of what is in flight counts. */
void deletion_lost(Deletion *deletion);

/* Forgets every ticket, and everything that is not in flight. Second deletions stay. */
void deletion_forget(Deletion *deletion);

/* The next message whose keys are all deleted; false: none. */
bool deletion_next_done(Deletion *deletion, TagRef *ref);

/* Redis answers, but does not delete. */
bool deletion_is_troubled(const Deletion *deletion);

/* Why patterns do not go on; empty: they do. Redis refused the last SCAN; it is tried again. */
const char *deletion_scan_problem(const Deletion *deletion);

/* When deletion_send has something to do again by itself (INT64_MAX: never). */
int64_t deletion_due_us(const Deletion *deletion);

/* Bytes of keys and patterns held, bookkeeping included. */
size_t deletion_waiting_bytes(const Deletion *deletion);

/* Commands in flight. */
size_t deletion_in_flight(const Deletion *deletion);

const DeletionCounters *deletion_counters(const Deletion *deletion);

#endif
