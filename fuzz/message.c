/*
 * message.c
 *    Any bytes as the body of a message, and as its properties: both are written by whoever may
 *    publish.
 *
 * The first byte says how long the properties are; the rest is the body.
 */
#include "fuzz/fuzz.h"

#include "wire/properties.h"
#include "worker/invalidation.h"

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

static void
parse_body(MqBytes body)
{
	Invalidation invalidation;
	char        *allowed[] = {"blog:"};
	char         error[INVALIDATION_ERROR_BYTES];

	if (!invalidation_parse(&invalidation, body, mq_bytes(NULL, 0), error))
	{
		if (strlen(error) == 0 || strlen(error) >= sizeof(error))
			abort();
		return;
	}
	for (size_t i = 0; i < invalidation_key_count(&invalidation); i++)
	{
		touch(invalidation_key(&invalidation, i));
		invalidation_key_allowed(invalidation_key(&invalidation, i), allowed, 1);
	}
	for (size_t i = 0; i < invalidation_pattern_count(&invalidation); i++)
	{
		touch(invalidation_pattern(&invalidation, i));
		invalidation_pattern_allowed(invalidation_pattern(&invalidation, i), allowed, 1);
	}
	invalidation_free(&invalidation);
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
