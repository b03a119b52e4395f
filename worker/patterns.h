/*
 * patterns.h
 *    Glob patterns that wait for their scan, in order; equal ones that wait are one.
 *
 * A pattern whose scan has begun merges no more: keys written behind the cursor would be missed.
 */
#ifndef WORKER_PATTERNS_H
#define WORKER_PATTERNS_H

#include "wire/bytes.h"
#include "worker/tickets.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATTERNS_BUCKETS 1024

typedef struct Pattern
{
	struct Pattern *next;      /* in order */
	struct Pattern *same_hash; /* in its bucket */
	uint32_t        hash;
	Waiters         waiters;
	MqBytes         bytes; /* prefix and all; behind the struct */
} Pattern;

typedef struct PatternQueue
{
	Pattern *head, *tail;
	bool     begun; /* the head's scan */
	size_t   held_bytes;
	char    *prefix;                    /* glob characters escaped */
	Pattern *buckets[PATTERNS_BUCKETS]; /* those that wait and are not begun */
} PatternQueue;

/* key_prefix: glob characters in it are escaped. false: out of memory. */
bool patterns_init(PatternQueue *queue, const char *key_prefix);
void patterns_free(PatternQueue *queue);

/* Returns the pattern that covers it, the same one or a new one; NULL: out of memory. */
Pattern *patterns_add(PatternQueue *queue, MqBytes pattern);

/* NULL: none waits. */
Pattern *patterns_head(const PatternQueue *queue);

/* The head's scan begins (again). */
void patterns_begin(PatternQueue *queue);
void patterns_remove_head(PatternQueue *queue);
void patterns_clear(PatternQueue *queue);

#endif
