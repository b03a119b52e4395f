/*
 * chunks.c
 *    See chunks.h. The table for merging is open addressing with linear probing; what was taken
 *    goes stale by its chunk's number instead of being removed, and falls out when the table is
 *    made anew.
 */
#include "worker/chunks.h"

#include <stdlib.h>
#include <string.h>

#define MERGE_FIRST_SLOTS 1024

struct MergeSlot
{
	uint64_t seq; /* of the chunk; 0: empty */
	Chunk   *chunk;
	uint32_t index;
	uint32_t hash;
};

Chunk *
chunk_get(ChunkQueue *queue)
{
	Chunk *chunk = queue->spare;

	if (chunk == NULL)
		return calloc(1, sizeof(Chunk));
	queue->spare = chunk->next;
	queue->spare_count--;
	chunk->next = NULL;
	chunk->count = 0;
	chunk->bytes.size = 0;
	return chunk;
}

static void
chunk_free(Chunk *chunk)
{
	mq_buffer_free(&chunk->bytes);
	free(chunk);
}

/* Keeps a few, without the buffer of a giant key. */
void
chunk_release(ChunkQueue *queue, Chunk *chunk)
{
	if (chunk == NULL)
		return;
	if (queue->spare_count >= CHUNKS_MAX_SPARE ||
		chunk->bytes.capacity > 2 * DELETION_CHUNK_BYTES)
	{
		chunk_free(chunk);
		return;
	}
	chunk->next = queue->spare;
	queue->spare = chunk;
	queue->spare_count++;
}

bool
chunk_has_room(const Chunk *chunk, size_t size)
{
	return chunk->count == 0 || (chunk->count < DELETION_CHUNK_KEYS &&
								 chunk->bytes.size + size <= DELETION_CHUNK_BYTES);
}

bool
chunk_append(Chunk *chunk, MqBytes prefix, MqBytes key)
{
	if (mq_buffer_reserve(&chunk->bytes, prefix.size + key.size) != MQ_OK ||
		mq_buffer_append(&chunk->bytes, prefix.data, prefix.size) != MQ_OK ||
		mq_buffer_append(&chunk->bytes, key.data, key.size) != MQ_OK)
		return false;
	chunk->end[chunk->count++] = chunk->bytes.size;
	return true;
}

MqBytes
chunk_key(const Chunk *chunk, size_t i)
{
	size_t begin = i == 0 ? 0 : chunk->end[i - 1];

	return mq_bytes(chunk->bytes.data + begin, chunk->end[i] - begin);
}

static size_t
chunk_held_bytes(const Chunk *chunk)
{
	return chunk->bytes.size + chunk->count * CHUNKS_KEY_OVERHEAD;
}

/* FNV-1a, with the address of the table as salt: who publishes cannot choose where keys land. */
static uint32_t
key_hash(const ChunkQueue *queue, MqBytes key)
{
	uint64_t hash = 14695981039346656037ULL ^ (uint64_t) (uintptr_t) queue;

	for (size_t i = 0; i < key.size; i++)
		hash = (hash ^ (unsigned char) key.data[i]) * 1099511628211ULL;
	return (uint32_t) (hash ^ (hash >> 32));
}

static void
table_insert(ChunkQueue *queue, MergeSlot slot)
{
	size_t i = slot.hash & (queue->slot_count - 1);

	while (queue->slots[i].seq != 0)
		i = (i + 1) & (queue->slot_count - 1);
	queue->slots[i] = slot;
	queue->slots_used++;
}

/* Makes the table anew with what is alive; it shrinks too. */
static bool
table_rebuild(ChunkQueue *queue)
{
	MergeSlot *old = queue->slots;
	size_t     old_count = queue->slot_count;
	size_t     live = 0;
	size_t     size = MERGE_FIRST_SLOTS;
	MergeSlot *slots;

	for (size_t i = 0; i < old_count; i++)
		live += old[i].seq > queue->taken_seq;
	while (size < 4 * live)
		size *= 2;
	slots = calloc(size, sizeof(MergeSlot));
	if (slots == NULL)
		return false;
	queue->slots = slots;
	queue->slot_count = size;
	queue->slots_used = 0;
	for (size_t i = 0; i < old_count; i++)
		if (old[i].seq > queue->taken_seq)
			table_insert(queue, old[i]);
	free(old);
	return true;
}

