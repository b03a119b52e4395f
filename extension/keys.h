/*
 * keys.h
 *    What a Redis key or pattern must be to be recorded.
 */
#ifndef OUTBOX_KEYS_H
#define OUTBOX_KEYS_H

#include "postgres.h"

#define KEY_MAX_BYTES 8192

/* ERROR unless text is a key (what: "key") or pattern ("pattern") that can go out: not empty, at
 * most KEY_MAX_BYTES, convertible to UTF-8. */
void key_check(const char *what, const char *text, int length);

#endif
