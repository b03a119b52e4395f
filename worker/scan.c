/*
 * scan.c
 *    See scan.h.
 */
#include "worker/scan.h"

#include "worker/refusal.h"
#include "worker/resp.h"

#include <hiredis/hiredis.h>
#include <string.h>

#define FIRST_PAUSE_US ((int64_t) 1000000)
#define LONGEST_PAUSE_US ((int64_t) 30000000)

void
scan_init(Scan *scan, uint64_t seed)
{
	memset(scan, 0, sizeof(*scan));
	strcpy(scan->cursor, "0");
	backoff_init(&scan->pause, FIRST_PAUSE_US, LONGEST_PAUSE_US, seed);
}

void
scan_free(Scan *scan, ChunkQueue *spare)
{
	chunk_list_release(&scan->found, spare);
	mq_buffer_free(&scan->command);
}

MqBytes
scan_command(Scan *scan, MqBytes pattern)
{
	MqBytes words[] = {mq_bytes_of("SCAN"),  mq_bytes_of(scan->cursor),
	                   mq_bytes_of("MATCH"), pattern,
	                   mq_bytes_of("COUNT"), mq_bytes_of(SCAN_COUNT)};

	scan->command.size = 0;
	if (!resp_append_command(&scan->command, words, sizeof(words) / sizeof(words[0])))
		return mq_bytes(NULL, 0);
	return mq_bytes(scan->command.data, scan->command.size);
}

static bool
add_found(Scan *scan, ChunkQueue *spare, MqBytes key)
{
	Chunk *chunk = scan->found.tail;

	if (chunk == NULL || !chunk_has_room(chunk, key.size))
	{
		chunk = chunk_get(spare);
		if (chunk == NULL)
			return false;
		chunk_list_append(&scan->found, chunk);
	}
	return chunk_append(chunk, mq_bytes(NULL, 0), key);
}

void
scan_restart(Scan *scan, ChunkQueue *spare)
{
	chunk_list_release(&scan->found, spare);
	strcpy(scan->cursor, "0");
	scan->at_end = false;
	scan->step_in_flight = false;
}

void
scan_forgive(Scan *scan)
{
	scan->problem[0] = '\0';
	scan->due_us = 0;
}

/* Cursor and keys, as SCAN answers. */
static bool
take_step(Scan *scan, ChunkQueue *spare, const redisReply *reply)
{
	const redisReply *cursor, *keys;

	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
		return false;
	cursor = reply->element[0];
	keys = reply->element[1];
	if (cursor->type != REDIS_REPLY_STRING || cursor->len >= SCAN_CURSOR_BYTES ||
	    keys->type != REDIS_REPLY_ARRAY)
		return false;
	for (size_t i = 0; i < keys->elements; i++)
	{
		const redisReply *key = keys->element[i];

		if (key->type != REDIS_REPLY_STRING ||
		    !add_found(scan, spare, mq_bytes(key->str, key->len)))
			return false;
	}
	memcpy(scan->cursor, cursor->str, cursor->len);
	scan->cursor[cursor->len] = '\0';
	scan->at_end = strcmp(scan->cursor, "0") == 0;
	return true;
}

bool
scan_answered(Scan *scan, ChunkQueue *spare, const redisReply *reply, int64_t now_us)
{
	scan->step_in_flight = false;
	if (take_step(scan, spare, reply))
	{
		scan_forgive(scan);
		backoff_reset(&scan->pause);
		return true;
	}
	refusal_describe(scan->problem, SCAN_PROBLEM_BYTES, reply, "SCAN");
	scan_restart(scan, spare);
	scan->due_us = now_us + backoff_next_us(&scan->pause);
	return false;
}