static bool
is_same_key(const MergeSlot *slot, MqBytes prefix, MqBytes key)
{
	MqBytes stored = chunk_key(slot->chunk, slot->index);

	return stored.size == prefix.size + key.size &&
		   memcmp(stored.data + prefix.size, key.data, key.size) == 0;
}

static const MergeSlot *
table_find(const ChunkQueue *queue, uint32_t hash, MqBytes prefix, MqBytes key)
{
	size_t i = hash & (queue->slot_count - 1);

	for (; queue->slots[i].seq != 0; i = (i + 1) & (queue->slot_count - 1))
	{
		const MergeSlot *slot = &queue->slots[i];

		if (slot->hash == hash && slot->seq > queue->taken_seq && is_same_key(slot, prefix, key))
			return slot;
	}
	return NULL;
}

/* The chunk to append to: the last, if it was never taken and has room. */
static Chunk *
open_chunk(ChunkQueue *queue, size_t size)
{
	Chunk *chunk = queue->tail;

	if (chunk != NULL && chunk->seq > queue->taken_seq && chunk_has_room(chunk, size))
		return chunk;
	chunk = chunk_get(queue);
	if (chunk == NULL)
		return NULL;
	chunk->seq = ++queue->last_seq;
	if (queue->tail == NULL)
		queue->head = chunk;
	else
		queue->tail->next = chunk;
	queue->tail = chunk;
	return chunk;
}

ChunkAdded
chunks_add(ChunkQueue *queue, MqBytes prefix, MqBytes key, uint64_t *seq)
{
	uint32_t         hash = key_hash(queue, key);
	const MergeSlot *found;
	Chunk           *chunk;

	if (queue->slots_used * 4 >= queue->slot_count * 3 && !table_rebuild(queue))
		return CHUNK_NOMEM;
	found = table_find(queue, hash, prefix, key);
	if (found != NULL)
	{
		*seq = found->seq;
		return CHUNK_MERGED;
	}
	chunk = open_chunk(queue, prefix.size + key.size);
	if (chunk == NULL || !chunk_append(chunk, prefix, key))
		return CHUNK_NOMEM;
	table_insert(queue, (MergeSlot){chunk->seq, chunk, (uint32_t) (chunk->count - 1), hash});
	queue->held_bytes += prefix.size + key.size + CHUNKS_KEY_OVERHEAD;
	*seq = chunk->seq;
	return CHUNK_ADDED;
}

Chunk *
chunks_take(ChunkQueue *queue)
{
	Chunk *chunk = queue->head;

	if (chunk == NULL)
		return NULL;
	queue->head = chunk->next;
	if (queue->head == NULL)
		queue->tail = NULL;
	chunk->next = NULL;
	if (chunk->seq > queue->taken_seq)
		queue->taken_seq = chunk->seq;
	queue->held_bytes -= chunk_held_bytes(chunk);
	return chunk;
}

void
chunks_put_back(ChunkQueue *queue, Chunk *chunk)
{
	chunk->next = queue->head;
	queue->head = chunk;
	if (queue->tail == NULL)
		queue->tail = chunk;
	queue->held_bytes += chunk_held_bytes(chunk);
}

void
chunks_clear(ChunkQueue *queue)
{
	Chunk *chunk;

	while ((chunk = chunks_take(queue)) != NULL)
		chunk_release(queue, chunk);
}

void
chunks_free(ChunkQueue *queue)
{
	chunks_clear(queue);
	while (queue->spare != NULL)
	{
		Chunk *chunk = queue->spare;

		queue->spare = chunk->next;
		chunk_free(chunk);
	}
	free(queue->slots);
	memset(queue, 0, sizeof(*queue));
}
