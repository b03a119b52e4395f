/*
 * scanner.h
 *    Reads JSON (RFC 8259) strictly and where it lies, token by token; no tree is built.
 *
 * A tree costs two allocations for each string: with messages of 500 keys it was more than half of
 * the worker's time. Everything is checked on the way: grammar, UTF-8, surrogates, depth, the same
 * member twice (also in what the caller skips), anything behind the end. Stricter than the grammar:
 * \u0000 is refused, and so are integers beyond 64 bits and reals beyond double.
 *
 * Memory: a table of the members' names of the objects that are open, at most SCANNER_MAX_NAMES; and
 * where a string has escapes, one buffer as large as the text. Both are used again.
 */
#ifndef WORKER_SCANNER_H
#define WORKER_SCANNER_H

#include "wire/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCANNER_MAX_DEPTH 32
#define SCANNER_MAX_NAMES 65536 /* of members, in the objects that are open */
#define SCANNER_ERROR_BYTES 128

typedef enum Token
{
	TOKEN_OBJECT_BEGIN,
	TOKEN_OBJECT_END,
	TOKEN_ARRAY_BEGIN,
	TOKEN_ARRAY_END,
	TOKEN_NAME, /* of a member; its value is next */
	TOKEN_STRING,
	TOKEN_SCALAR, /* number, true, false, null */
	TOKEN_END,    /* the text is over, and right */
	TOKEN_ERROR
} Token;

typedef enum ScannerExpect
{
	EXPECT_VALUE,
	EXPECT_FIRST_VALUE, /* or "]" */
	EXPECT_FIRST_NAME,  /* or "}" */
	EXPECT_COMMA,       /* or what closes */
	EXPECT_NOTHING
} ScannerExpect;

typedef struct ScannerName ScannerName;

/* Zeroed is ready for scanner_begin. */
typedef struct Scanner
{
	MqBytes string; /* NAME, STRING: decoded; good until the next scanner_begin */
	int     depth;  /* objects and arrays that are open */
	char    error[SCANNER_ERROR_BYTES]; /* ERROR: what and at which byte, nothing of the text */

	const char   *begin, *at, *end;
	ScannerExpect expect;
	bool          is_object[SCANNER_MAX_DEPTH];
	size_t        first_name[SCANNER_MAX_DEPTH]; /* of each open object, in names */
	ScannerName  *names;
	size_t        name_count, name_capacity;
	char         *decoded; /* NULL, or room for all of the text */
	size_t        decoded_size, decoded_capacity;
} Scanner;

/* text: borrowed, not changed, until the last scanner_next. */
void scanner_begin(Scanner *scanner, MqBytes text);

/* The next token; after TOKEN_END and TOKEN_ERROR there is none. */
Token scanner_next(Scanner *scanner);

/* Gives memory back that an unusual text took. Strings are void. */
void scanner_shrink(Scanner *scanner);

void scanner_free(Scanner *scanner);

#endif
