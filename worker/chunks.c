/*
 * chunks.c
 *    See chunks.h. The table for merging is open addressing with linear probing. What it says of a chunk
 *    that was taken is stale, which its number tells; all that is stale goes when the table is half full, so
 *    it is as small as what waits.
 */
#include "worker/chunks.h"

#include "wire/plain.h"
#include "worker/resp.h"

#include <stdlib.h>
#include <string.h>

#define MERGE_FIRST_SLOTS 1024
#define MERGE_KEEP_SLOTS 32768 /* a larger table is given back once empty */
#define VERB "$6\r\nUNLINK\r\n"
#define HEAD_BYTES                                                                                 \
	(RESP_NUMBER_BYTES + sizeof(VERB) - 1) /* kept free for one command's beginning */
#define ONE_KEY "*2\r\n" VERB
#define ASK_ONE_KEY "*1\r\n$6\r\nASKING\r\n" ONE_KEY

struct MergeSlot
{
	Chunk   *chunk; /* NULL: empty; stale: it may be another one by now */
	uint64_t seq;   /* of it */
	uint32_t hash;
	uint32_t index; /* of the key in its chunk */
};

Chunk *
chunk_get(ChunkQueue *queue)
{
	Chunk *chunk = queue->spare;

	if (chunk == NULL)
		chunk = calloc(1, sizeof(Chunk));
	else
	{
		queue->spare = chunk->next;
		queue->spare_count--;
	}
	if (chunk == NULL)
		return NULL;
	chunk->next = NULL;
	chunk->seq = 0;
	chunk->form = queue->form;
	chunk->hops = 0;
	chunk->count = 0;
	chunk->bytes.size = 0;
	return chunk;
}

static void
chunk_free(Chunk *chunk)
{
	mq_buffer_free(&chunk->bytes);
	waiters_free(&chunk->waiters);
	free(chunk);
}

/* Keeps a few, without the buffer of a giant key. */
void
chunk_release(ChunkQueue *queue, Chunk *chunk)
{
	if (chunk == NULL)
		return;
	waiters_forget(&chunk->waiters);
	if (queue->spare_count >= CHUNKS_MAX_SPARE || chunk->bytes.capacity > 2 * CHUNK_BYTES)
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
	return chunk->count == 0 ||
	       (chunk->count < CHUNK_KEYS && chunk->bytes.size + size <= CHUNK_BYTES);
}

/* What stands before the first key, or before each. */
static bool
begin_key(Chunk *chunk)
{
	switch (chunk->form)
	{
	case CHUNK_SINGLY:
		return mq_buffer_append(&chunk->bytes, ONE_KEY, sizeof(ONE_KEY) - 1) == MQ_OK;
	case CHUNK_ASKING:
		return mq_buffer_append(&chunk->bytes, ASK_ONE_KEY, sizeof(ASK_ONE_KEY) - 1) == MQ_OK;
	case CHUNK_TOGETHER:
		break;
	}
	if (chunk->count > 0)
		return true;
	if (mq_buffer_reserve(&chunk->bytes, HEAD_BYTES) != MQ_OK)
		return false;
	chunk->bytes.size = HEAD_BYTES;
	return true;
}

