/*
 * invalidation.h
 *    The body of a message: {"keys":["blogs:all"],"patterns":["blog:*"]}, from any publisher.
 *
 * Unknown members are ignored; whatever else is wrong refuses the whole message, with a text that says
 * what and where, for the dead letter's x-outbox-error.
 * The publisher is not trusted: body, depth, number of keys and the memory that reading takes are
 * bounded.
 */
#ifndef WORKER_INVALIDATION_H
#define WORKER_INVALIDATION_H

#include "wire/bytes.h"
#include "worker/scanner.h"

#include <stdbool.h>
#include <stddef.h>

#define INVALIDATION_MAX_BODY_BYTES (16 * 1024 * 1024)
#define INVALIDATION_MAX_KEYS 10000 /* of patterns too */
#define INVALIDATION_ERROR_BYTES 256

/* Keys or patterns. */
typedef struct StringList
{
	MqBytes *items; /* into the body, or into what the scanner decoded */
	size_t   count, capacity;
} StringList;

/* Zeroed is empty. Used for one message after another, it takes no memory for most of them. */
typedef struct Invalidation
{
	Scanner    scanner;
	StringList keys, patterns;
} Invalidation;

/* content_encoding: as in the message's properties, absent where it has none. body: borrowed as long
 * as keys and patterns are looked at. false: error says why, one line, without any of the body's
 * text. */
bool invalidation_parse(Invalidation *invalidation, MqBytes body, MqBytes content_encoding,
                        char error[INVALIDATION_ERROR_BYTES]);

/* Borrowed from invalidation and body. */
size_t  invalidation_key_count(const Invalidation *invalidation);
size_t  invalidation_pattern_count(const Invalidation *invalidation);
MqBytes invalidation_key(const Invalidation *invalidation, size_t i);
MqBytes invalidation_pattern(const Invalidation *invalidation, size_t i);

/* The message is over: gives memory back that an unusual one took. */
void invalidation_forget(Invalidation *invalidation);

void invalidation_free(Invalidation *invalidation);

/* May this key be deleted? allowed: prefixes; count 0 allows everything. */
bool invalidation_key_allowed(MqBytes key, char *const *allowed, size_t count);

/* The same for a pattern: by its literal head, what stands before its first glob character. */
bool invalidation_pattern_allowed(MqBytes pattern, char *const *allowed, size_t count);

#endif
