/*
 * recent.c
 *    See recent.h.
 */
#include "worker/recent.h"

#include <stdlib.h>
#include <string.h>

static RecentMark *
mark_at(Recent *recent, size_t i)
{
	return &recent->marks[(recent->mark_first + i) % RECENT_MARKS];
}

/* ---- forgetting ---- */

static void
forget_chunk(Recent *recent, ChunkQueue *spare)
{
	Chunk *chunk = chunk_list_take(&recent->kept);

	recent->held_bytes -= chunk_size(chunk);
	recent->chunks_gone++;
	chunk_release(spare, chunk);
}

/* The first one; NULL: none. */
static RecentPattern *
take_pattern(Recent *recent, RecentPatterns *list)
{
	RecentPattern *pattern = list->head;

	if (pattern == NULL)
		return NULL;
	list->head = pattern->next;
	if (list->head == NULL)
		list->tail = NULL;
	recent->pattern_bytes -= sizeof(*pattern) + pattern->bytes.size;
	return pattern;
}

static void
append_pattern(Recent *recent, RecentPatterns *list, RecentPattern *pattern)
{
	pattern->next = NULL;
	if (list->tail == NULL)
		list->head = pattern;
	else
		list->tail->next = pattern;
	list->tail = pattern;
	recent->pattern_bytes += sizeof(*pattern) + pattern->bytes.size;
}

static void
forget_pattern(Recent *recent)
{
	free(take_pattern(recent, &recent->kept_patterns));
	recent->patterns_gone++;
}

static void
forget_before(Recent *recent, ChunkQueue *spare, const RecentMark *mark)
{
	while (recent->chunks_gone < mark->chunks && recent->kept.head != NULL)
		forget_chunk(recent, spare);
	while (recent->patterns_gone < mark->patterns && recent->kept_patterns.head != NULL)
		forget_pattern(recent);
}

void
recent_free(Recent *recent, ChunkQueue *spare)
{
	chunk_list_release(&recent->kept, spare);
	chunk_list_release(&recent->again, spare);
	while (recent->kept_patterns.head != NULL)
		forget_pattern(recent);
	while (recent->again_patterns.head != NULL)
		free(recent_take_pattern(recent));
	recent->held_bytes = 0;
}

/* ---- keeping ---- */

/* NULL: out of memory. */
static Chunk *
append_chunk(Recent *recent, ChunkQueue *spare)
{
	Chunk *chunk = chunk_get(spare);

	if (chunk == NULL)
		return NULL;
	chunk_list_append(&recent->kept, chunk);
	recent->held_bytes += chunk_size(chunk);
	recent->chunks_added++;
	recent->tail_closed = false;
	return chunk;
}

/* Under load chunks are full: one copy for all of its keys. */
static void
add_whole(Recent *recent, ChunkQueue *spare, const Chunk *chunk)
{
	Chunk *copy = append_chunk(recent, spare);
	size_t before;

	if (copy == NULL)
		return;
	before = chunk_size(copy);
	if (mq_buffer_append(&copy->bytes, chunk->bytes.data, chunk->bytes.size) != MQ_OK)
		return;
	copy->count = chunk->count;
	memcpy(copy->keys, chunk->keys, chunk->count * sizeof(chunk->keys[0]));
	recent->held_bytes += chunk_size(copy) - before;
}

/* Small ones of one second share a chunk. */
static void
add_keys(Recent *recent, ChunkQueue *spare, const Chunk *chunk)
{
	for (size_t i = 0; i < chunk->count; i++)
	{
		MqBytes key = chunk_key(chunk, i);
		Chunk  *tail = recent->kept.tail;
		size_t  before;

		if (tail == NULL || recent->tail_closed || !chunk_has_room(tail, key.size))
			tail = append_chunk(recent, spare);
		if (tail == NULL)
			return;
		before = chunk_size(tail);
		if (!chunk_append(tail, mq_bytes(NULL, 0), key))
			return;
		recent->held_bytes += chunk_size(tail) - before;
	}
}

