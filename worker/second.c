/*
 * second.c
 *    See second.h.
 */
#include "worker/second.h"

static size_t
chunk_bytes(const Chunk *chunk)
{
	return sizeof(Chunk) + chunk->bytes.capacity;
}

/* Into the newest chunk of the queue, where that is of the same moment and has room for all. */
static bool
join_tail(SecondQueue *queue, const Chunk *chunk, int64_t now_us)
{
	Chunk *tail = queue->tail;
	size_t before;
	bool   fine = true;

	if (tail == NULL || now_us + queue->delay_us > tail->due_us ||
	    tail->count + chunk->count > DELETION_CHUNK_KEYS ||
	    tail->bytes.size + chunk->bytes.size > DELETION_CHUNK_BYTES)
		return false;
	before = chunk_bytes(tail);
	for (size_t i = 0; fine && i < chunk->count; i++)
		fine = chunk_append(tail, mq_bytes(NULL, 0), chunk_key(chunk, i));
	queue->held_bytes += chunk_bytes(tail) - before;
	return fine;
}

void
second_add(SecondQueue *queue, ChunkQueue *spare, Chunk *chunk, int64_t now_us)
{
	if (queue->delay_us == 0 || join_tail(queue, chunk, now_us))
	{
		chunk_release(spare, chunk);
		return;
	}
	/* A little late for the first key that joins it, never early for the last. */
	chunk->due_us = now_us + queue->delay_us + SECOND_JOIN_US;
	chunk->next = NULL;
	if (queue->tail == NULL)
		queue->head = chunk;
	else
		queue->tail->next = chunk;
	queue->tail = chunk;
	queue->held_bytes += chunk_bytes(chunk);
}

static bool
is_due(const SecondQueue *queue, int64_t now_us)
{
	return queue->head != NULL && (queue->hurried || queue->held_bytes > SECOND_MAX_BYTES ||
	                               now_us >= queue->head->due_us);
}

Chunk *
second_take(SecondQueue *queue, int64_t now_us)
{
	Chunk *chunk = queue->head;

	if (!is_due(queue, now_us))
		return NULL;
	queue->head = chunk->next;
	if (queue->head == NULL)
		queue->tail = NULL;
	chunk->next = NULL;
	queue->held_bytes -= chunk_bytes(chunk);
	return chunk;
}

void
second_put_back(SecondQueue *queue, Chunk *chunk)
{
	chunk->next = queue->head;
	queue->head = chunk;
	if (queue->tail == NULL)
		queue->tail = chunk;
	queue->held_bytes += chunk_bytes(chunk);
}

int64_t
second_due_us(const SecondQueue *queue)
{
	if (queue->head == NULL)
		return INT64_MAX;
	return is_due(queue, INT64_MIN) ? INT64_MIN : queue->head->due_us;
}

void
second_free(SecondQueue *queue, ChunkQueue *spare)
{
	Chunk *chunk;

	queue->hurried = true;
	while ((chunk = second_take(queue, INT64_MAX)) != NULL)
		chunk_release(spare, chunk);
}
