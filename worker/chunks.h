/*
 * chunks.h
 *    Keys on their way to Redis, gathered into chunks of one command each.
 *
 * A chunk holds keys one after another in one buffer, as words of the command that it will be. The queue merges: a key that already waits
 * in it is not added again. Once a chunk was taken to be sent it merges no more: the key may have
 * been filled again between that deletion and the change that asks for this one.
 */
#ifndef WORKER_CHUNKS_H
#define WORKER_CHUNKS_H

#include "wire/bytes.h"
#include "wire/message.h"
#include "worker/deletion.h"

#include <stdbool.h>
#include <stdint.h>

#define CHUNKS_MAX_SPARE 32
#define CHUNKS_KEY_OVERHEAD 48 /* what a key takes beside its bytes, about */

typedef struct Chunk
{
	struct Chunk *next;
	uint64_t      seq; /* 1, 2, ... in the order of the queue */
	int64_t       due_us; /* in a queue of time: not before */
	size_t        count;
	struct
	{
		uint32_t end, size; /* of each key in bytes */
		uint32_t hash;      /* of those that may be merged with */
	} keys[DELETION_CHUNK_KEYS];
	MqBuffer bytes; /* a command as it is sent, its beginning still to be written */
} Chunk;

/* Zeroed is empty. */
typedef struct ChunkList
{
	Chunk *head, *tail;
} ChunkList;

typedef struct MergeSlot MergeSlot;

typedef struct ChunkQueue
{
	ChunkList  list;
	uint64_t   last_seq;  /* given to the newest chunk */
	uint64_t   taken_seq; /* chunks up to this one were taken once */
	size_t     held_bytes;
	MergeSlot *slots; /* where a waiting key is */
	size_t     slot_count, slots_used;
	Chunk     *spare;
	size_t     spare_count;
} ChunkQueue;

typedef enum ChunkAdded
{
	CHUNK_ADDED,
	CHUNK_MERGED, /* it waits already */
	CHUNK_NOMEM
} ChunkAdded;

/* Zeroed is empty. */
void chunks_free(ChunkQueue *queue);

/* prefix and key are joined. *seq: the chunk that will delete it. */
ChunkAdded chunks_add(ChunkQueue *queue, MqBytes prefix, MqBytes key, uint64_t *seq);

/* The chunk that is sent last of all, for one who waits for no key of it; where none waits, one without
 * keys. 0: out of memory. */
uint64_t chunks_last(ChunkQueue *queue);

/* Takes the first chunk out; NULL: the queue is empty. */
Chunk *chunks_take(ChunkQueue *queue);

/* Puts a taken chunk back to the front, since it has to be sent again. */
void chunks_put_back(ChunkQueue *queue, Chunk *chunk);

/* Drops everything that waits. */
void chunks_clear(ChunkQueue *queue);

/* An empty chunk of its own, outside of the queue; NULL: out of memory. */
Chunk *chunk_get(ChunkQueue *queue);
void   chunk_release(ChunkQueue *queue, Chunk *chunk);

/* Is there room for a key of this size? An empty chunk takes any. */
bool chunk_has_room(const Chunk *chunk, size_t size);
bool chunk_append(Chunk *chunk, MqBytes prefix, MqBytes key);

void   chunk_list_append(ChunkList *list, Chunk *chunk);
void   chunk_list_prepend(ChunkList *list, Chunk *chunk);
Chunk *chunk_list_take(ChunkList *list); /* the first one; NULL: none */
void   chunk_list_release(ChunkList *list, ChunkQueue *queue); /* all of them */

MqBytes chunk_key(const Chunk *chunk, size_t i);

/* The whole command, borrowed: PING where it has no keys. */
MqBytes chunk_unlink(Chunk *chunk);

/* Memory that it takes. */
size_t chunk_size(const Chunk *chunk);

#endif