size_t
recent_add(Recent *recent, ChunkQueue *spare, const Chunk *chunk)
{
	size_t forgotten = 0;

	if (recent->keep_us == 0)
		return 0;
	if (chunk->count > CHUNK_KEYS / 2 && chunk->form == spare->form)
		add_whole(recent, spare, chunk);
	else
		add_keys(recent, spare, chunk);
	while (recent->held_bytes > recent->max_bytes && recent->kept.head != recent->kept.tail)
	{
		forgotten += recent->kept.head->count;
		forget_chunk(recent, spare);
	}
	return forgotten;
}

size_t
recent_add_pattern(Recent *recent, MqBytes pattern)
{
	RecentPattern *made;
	size_t         forgotten = 0;

	if (recent->keep_us == 0)
		return 0;
	made = malloc(sizeof(*made) + pattern.size);
	if (made == NULL)
		return 0;
	made->bytes = mq_bytes((char *) (made + 1), pattern.size);
	memcpy(made + 1, pattern.data, pattern.size);
	append_pattern(recent, &recent->kept_patterns, made);
	recent->patterns_added++;
	while (recent->pattern_bytes > RECENT_MAX_PATTERN_BYTES && recent->kept_patterns.head != NULL)
	{
		forget_pattern(recent);
		forgotten++;
	}
	return forgotten;
}

/* ---- what replicas have ---- */

static void
make_mark(Recent *recent, uint64_t offset, int64_t now_us)
{
	const RecentMark *last = mark_at(recent, recent->mark_count - 1);
	bool              empty = recent->kept.head == NULL && recent->kept_patterns.head == NULL;

	if (empty || recent->mark_count == RECENT_MARKS ||
	    (recent->mark_count > 0 && last->chunks == recent->chunks_added &&
	     last->patterns == recent->patterns_added))
		return;
	*mark_at(recent, recent->mark_count++) = (RecentMark){.offset = offset,
	                                                      .made_us = now_us,
	                                                      .chunks = recent->chunks_added,
	                                                      .patterns = recent->patterns_added};
	recent->tail_closed = true;
}

void
recent_role(Recent *recent, ChunkQueue *spare, uint64_t offset, bool replicated,
            uint64_t replicas_offset, int64_t now_us)
{
	while (recent->mark_count > 0)
	{
		const RecentMark *mark = mark_at(recent, 0);

		if (!(replicated && replicas_offset >= mark->offset) &&
		    now_us < mark->made_us + recent->keep_us)
			break;
		forget_before(recent, spare, mark);
		recent->mark_first = (recent->mark_first + 1) % RECENT_MARKS;
		recent->mark_count--;
	}
	make_mark(recent, offset, now_us);
}

/* ---- again ---- */

void
recent_again(Recent *recent)
{
	Chunk         *chunk;
	RecentPattern *pattern;

	while ((chunk = chunk_list_take(&recent->kept)) != NULL)
	{
		recent->chunks_gone++;
		chunk_list_append(&recent->again, chunk);
	}
	while ((pattern = take_pattern(recent, &recent->kept_patterns)) != NULL)
	{
		recent->patterns_gone++;
		append_pattern(recent, &recent->again_patterns, pattern);
	}
	recent->mark_count = 0; /* offsets are those of one server */
	recent->tail_closed = false;
}

bool
recent_has_again(const Recent *recent)
{
	return recent->again.head != NULL || recent->again_patterns.head != NULL;
}

bool
recent_has_kept(const Recent *recent)
{
	return recent->kept.head != NULL || recent->kept_patterns.head != NULL;
}

Chunk *
recent_take(Recent *recent)
{
	Chunk *chunk = chunk_list_take(&recent->again);

	if (chunk != NULL)
		recent->held_bytes -= chunk_size(chunk);
	return chunk;
}

void
recent_put_back(Recent *recent, Chunk *chunk)
{
	chunk_list_prepend(&recent->again, chunk);
	recent->held_bytes += chunk_size(chunk);
}

RecentPattern *
recent_take_pattern(Recent *recent)
{
	return take_pattern(recent, &recent->again_patterns);
}

void
recent_put_back_pattern(Recent *recent, RecentPattern *pattern)
{
	append_pattern(recent, &recent->again_patterns, pattern);
}
