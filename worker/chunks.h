/*
 * chunks.h
 *    Keys on their way to Redis, gathered into chunks that are sent at once.
 *
 * A chunk holds keys one after another in one buffer, as they will be sent: as the words of one
 * command, or, where each key may live elsewhere, in a command each. The queue merges: a key that already waits
 * in it is not added again. Once a chunk was taken to be sent it merges no more: the key may have
 * been filled again between that deletion and the change that asks for this one.
 */
#ifndef WORKER_CHUNKS_H
#define WORKER_CHUNKS_H

#include "wire/bytes.h"
#include "wire/message.h"
#include "worker/tickets.h"

#include <stdbool.h>
#include <stdint.h>

#define CHUNK_KEYS 128
#define CHUNK_BYTES ((size_t) 64 * 1024)
#define CHUNKS_MAX_SPARE 32
#define CHUNKS_KEY_OVERHEAD 48 /* what a key takes beside its bytes, about */

typedef enum ChunkForm
{
	CHUNK_TOGETHER, /* one UNLINK of all keys */
	CHUNK_SINGLY,   /* an UNLINK each */
	CHUNK_ASKING    /* the same, ASKING before each */
} ChunkForm;

typedef struct Chunk
{
	struct Chunk *next;
	uint64_t      seq; /* 1, 2, ... in the order of the queue; 0: it was never to be merged with */
	int64_t       due_us; /* in a queue of time: not before */
	ChunkForm     form;
	int           hops; /* how often its keys were sent elsewhere */
	Waiters       waiters;
	size_t        count;
	struct
	{
		uint32_t end, size; /* of each key in bytes */
		uint32_t hash;      /* of those that may be merged with */
	} keys[CHUNK_KEYS];
	MqBuffer bytes; /* as it is sent; the beginning of one command is still to be written */
} Chunk;

/* Zeroed is empty. */
typedef struct ChunkList
{
	Chunk *head, *tail;
} ChunkList;

typedef struct MergeSlot MergeSlot;

typedef struct ChunkQueue
{
	ChunkForm  form; /* of its chunks */
	ChunkList  list;
	uint64_t   last_seq;  /* given to the newest chunk */
	uint64_t   taken_seq; /* chunks up to this one were taken once */
	size_t     held_bytes;
	MergeSlot *slots; /* where a waiting key is */
	size_t     slot_count, slots_used;
	size_t     mergeable; /* keys that wait, and were never taken */
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

/* prefix and key are joined. *chunk: the one that will delete it. */
ChunkAdded chunks_add(ChunkQueue *queue, MqBytes prefix, MqBytes key, Chunk **chunk);

/* Adds a key that was sent elsewhere in vain: at the front, not to be merged with, in a chunk of this form
 * and number of hops. NULL: out of memory. */
Chunk *chunks_add_moved(ChunkQueue *queue, ChunkForm form, int hops, MqBytes key);

/* Takes the first chunk out; NULL: the queue is empty. */
Chunk *chunks_take(ChunkQueue *queue);

/* Puts a taken chunk to the front, since it has to be sent again. */
void chunks_put_back(ChunkQueue *queue, Chunk *chunk);

/* Drops everything that waits. */
void chunks_clear(ChunkQueue *queue);

/* An empty chunk of the queue's form, outside of it; NULL: out of memory. */
Chunk *chunk_get(ChunkQueue *queue);
void   chunk_release(ChunkQueue *queue, Chunk *chunk);

/* Is there room for a key of this size? An empty chunk takes any. */
bool chunk_has_room(const Chunk *chunk, size_t size);
bool chunk_append(Chunk *chunk, MqBytes prefix, MqBytes key);

void   chunk_list_append(ChunkList *list, Chunk *chunk);
void   chunk_list_prepend(ChunkList *list, Chunk *chunk);
Chunk *chunk_list_take(ChunkList *list);                       /* the first one; NULL: none */
void   chunk_list_release(ChunkList *list, ChunkQueue *queue); /* all of them */

MqBytes chunk_key(const Chunk *chunk, size_t i);

/* What is to be sent, borrowed, and how many answers that will have. */
MqBytes chunk_commands(Chunk *chunk);
size_t  chunk_answers(const Chunk *chunk);

/* Which key the answer of this number is about. */
size_t chunk_key_of_answer(const Chunk *chunk, size_t answer);

/* Is that the answer to ASKING, before that to UNLINK? */
bool chunk_answer_is_asking(const Chunk *chunk, size_t answer);

/* Memory that it takes. */
size_t chunk_size(const Chunk *chunk);

#endif
