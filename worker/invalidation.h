/*
 * invalidation.h
 *    The body of a message: {"keys":["blogs:all"],"patterns":["blog:*"]}, from any publisher.
 *
 * Read with jansson. Unknown members are ignored; whatever else is wrong refuses the whole message,
 * with a text that says what and where, for the dead letter's x-outbox-error.
 * The publisher is not trusted: body, depth, number of keys and the memory the parser takes are
 * bounded.
 */
#ifndef WORKER_INVALIDATION_H
#define WORKER_INVALIDATION_H

#include "wire/bytes.h"

#include <stdbool.h>
#include <stddef.h>

#define INVALIDATION_MAX_BODY_BYTES (16 * 1024 * 1024)
#define INVALIDATION_MAX_KEYS 10000 /* of patterns too */
#define INVALIDATION_MAX_DEPTH 32
#define INVALIDATION_ERROR_BYTES 256

typedef struct Invalidation
{
	void *root;     /* json_t, owned */
	void *keys;     /* json_t arrays, or NULL */
	void *patterns;
} Invalidation;

/* content_encoding: as in the message's properties, absent where it has none. true: *invalidation
 * holds keys and patterns until invalidation_free. false: error says why, one line, without any
 * of the body's text; nothing to free. */
bool invalidation_parse(Invalidation *invalidation, MqBytes body, MqBytes content_encoding,
						char error[INVALIDATION_ERROR_BYTES]);

size_t invalidation_key_count(const Invalidation *invalidation);
size_t invalidation_pattern_count(const Invalidation *invalidation);

/* Borrowed from the invalidation. Also NUL-terminated. */
MqBytes invalidation_key(const Invalidation *invalidation, size_t i);
MqBytes invalidation_pattern(const Invalidation *invalidation, size_t i);

/* May this key be deleted? allowed: prefixes; count 0 allows everything. */
bool invalidation_key_allowed(MqBytes key, char *const *allowed, size_t count);

/* The same for a pattern: by its literal head, what stands before its first glob character. */
bool invalidation_pattern_allowed(MqBytes pattern, char *const *allowed, size_t count);

void invalidation_free(Invalidation *invalidation);

#endif
