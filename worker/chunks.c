/*
 * chunks.c
 *    See chunks.h. The table for merging is open addressing with linear probing; what was taken
 *    goes stale by its chunk's number instead of being removed, and is written over, or falls out when
 *    the table is made anew.
 */
#include "worker/chunks.h"

#include "worker/resp.h"

#include <stdlib.h>
#include <string.h>

#define MERGE_FIRST_SLOTS 1024
#define VERB "$6\r\nUNLINK\r\n"
#define HEAD_BYTES (RESP_NUMBER_BYTES + sizeof(VERB) - 1) /* kept free for the command's beginning */

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

void
chunk_list_append(ChunkList *list, Chunk *chunk)
{
	chunk->next = NULL;
	if (list->tail == NULL)
		list->head = chunk;
	else
		list->tail->next = chunk;
	list->tail = chunk;
}

void
chunk_list_prepend(ChunkList *list, Chunk *chunk)
{
	chunk->next = list->head;
	list->head = chunk;
	if (list->tail == NULL)
		list->tail = chunk;
}

Chunk *
chunk_list_take(ChunkList *list)
{
	Chunk *chunk = list->head;

	if (chunk == NULL)
		return NULL;
	list->head = chunk->next;
	if (list->head == NULL)
		list->tail = NULL;
	chunk->next = NULL;
	return chunk;
}

void
chunk_list_release(ChunkList *list, ChunkQueue *queue)
{
	Chunk *chunk;

	while ((chunk = chunk_list_take(list)) != NULL)
		chunk_release(queue, chunk);
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
	if (chunk->count == 0)
	{
		if (mq_buffer_reserve(&chunk->bytes, HEAD_BYTES) != MQ_OK)
			return false;
		chunk->bytes.size = HEAD_BYTES;
	}
	if (!resp_append_word(&chunk->bytes, prefix, key))
		return false;
	chunk->keys[chunk->count].end = chunk->bytes.size - 2; /* CR LF */
	chunk->keys[chunk->count].size = prefix.size + key.size;
	chunk->count++;
	return true;
}

MqBytes
chunk_key(const Chunk *chunk, size_t i)
{
	size_t size = chunk->keys[i].size;

	return mq_bytes(chunk->bytes.data + chunk->keys[i].end - size, size);
}

MqBytes
chunk_unlink(Chunk *chunk)
{
	char   number[RESP_NUMBER_BYTES];
	size_t number_size = resp_number(number, '*', chunk->count + 1);
	char  *verb = chunk->bytes.data + HEAD_BYTES - (sizeof(VERB) - 1);

	memcpy(verb, VERB, sizeof(VERB) - 1);
	memcpy(verb - number_size, number, number_size);
	return mq_bytes(verb - number_size,
					(size_t) (chunk->bytes.data + chunk->bytes.size - (verb - number_size)));
}

size_t
chunk_size(const Chunk *chunk)
{
	return sizeof(Chunk) + chunk->bytes.capacity;
}

static size_t
chunk_held_bytes(const Chunk *chunk)
{
	return chunk->count == 0 ? 0 : chunk->bytes.size + chunk->count * CHUNKS_KEY_OVERHEAD;
}

/* Eight bytes at a time; with the address of the table as salt: who publishes cannot choose where keys
 * land. */
static uint32_t
key_hash(const ChunkQueue *queue, MqBytes key)
{
	uint64_t hash = (uint64_t) (uintptr_t) queue ^ (uint64_t) key.size;

	for (size_t i = 0; i < key.size; i += sizeof(uint64_t))
	{
		size_t   left = key.size - i;
		uint64_t word = 0;

		memcpy(&word, key.data + i, left < sizeof(word) ? left : sizeof(word));
		hash = (hash ^ word) * 0x9E3779B97F4A7C15ULL; /* 2^64 by the golden ratio */
		hash ^= hash >> 32;
	}
	return (uint32_t) hash;
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

/* Where the key is; or NULL, and *free_slot is where it may go: over one that went stale, so that
 * they do not pile up between here and there. */
static const MergeSlot *
table_find(const ChunkQueue *queue, uint32_t hash, MqBytes prefix, MqBytes key,
		   MergeSlot **free_slot)
{
	size_t i = hash & (queue->slot_count - 1);

	*free_slot = NULL;
	for (; queue->slots[i].seq != 0; i = (i + 1) & (queue->slot_count - 1))
	{
		MergeSlot *slot = &queue->slots[i];

		if (slot->seq <= queue->taken_seq)
			*free_slot = *free_slot == NULL ? slot : *free_slot;
		else if (slot->hash == hash && is_same_key(slot, prefix, key))
			return slot;
	}
	if (*free_slot == NULL)
		*free_slot = &queue->slots[i];
	return NULL;
}

/* The chunk to append to: the last, if it was never taken and has room. */
static Chunk *
open_chunk(ChunkQueue *queue, size_t size)
{
	Chunk *chunk = queue->list.tail;

	if (chunk != NULL && chunk->seq > queue->taken_seq && chunk_has_room(chunk, size))
		return chunk;
	chunk = chunk_get(queue);
	if (chunk == NULL)
		return NULL;
	chunk->seq = ++queue->last_seq;
	chunk_list_append(&queue->list, chunk);
	return chunk;
}

ChunkAdded
chunks_add(ChunkQueue *queue, MqBytes prefix, MqBytes key, uint64_t *seq)
{
	uint32_t         hash = key_hash(queue, key);
	const MergeSlot *found;
	MergeSlot       *free_slot;
	Chunk           *chunk;
	size_t           before;

	if (queue->slots_used * 2 >= queue->slot_count && !table_rebuild(queue))
		return CHUNK_NOMEM;
	found = table_find(queue, hash, prefix, key, &free_slot);
	if (found != NULL)
	{
		*seq = found->seq;
		return CHUNK_MERGED;
	}
	chunk = open_chunk(queue, prefix.size + key.size);
	if (chunk == NULL)
		return CHUNK_NOMEM;
	before = chunk_held_bytes(chunk);
	if (!chunk_append(chunk, prefix, key))
		return CHUNK_NOMEM;
	queue->slots_used += free_slot->seq == 0;
	*free_slot = (MergeSlot){chunk->seq, chunk, (uint32_t) (chunk->count - 1), hash};
	queue->held_bytes += chunk_held_bytes(chunk) - before;
	*seq = chunk->seq;
	return CHUNK_ADDED;
}

Chunk *
chunks_take(ChunkQueue *queue)
{
	Chunk *chunk = chunk_list_take(&queue->list);

	if (chunk == NULL)
		return NULL;
	if (chunk->seq > queue->taken_seq)
		queue->taken_seq = chunk->seq;
	queue->held_bytes -= chunk_held_bytes(chunk);
	return chunk;
}

void
chunks_put_back(ChunkQueue *queue, Chunk *chunk)
{
	chunk_list_prepend(&queue->list, chunk);
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
