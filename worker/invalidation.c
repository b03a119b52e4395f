/*
 * invalidation.c
 *    See invalidation.h.
 */
#include "worker/invalidation.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define FIRST_STRINGS 64

static bool __attribute__((format(printf, 2, 3)))
refuse(char error[INVALIDATION_ERROR_BYTES], const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, INVALIDATION_ERROR_BYTES, format, args);
	va_end(args);
	return false;
}

/* "utf-8" (set by kombu) and "identity" say that the body is plain. */
static bool
is_plain(MqBytes encoding)
{
	return encoding.size == 0 ||
	       (encoding.size == 5 && strncasecmp(encoding.data, "utf-8", 5) == 0) ||
	       (encoding.size == 8 && strncasecmp(encoding.data, "identity", 8) == 0);
}

static bool
check_outside(MqBytes body, MqBytes content_encoding, char error[INVALIDATION_ERROR_BYTES])
{
	if (body.size > INVALIDATION_MAX_BODY_BYTES)
		return refuse(error, "the body has %zu bytes, at most %d are taken", body.size,
		              INVALIDATION_MAX_BODY_BYTES);
	if (!is_plain(content_encoding))
		return refuse(error, "the body has a content encoding");
	if (body.size == 0)
		return refuse(error, "not JSON: the body is empty");
	if (body.size >= 3 && memcmp(body.data, "\xEF\xBB\xBF", 3) == 0)
		return refuse(error, "not JSON: a byte order mark at byte 0");
	return true;
}

/* Beyond the limit they are only counted. */
static bool
list_add(StringList *list, MqBytes string)
{
	if (list->count == list->capacity && list->count < INVALIDATION_MAX_KEYS)
	{
		size_t   capacity = list->capacity == 0 ? FIRST_STRINGS : 2 * list->capacity;
		MqBytes *items = realloc(list->items, capacity * sizeof(MqBytes));

		if (items == NULL)
			return false;
		list->items = items;
		list->capacity = capacity;
	}
	if (list->count < INVALIDATION_MAX_KEYS)
		list->items[list->count] = string;
	list->count++;
	return true;
}

/* What is wrong with the shape. The first mistake counts, and one in the JSON itself before it: so
 * the text is read to its end all the same. */
typedef struct Shape
{
	char *error;
	bool  wrong;
} Shape;

static void __attribute__((format(printf, 2, 3))) complain(Shape *shape, const char *format, ...)
{
	va_list args;

	if (shape->wrong)
		return;
	va_start(args, format);
	vsnprintf(shape->error, INVALIDATION_ERROR_BYTES, format, args);
	va_end(args);
	shape->wrong = true;
}

/* Steps over a value whose first token was read. */
static Token
skip_value(Scanner *scanner, Token token)
{
	int depth = scanner->depth;

	if (token != TOKEN_OBJECT_BEGIN && token != TOKEN_ARRAY_BEGIN)
		return token;
	while (token != TOKEN_ERROR && scanner->depth >= depth)
		token = scanner_next(scanner);
	return token;
}

/* The value of "keys" or "patterns": an array of strings, none of them empty. Returns the last token:
 * TOKEN_ERROR, or anything. */
static Token
read_strings(Scanner *scanner, const char *member, StringList *list, Shape *shape)
{
	Token token = scanner_next(scanner);

	if (token != TOKEN_ARRAY_BEGIN)
	{
		complain(shape, "\"%s\" is not an array of strings", member);
		return skip_value(scanner, token);
	}
	for (size_t i = 0; (token = scanner_next(scanner)) != TOKEN_ARRAY_END && token != TOKEN_ERROR;
	     i++)
	{
		if (token != TOKEN_STRING)
		{
			complain(shape, "\"%s\" is not an array of strings: element %zu", member, i);
			if (skip_value(scanner, token) == TOKEN_ERROR)
				return TOKEN_ERROR;
		}
		else if (scanner->string.size == 0)
			complain(shape, "\"%s\" holds an empty string: element %zu", member, i);
		else if (!list_add(list, scanner->string))
			complain(shape, "out of memory");
	}
	if (list->count > INVALIDATION_MAX_KEYS)
		complain(shape, "\"%s\" has %zu elements, at most %d are taken", member, list->count,
		         INVALIDATION_MAX_KEYS);
	return token;
}