bool
chunk_append(Chunk *chunk, MqBytes prefix, MqBytes key)
{
	size_t before = chunk->bytes.size;

	if (!begin_key(chunk) || !resp_append_word(&chunk->bytes, prefix, key))
	{
		chunk->bytes.size = before;
		return false;
	}
	chunk->keys[chunk->count].end = (uint32_t) (chunk->bytes.size - 2); /* CR LF */
	chunk->keys[chunk->count].size = (uint32_t) (prefix.size + key.size);
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
chunk_commands(Chunk *chunk)
{
	char   number[RESP_NUMBER_BYTES];
	size_t number_size;
	char  *verb;

	if (chunk->form != CHUNK_TOGETHER)
		return mq_bytes(chunk->bytes.data, chunk->bytes.size);
	number_size = resp_number(number, '*', chunk->count + 1);
	verb = chunk->bytes.data + HEAD_BYTES - (sizeof(VERB) - 1);
	memcpy(verb, VERB, sizeof(VERB) - 1);
	memcpy(verb - number_size, number, number_size);
	return mq_bytes(verb - number_size,
	                (size_t) (chunk->bytes.data + chunk->bytes.size - (verb - number_size)));
}

size_t
chunk_answers(const Chunk *chunk)
{
	switch (chunk->form)
	{
	case CHUNK_TOGETHER:
		break;
	case CHUNK_SINGLY:
		return chunk->count;
	case CHUNK_ASKING:
		return 2 * chunk->count;
	}
	return 1;
}

size_t
chunk_key_of_answer(const Chunk *chunk, size_t answer)
{
	return chunk->form == CHUNK_ASKING ? answer / 2 : answer;
}

bool
chunk_answer_is_asking(const Chunk *chunk, size_t answer)
{
	return chunk->form == CHUNK_ASKING && answer % 2 == 0;
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

static bool
is_stale(const ChunkQueue *queue, const MergeSlot *slot)
{
	return slot->seq <= queue->taken_seq;
}

/* Key `index` of a chunk that waits: in the place of a stale one, or of none. */
static void
table_insert(ChunkQueue *queue, Chunk *chunk, size_t index)
{
	uint32_t   hash = chunk->keys[index].hash;
	size_t     i = hash & (queue->slot_count - 1);
	MergeSlot *slot = &queue->slots[i];

	while (slot->chunk != NULL && !is_stale(queue, slot))
	{
		i = (i + 1) & (queue->slot_count - 1);
		slot = &queue->slots[i];
	}
	queue->slots_used += slot->chunk == NULL;
	slot->chunk = chunk;
	slot->seq = chunk->seq;
	slot->hash = hash;
	slot->index = (uint32_t) index;
}

static void
table_free(ChunkQueue *queue)
{
	free(queue->slots);
	queue->slots = NULL;
	queue->slot_count = queue->slots_used = 0;
}

/* Whatever waits and was never taken, into an empty table. */
static void
table_fill(ChunkQueue *queue)
{
	for (Chunk *chunk = queue->list.head; chunk != NULL; chunk = chunk->next)
		for (size_t i = 0; chunk->seq > queue->taken_seq && i < chunk->count; i++)
			table_insert(queue, chunk, i);
}

/* Makes room for one more: at most half of the slots are used. What is stale goes then, and the table
 * becomes twice as large if a quarter waits. */
static bool
table_reserve(ChunkQueue *queue)
{
	size_t count = queue->slot_count == 0 ? MERGE_FIRST_SLOTS : 2 * queue->slot_count;

	if (queue->slots_used < queue->slot_count / 2)
		return true;
	if (queue->mergeable >= queue->slot_count / 4)
	{
		MergeSlot *slots = calloc(count, sizeof(MergeSlot));

		if (slots == NULL)
			return false;
		free(queue->slots);
		queue->slots = slots;
		queue->slot_count = count;
	}
	else
		memset(queue->slots, 0, queue->slot_count * sizeof(MergeSlot));
	queue->slots_used = 0;
	table_fill(queue);
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

	for (; queue->slots[i].chunk != NULL; i = (i + 1) & (queue->slot_count - 1))
		if (queue->slots[i].hash == hash && !is_stale(queue, &queue->slots[i]) &&
		    is_same_key(&queue->slots[i], prefix, key))
			return &queue->slots[i];
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
chunks_add(ChunkQueue *queue, MqBytes prefix, MqBytes key, Chunk **out)
{
	uint32_t         hash = mq_hash(key, (uint64_t) (uintptr_t) queue);
	const MergeSlot *found;
	Chunk           *chunk;
	size_t           before;

	if (!table_reserve(queue))
		return CHUNK_NOMEM;
	found = table_find(queue, hash, prefix, key);
	if (found != NULL)
	{
		*out = found->chunk;
		return CHUNK_MERGED;
	}
	chunk = open_chunk(queue, prefix.size + key.size);
	if (chunk == NULL)
		return CHUNK_NOMEM;
	before = chunk_held_bytes(chunk);
	if (!chunk_append(chunk, prefix, key))
		return CHUNK_NOMEM;
	chunk->keys[chunk->count - 1].hash = hash;
	table_insert(queue, chunk, chunk->count - 1);
	queue->mergeable++;
	queue->held_bytes += chunk_held_bytes(chunk) - before;
	*out = chunk;
	return CHUNK_ADDED;
}

Chunk *
chunks_add_moved(ChunkQueue *queue, ChunkForm form, int hops, MqBytes key)
{
	Chunk *chunk = queue->list.head;
	size_t before;

	if (chunk == NULL || chunk->seq != 0 || chunk->form != form || chunk->hops != hops ||
	    !chunk_has_room(chunk, key.size))
	{
		chunk = chunk_get(queue);
		if (chunk == NULL)
			return NULL;
		chunk->form = form;
		chunk->hops = hops;
		chunk_list_prepend(&queue->list, chunk);
	}
	before = chunk_held_bytes(chunk);
	if (!chunk_append(chunk, mq_bytes(NULL, 0), key))
		return NULL;
	queue->held_bytes += chunk_held_bytes(chunk) - before;
	return chunk;
}

Chunk *
chunks_take(ChunkQueue *queue)
{
	Chunk *chunk = chunk_list_take(&queue->list);

	if (chunk == NULL)
		return NULL;
	if (chunk->seq > queue->taken_seq)
	{
		queue->taken_seq = chunk->seq;
		queue->mergeable -= chunk->count;
		if (queue->mergeable == 0 && queue->slot_count > MERGE_KEEP_SLOTS)
			table_free(queue);
	}
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
	table_free(queue);
	memset(queue, 0, sizeof(*queue));
}
