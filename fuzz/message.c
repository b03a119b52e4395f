/*
 * message.c
 *    Any bytes as the body of a message, and as its properties: both are written by whoever may
 *    publish.
 *
 * The first byte says how long the properties are; the rest is the body. jansson reads the body
 * too, and both must agree about what is taken and what it says.
 */
#include "fuzz/fuzz.h"

#include "wire/properties.h"
#include "worker/invalidation.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Reads every byte that is handed out, so that a sanitizer sees a length that is wrong. */
static volatile unsigned sum;

static void
touch(MqBytes bytes)
{
	for (size_t i = 0; i < bytes.size; i++)
		sum += (unsigned char) bytes.data[i];
}

static void
parse_properties(MqBytes raw)
{
	MqBuffer out = {0};
	int64_t  value;

	if (!properties_valid(raw))
		return;
	touch(properties_get(raw, PROPERTY_CONTENT_ENCODING));
	touch(properties_get(raw, PROPERTY_MESSAGE_ID));
	properties_header_int64(raw, "x-outbox-created-at", &value);
	if (properties_with_header(raw, "x-outbox-error", mq_bytes_of("why"), &out) == MQ_OK &&
	    !properties_valid(mq_bytes(out.data, out.size)))
		abort();
	mq_buffer_free(&out);
}

/* Does jansson see an array of these strings? */
static bool
is_same_list(const json_t *array, const StringList *list)
{
	if (array == NULL)
		return list->count == 0;
	if (!json_is_array(array) || json_array_size(array) != list->count)
		return false;
	for (size_t i = 0; i < list->count; i++)
	{
		const json_t *string = json_array_get(array, i);

		if (!json_is_string(string) ||
		    !mq_bytes_equal(list->items[i],
		                    mq_bytes(json_string_value(string), json_string_length(string))))
			return false;
	}
	return true;
}

static bool
is_list_of_strings(const json_t *array)
{
	if (array == NULL)
		return true;
	if (!json_is_array(array) || json_array_size(array) > INVALIDATION_MAX_KEYS)
		return false;
	for (size_t i = 0; i < json_array_size(array); i++)
		if (json_string_length(json_array_get(array, i)) == 0)
			return false;
	return true;
}

/* What it is by jansson; where it sets no limits, error tells which of ours was met. It overlooks a zero
 * byte behind a number. */
static void
compare(MqBytes body, const Invalidation *invalidation, bool taken, const char *error)
{
	json_error_t  ignored;
	json_t       *root = json_loadb(body.data, body.size, JSON_REJECT_DUPLICATES, &ignored);
	const json_t *keys = json_object_get(root, "keys");
	const json_t *patterns = json_object_get(root, "patterns");

	if (taken)
	{
		if (root == NULL || !is_same_list(keys, &invalidation->keys) ||
		    !is_same_list(patterns, &invalidation->patterns))
			abort();
	}
	else if (memchr(body.data, 0, body.size) == NULL && json_is_object(root) &&
	         (keys != NULL || patterns != NULL) && is_list_of_strings(keys) &&
	         is_list_of_strings(patterns) && strncmp(error, "nested deeper", 13) != 0 &&
	         strncmp(error, "too many members", 16) != 0)
		abort();
	json_decref(root);
}

static void
parse_body(MqBytes body)
{
	static Invalidation invalidation;
	char               *allowed[] = {"blog:"};
	char                error[INVALIDATION_ERROR_BYTES] = "";
	bool                taken = invalidation_parse(&invalidation, body, mq_bytes(NULL, 0), error);

	compare(body, &invalidation, taken, error);
	if (!taken && (strlen(error) == 0 || strlen(error) >= sizeof(error)))
		abort();
	for (size_t i = 0; taken && i < invalidation_key_count(&invalidation); i++)
	{
		touch(invalidation_key(&invalidation, i));
		invalidation_key_allowed(invalidation_key(&invalidation, i), allowed, 1);
	}
	for (size_t i = 0; taken && i < invalidation_pattern_count(&invalidation); i++)
	{
		touch(invalidation_pattern(&invalidation, i));
		invalidation_pattern_allowed(invalidation_pattern(&invalidation, i), allowed, 1);
	}
	invalidation_forget(&invalidation);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t properties = size == 0 ? 0 : data[0];

	if (size == 0)
		return 0;
	data++;
	size--;
	if (properties > size)
		properties = size;
	parse_properties(mq_bytes(data, properties));
	parse_body(mq_bytes(data + properties, size - properties));
	return 0;
}
