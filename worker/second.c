/*
 * second.c
 *    See second.h.
 */
#include "worker/second.h"

/* Into the newest chunk of the queue, where that is of the same moment and has room for all. */
static bool
join_tail(SecondQueue *queue, const Chunk *chunk, int64_t now_us)
{
	Chunk *tail = queue->list.tail;
	size_t before;
	bool   fine = true;

	if (tail == NULL || now_us + queue->delay_us > tail->due_us || tail->form != chunk->form ||
	    tail->count + chunk->count > CHUNK_KEYS ||
	    tail->bytes.size + chunk->bytes.size > CHUNK_BYTES)
		return false;
	before = chunk_size(tail);
	for (size_t i = 0; fine && i < chunk->count; i++)
		fine = chunk_append(tail, mq_bytes(NULL, 0), chunk_key(chunk, i));
	queue->held_bytes += chunk_size(tail) - before;
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
	chunk_list_append(&queue->list, chunk);
	queue->held_bytes += chunk_size(chunk);
}

static bool
is_due(const SecondQueue *queue, int64_t now_us)
{
	const Chunk *head = queue->list.head;

	return head != NULL &&
	       (queue->hurried || queue->held_bytes > queue->max_bytes || now_us >= head->due_us);
}

Chunk *
second_take(SecondQueue *queue, int64_t now_us)
{
	Chunk *chunk;

	if (!is_due(queue, now_us))
		return NULL;
	chunk = chunk_list_take(&queue->list);
	queue->held_bytes -= chunk_size(chunk);
	return chunk;
}

void
second_put_back(SecondQueue *queue, Chunk *chunk)
{
	chunk_list_prepend(&queue->list, chunk);
	queue->held_bytes += chunk_size(chunk);
}

int64_t
second_due_us(const SecondQueue *queue)
{
	if (queue->list.head == NULL)
		return INT64_MAX;
	return is_due(queue, INT64_MIN) ? INT64_MIN : queue->list.head->due_us;
}

void
second_free(SecondQueue *queue, ChunkQueue *spare)
{
	chunk_list_release(&queue->list, spare);
	queue->held_bytes = 0;
}