/* Up to and with the object's end. */
static Token
read_members(Invalidation *invalidation, Shape *shape)
{
	Scanner *scanner = &invalidation->scanner;
	Token    token;
	bool     any = false;

	while ((token = scanner_next(scanner)) == TOKEN_NAME)
	{
		bool is_keys = mq_bytes_equal(scanner->string, mq_bytes_of("keys"));
		bool is_patterns = mq_bytes_equal(scanner->string, mq_bytes_of("patterns"));

		any |= is_keys || is_patterns;
		if (is_keys)
			token = read_strings(scanner, "keys", &invalidation->keys, shape);
		else if (is_patterns)
			token = read_strings(scanner, "patterns", &invalidation->patterns, shape);
		else
			token = skip_value(scanner, scanner_next(scanner));
		if (token == TOKEN_ERROR)
			return token;
	}
	if (!any)
		complain(shape, "neither \"keys\" nor \"patterns\"");
	return token;
}

bool
invalidation_parse(Invalidation *invalidation, MqBytes body, MqBytes content_encoding,
                   char error[INVALIDATION_ERROR_BYTES])
{
	Scanner *scanner = &invalidation->scanner;
	Shape    shape = {.error = error};
	Token    token;

	invalidation->keys.count = invalidation->patterns.count = 0;
	if (!check_outside(body, content_encoding, error))
		return false;
	scanner_begin(scanner, body);
	token = scanner_next(scanner);
	if (token == TOKEN_OBJECT_BEGIN)
		token = read_members(invalidation, &shape);
	else
	{
		complain(&shape, "not a JSON object");
		token = skip_value(scanner, token);
	}
	if (token != TOKEN_ERROR)
		token = scanner_next(scanner);
	if (token == TOKEN_ERROR)
		return refuse(error, "%s", scanner->error);
	return !shape.wrong;
}

size_t
invalidation_key_count(const Invalidation *invalidation)
{
	return invalidation->keys.count;
}

size_t
invalidation_pattern_count(const Invalidation *invalidation)
{
	return invalidation->patterns.count;
}

MqBytes
invalidation_key(const Invalidation *invalidation, size_t i)
{
	return invalidation->keys.items[i];
}

MqBytes
invalidation_pattern(const Invalidation *invalidation, size_t i)
{
	return invalidation->patterns.items[i];
}

bool
invalidation_key_allowed(MqBytes key, char *const *allowed, size_t count)
{
	for (size_t i = 0; i < count; i++)
	{
		size_t size = strlen(allowed[i]);

		if (key.size >= size && memcmp(key.data, allowed[i], size) == 0)
			return true;
	}
	return count == 0;
}

/* Does the literal head begin with prefix? A glob character that is escaped stands for itself. */
static bool
literal_head_begins(MqBytes pattern, const char *prefix)
{
	size_t i = 0;

	for (; *prefix != '\0'; prefix++, i++)
	{
		if (i >= pattern.size || memchr("*?[", pattern.data[i], 3) != NULL)
			return false;
		if (pattern.data[i] == '\\' && i + 1 < pattern.size)
			i++;
		if (pattern.data[i] != *prefix)
			return false;
	}
	return true;
}

bool
invalidation_pattern_allowed(MqBytes pattern, char *const *allowed, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (literal_head_begins(pattern, allowed[i]))
			return true;
	return count == 0;
}

void
invalidation_forget(Invalidation *invalidation)
{
	scanner_shrink(&invalidation->scanner);
}

void
invalidation_free(Invalidation *invalidation)
{
	scanner_free(&invalidation->scanner);
	free(invalidation->keys.items);
	free(invalidation->patterns.items);
	memset(invalidation, 0, sizeof(*invalidation));
}
