/*
 * bytes.h
 *    A run of bytes with its length: borrowed, never owned. Keys and bodies may hold NUL.
 */
#ifndef MQ_BYTES_H
#define MQ_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct MqBytes
{
	const char *data; /* NULL: absent */
	size_t      size;
} MqBytes;

static inline MqBytes
mq_bytes(const void *data, size_t size)
{
	return (MqBytes){data, size};
}

/* text: NUL-terminated, or NULL for "absent". */
static inline MqBytes
mq_bytes_of(const char *text)
{
	return (MqBytes){text, text == NULL ? 0 : strlen(text)};
}

static inline bool
mq_bytes_equal(MqBytes a, MqBytes b)
{
	return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

#endif
