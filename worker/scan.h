/*
 * scan.h
 *    One iteration over the keys of one server, step by step: SCAN with a cursor, and what it found.
 *
 * A cursor belongs to its connection: when that is gone the iteration begins anew. Refused (an ACL
 * without SCAN, say), it is tried again after a pause, from the start.
 */
#ifndef WORKER_SCAN_H
#define WORKER_SCAN_H

#include "wire/backoff.h"
#include "worker/chunks.h"

#include <stdbool.h>
#include <stdint.h>

#define SCAN_COUNT "500"     /* slots of the keyspace looked at in one step */
#define SCAN_CURSOR_BYTES 24 /* 64 bits in decimal */
#define SCAN_PROBLEM_BYTES 512

struct redisReply; /* hiredis */

typedef struct Scan
{
	char      cursor[SCAN_CURSOR_BYTES];
	MqBuffer  command; /* of a step */
	bool      step_in_flight;
	bool      at_end; /* the cursor is back at 0 */
	ChunkList found;  /* to be deleted */
	int64_t   due_us; /* not before; 0: at once */
	Backoff   pause;
	char      problem[SCAN_PROBLEM_BYTES]; /* why it does not go on; empty: it does */
} Scan;

void scan_init(Scan *scan, uint64_t seed);
void scan_free(Scan *scan, ChunkQueue *spare);

/* The next step's command, borrowed; data NULL: out of memory. */
MqBytes scan_command(Scan *scan, MqBytes pattern);

/* The answer to it; what was found is in found then. false: it was refused. */
bool scan_answered(Scan *scan, ChunkQueue *spare, const struct redisReply *reply, int64_t now_us);

/* From the start again: the next step may be on another connection. */
void scan_restart(Scan *scan, ChunkQueue *spare);

/* It works, as far as is known. */
void scan_forgive(Scan *scan);

#endif
