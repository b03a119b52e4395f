/*
 * invalidation.c
 *    See invalidation.h.
 *
 * jansson parses by recursion, to a depth of 2,048, and makes some 80 bytes of a "0," in an array:
 * depth is therefore counted before it parses, and its allocations have a budget.
 */
#include "worker/invalidation.h"

#include <jansson.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* Short keys cost the parser about 90 bytes each: ten times the permitted number fits, so that
 * too many keys are called just that. */
#define PARSE_BASE_BYTES (16 * 1024 * 1024)
#define PARSE_BYTES_PER_BODY_BYTE 4

/* What the parser may still take; counted only while a body is parsed. */
static struct
{
	bool   counting;
	bool   exhausted;
	size_t used_bytes;
	size_t limit_bytes;
} budget;

static void *
budget_malloc(size_t size)
{
	void *memory;

	if (budget.counting && budget.used_bytes + size > budget.limit_bytes)
	{
		budget.exhausted = true;
		return NULL;
	}
	memory = malloc(size);
	if (memory != NULL && budget.counting)
		budget.used_bytes += malloc_usable_size(memory);
	return memory;
}

static void
budget_free(void *memory)
{
	if (memory != NULL && budget.counting)
	{
		size_t size = malloc_usable_size(memory);

		budget.used_bytes -= size < budget.used_bytes ? size : budget.used_bytes;
	}
	free(memory);
}

static json_t *
parse_within_budget(MqBytes body, json_error_t *error)
{
	static bool installed;
	json_t     *root;

	if (!installed)
	{
		json_set_alloc_funcs(budget_malloc, budget_free);
		installed = true;
	}
	budget.counting = true;
	budget.exhausted = false;
	budget.used_bytes = 0;
	budget.limit_bytes = PARSE_BASE_BYTES + PARSE_BYTES_PER_BODY_BYTE * body.size;
	root = json_loadb(body.data, body.size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, error);
	budget.counting = false;
	return root;
}

static bool __attribute__((format(printf, 2, 3)))
refuse(char error[INVALIDATION_ERROR_BYTES], const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, INVALIDATION_ERROR_BYTES, format, args);
	va_end(args);
	return false;
}

/* Looks only at brackets outside of strings; whether it is JSON the parser says. */
static bool
depth_is_fine(MqBytes body, size_t *where)
{
	int  depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < body.size; i++)
	{
		char c = body.data[i];

		if (in_string && c == '\\')
			i++;
		else if (c == '"')
			in_string = !in_string;
		else if (!in_string && (c == '{' || c == '['))
			depth++;
		else if (!in_string && (c == '}' || c == ']'))
			depth--;
		if (depth > INVALIDATION_MAX_DEPTH)
		{
			*where = i;
			return false;
		}
	}
	return true;
}

/* jansson's own words, without the piece of the body it quotes behind " near ". */
static bool
refuse_as_parser_says(char error[INVALIDATION_ERROR_BYTES], const json_error_t *parser)
{
	char  text[JSON_ERROR_TEXT_LENGTH];
	char *near;

	if (budget.exhausted)
		return refuse(error, "too many values: the body would take too much memory");
	if (json_error_code(parser) == json_error_null_character)
		return refuse(error, "\\u0000 is not taken, at byte %d", parser->position);
	snprintf(text, sizeof(text), "%s", parser->text);
	near = strstr(text, " near ");
	if (near != NULL)
		*near = '\0';
	return refuse(error, "not JSON: %s at byte %d", text, parser->position);
}

/* An array of strings, none of them empty. */
static bool
check_strings(const char *member, const json_t *array, char error[INVALIDATION_ERROR_BYTES])
{
	if (array == NULL)
		return true;
	if (!json_is_array(array))
		return refuse(error, "\"%s\" is not an array of strings", member);
	if (json_array_size(array) > INVALIDATION_MAX_KEYS)
		return refuse(error, "\"%s\" has %zu elements, at most %d are taken", member,
					  json_array_size(array), INVALIDATION_MAX_KEYS);
	for (size_t i = 0; i < json_array_size(array); i++)
	{
		const json_t *element = json_array_get(array, i);

		if (!json_is_string(element))
			return refuse(error, "\"%s\" is not an array of strings: element %zu", member, i);
		if (json_string_length(element) == 0)
			return refuse(error, "\"%s\" holds an empty string: element %zu", member, i);
	}
	return true;
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
	size_t where;

	if (body.size > INVALIDATION_MAX_BODY_BYTES)
		return refuse(error, "the body has %zu bytes, at most %d are taken", body.size,
					  INVALIDATION_MAX_BODY_BYTES);
	if (!is_plain(content_encoding))
		return refuse(error, "the body has a content encoding");
	if (body.size == 0)
		return refuse(error, "not JSON: the body is empty");
	if (body.size >= 3 && memcmp(body.data, "\xEF\xBB\xBF", 3) == 0)
		return refuse(error, "not JSON: a byte order mark at byte 0");
	if (!depth_is_fine(body, &where))
		return refuse(error, "nested deeper than %d at byte %zu", INVALIDATION_MAX_DEPTH, where);
	return true;
}

static bool
check_members(Invalidation *invalidation, char error[INVALIDATION_ERROR_BYTES])
{
	const json_t *root = invalidation->root;

	if (!json_is_object(root))
		return refuse(error, "not a JSON object");
	invalidation->keys = json_object_get(root, "keys");
	invalidation->patterns = json_object_get(root, "patterns");
	if (invalidation->keys == NULL && invalidation->patterns == NULL)
		return refuse(error, "neither \"keys\" nor \"patterns\"");
	return check_strings("keys", invalidation->keys, error) &&
		   check_strings("patterns", invalidation->patterns, error);
}

bool
invalidation_parse(Invalidation *invalidation, MqBytes body, MqBytes content_encoding,
				   char error[INVALIDATION_ERROR_BYTES])
{
	json_error_t parser;

	memset(invalidation, 0, sizeof(*invalidation));
	if (!check_outside(body, content_encoding, error))
		return false;
	invalidation->root = parse_within_budget(body, &parser);
	if (invalidation->root == NULL)
		return refuse_as_parser_says(error, &parser);
	if (check_members(invalidation, error))
		return true;
	invalidation_free(invalidation);
	return false;
}

size_t
invalidation_key_count(const Invalidation *invalidation)
{
	return json_array_size(invalidation->keys);
}

size_t
invalidation_pattern_count(const Invalidation *invalidation)
{
	return json_array_size(invalidation->patterns);
}

static MqBytes
string_at(const json_t *array, size_t i)
{
	const json_t *string = json_array_get(array, i);

	return mq_bytes(json_string_value(string), json_string_length(string));
}

MqBytes
invalidation_key(const Invalidation *invalidation, size_t i)
{
	return string_at(invalidation->keys, i);
}

MqBytes
invalidation_pattern(const Invalidation *invalidation, size_t i)
{
	return string_at(invalidation->patterns, i);
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
invalidation_free(Invalidation *invalidation)
{
	json_decref(invalidation->root);
	memset(invalidation, 0, sizeof(*invalidation));
}
