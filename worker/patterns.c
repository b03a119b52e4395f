/*
 * patterns.c
 *    See patterns.h.
 */
#include "worker/patterns.h"

#include "wire/plain.h"

#include <stdlib.h>
#include <string.h>

bool
patterns_init(PatternQueue *queue, const char *key_prefix)
{
	char *out;

	memset(queue, 0, sizeof(*queue));
	queue->prefix = out = malloc(2 * strlen(key_prefix) + 1);
	if (out == NULL)
		return false;
	for (const char *c = key_prefix; *c != '\0'; c++)
	{
		if (strchr("*?[]\\", *c) != NULL)
			*out++ = '\\';
		*out++ = *c;
	}
	*out = '\0';
	return true;
}

static Pattern *
pattern_new(const char *prefix, MqBytes pattern, uint32_t hash)
{
	size_t   prefix_size = strlen(prefix);
	Pattern *made = malloc(sizeof(Pattern) + prefix_size + pattern.size);
	char    *text;

	if (made == NULL)
		return NULL;
	text = (char *) (made + 1);
	memcpy(text, prefix, prefix_size);
	memcpy(text + prefix_size, pattern.data, pattern.size);
	*made = (Pattern){.hash = hash, .bytes = mq_bytes(text, prefix_size + pattern.size)};
	return made;
}

static size_t
pattern_held_bytes(const Pattern *pattern)
{
	return sizeof(Pattern) + pattern->bytes.size;
}

Pattern *
patterns_add(PatternQueue *queue, MqBytes pattern)
{
	uint32_t  hash = mq_hash(pattern, (uint64_t) (uintptr_t) queue);
	Pattern **bucket = &queue->buckets[hash % PATTERNS_BUCKETS];
	size_t    prefix_size = strlen(queue->prefix);
	Pattern  *made;

	for (Pattern *old = *bucket; old != NULL; old = old->same_hash)
		if (old->hash == hash && mq_bytes_equal(pattern, mq_bytes(old->bytes.data + prefix_size,
		                                                          old->bytes.size - prefix_size)))
			return old;
	made = pattern_new(queue->prefix, pattern, hash);
	if (made == NULL)
		return NULL;
	made->same_hash = *bucket;
	*bucket = made;
	if (queue->tail == NULL)
		queue->head = made;
	else
		queue->tail->next = made;
	queue->tail = made;
	queue->held_bytes += pattern_held_bytes(made);
	return made;
}

Pattern *
patterns_head(const PatternQueue *queue)
{
	return queue->head;
}

void
patterns_begin(PatternQueue *queue)
{
	Pattern **link = &queue->buckets[queue->head->hash % PATTERNS_BUCKETS];

	if (queue->begun)
		return;
	while (*link != queue->head)
		link = &(*link)->same_hash;
	*link = queue->head->same_hash;
	queue->begun = true;
}

void
patterns_remove_head(PatternQueue *queue)
{
	Pattern *head = queue->head;

	patterns_begin(queue);
	queue->begun = false;
	queue->head = head->next;
	if (queue->head == NULL)
		queue->tail = NULL;
	queue->held_bytes -= pattern_held_bytes(head);
	waiters_free(&head->waiters);
	free(head);
}

void
patterns_clear(PatternQueue *queue)
{
	while (queue->head != NULL)
		patterns_remove_head(queue);
}

void
patterns_free(PatternQueue *queue)
{
	patterns_clear(queue);
	free(queue->prefix);
	queue->prefix = NULL;
}
