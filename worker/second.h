/*
 * second.h
 *    Keys that were deleted and are to be deleted once more after a constant delay: a reader of a
 *    lagging replica may have filled the cache again from the old row (--second-delete).
 *
 * A queue in order of time, since the delay is constant. Holds whole chunks, those that were
 * answered; small ones of one moment are joined. Best effort: what does not fit into max_bytes is
 * due earlier, oldest first; a crash loses it.
 */
#ifndef WORKER_SECOND_H
#define WORKER_SECOND_H

#include "worker/chunks.h"

#include <stdbool.h>
#include <stdint.h>

#define SECOND_MAX_BYTES ((size_t) 8 * 1024 * 1024)
#define SECOND_JOIN_US ((int64_t) 50000) /* a key may wait so much longer than the delay */

typedef struct SecondQueue
{
	int64_t   delay_us; /* 0: off, nothing is taken */
	size_t    max_bytes;
	bool      hurried; /* no waiting any more */
	ChunkList list;
	size_t    held_bytes;
} SecondQueue;

/* Takes a chunk over that was answered now, or gives it back to spare at once. */
void second_add(SecondQueue *queue, ChunkQueue *spare, Chunk *chunk, int64_t now_us);

/* The next chunk that is due, taken out; NULL: none. */
Chunk *second_take(SecondQueue *queue, int64_t now_us);

/* It has to be sent again. */
void second_put_back(SecondQueue *queue, Chunk *chunk);

/* INT64_MAX: nothing waits. */
int64_t second_due_us(const SecondQueue *queue);

void second_free(SecondQueue *queue, ChunkQueue *spare);

#endif
