/*
 * batch_test.c
 *    Events to messages: one body for many keys, no duplicates, limits, headers.
 */
#include "t/unit/unit.h"

#include <stdio.h>

#include "relay/batch.h"

#define MAX_MESSAGES 16

/* What came out: bodies and the fields that the tests look at. */
typedef struct Collected
{
	char       body[MAX_MESSAGES][512];
	size_t     body_size[MAX_MESSAGES];
	char       message_id[MAX_MESSAGES][128];
	char       type[MAX_MESSAGES][64];
	char       headers[MAX_MESSAGES][1024]; /* name=value; ... */
	OutMessage message[MAX_MESSAGES];
	size_t     encoded, count;
} Collected;

static Collected out;
static Batch    *batch;

static void
append_header(char *text, size_t size, const MqField *field)
{
	size_t used = strlen(text);

	if (field->type == MQ_FIELD_INT64)
		snprintf(text + used, size - used, "%s=%lld;", field->name.data,
		         (long long) field->value.integer);
	else if (field->type == MQ_FIELD_STRING)
		snprintf(text + used, size - used, "%.*s=%.*s;", (int) field->name.size, field->name.data,
		         (int) field->value.string.size, field->value.string.data);
}

static MqResult
encode(void *context, const MqProperties *properties, MqBuffer *raw, MqError *error)
{
	size_t i = out.encoded++;

	(void) context;
	(void) error;
	snprintf(out.message_id[i], sizeof(out.message_id[i]), "%.*s",
	         (int) properties->message_id.size, properties->message_id.data);
	snprintf(out.type[i], sizeof(out.type[i]), "%.*s", (int) properties->type.size,
	         properties->type.data);
	for (size_t h = 0; h < properties->header_count; h++)
		append_header(out.headers[i], sizeof(out.headers[i]), &properties->headers[h]);
	return mq_buffer_append(raw, "p", 1);
}

static MqResult
sink(void *context, const OutMessage *message)
{
	size_t i = out.count++;

	(void) context;
	out.message[i] = *message;
	out.body_size[i] = message->body.size;
	snprintf(out.body[i], sizeof(out.body[i]), "%.*s", (int) message->body.size,
	         message->body.data);
	return MQ_OK;
}

static int
new_batch(void **state)
{
	BatchOptions options = {
		.instance = "inst",
		.database = mq_bytes_of("blog"),
		.exchange = mq_bytes_of(""),
		.routing_key = mq_bytes_of("cache-invalidation"),
		.max_keys = 3,
		.encode = encode,
		.sink = sink,
	};

	(void) state;
	memset(&out, 0, sizeof(out));
	batch = batch_new(&options);
	batch_begin(batch, 7, "0/10");
	return 0;
}

static int
free_batch(void **state)
{
	(void) state;
	batch_free(batch);
	return 0;
}

static void
add_keys(int64_t id, size_t count, const MqBytes *keys)
{
	RelayEvent event = {
		.id = id,
		.created_at_us = 1000000 * id,
		.is_invalidation = true,
		.keys = keys,
		.key_count = count,
	};

	assert_int_equal(batch_add(batch, &event, NULL), MQ_OK);
}

#define KEYS(...) ((MqBytes[]){__VA_ARGS__})
#define K(text)                                                                                    \
	{                                                                                              \
		text, sizeof(text) - 1                                                                     \
	}

static void
keys_of_two_events_make_one_message_without_duplicates(void **state)
{
	(void) state;
	add_keys(5, 2, KEYS(K("a"), K("b")));
	add_keys(6, 2, KEYS(K("b"), K("c")));
	assert_int_equal(out.count, 0);
	batch_end(batch, NULL);
	assert_int_equal(out.count, 1);
	assert_string_equal(out.body[0], "{\"keys\":[\"a\",\"b\",\"c\"]}");
	assert_string_equal(out.message_id[0], "inst/6/1");
	assert_string_equal(out.type[0], "cache.invalidate");
	assert_string_equal(out.headers[0],
	                    "x-outbox-instance=inst;x-outbox-database=blog;x-outbox-first-id=5;"
	                    "x-outbox-last-id=6;x-outbox-part=1;x-outbox-created-at=5000000;"
	                    "x-outbox-lsn=0/10;");
	assert_int_equal(out.message[0].events, 2);
	assert_int_equal(out.message[0].keys, 3);
	assert_int_equal(out.message[0].window, 7);
	assert_int_equal(batch_take_coalesced(batch), 1);
	assert_int_equal(batch_take_coalesced(batch), 0);
}

static void
a_full_message_closes_and_the_next_part_follows(void **state)
{
	(void) state;
	add_keys(5, 4, KEYS(K("a"), K("b"), K("c"), K("d")));
	batch_end(batch, NULL);
	assert_int_equal(out.count, 2);
	assert_string_equal(out.body[0], "{\"keys\":[\"a\",\"b\",\"c\"]}");
	assert_string_equal(out.body[1], "{\"keys\":[\"d\"]}");
	assert_string_equal(out.message_id[0], "inst/5/1");
	assert_string_equal(out.message_id[1], "inst/5/2");
	assert_false(out.message[0].not_full);
	assert_true(out.message[1].not_full);
	assert_int_equal(out.message[0].events + out.message[1].events, 1);
}

static void
patterns_stand_beside_keys_and_are_not_the_same(void **state)
{
	MqBytes    text = K("a*");
	RelayEvent event = {
		.id = 1,
		.is_invalidation = true,
		.keys = &text,
		.key_count = 1,
		.patterns = &text,
		.pattern_count = 1,
	};

	(void) state;
	batch_add(batch, &event, NULL);
	batch_end(batch, NULL);
	assert_string_equal(out.body[0], "{\"keys\":[\"a*\"],\"patterns\":[\"a*\"]}");
}

static void
json_is_escaped(void **state)
{
	(void) state;
	add_keys(1, 3, KEYS(K("q\"\\"), K("n\n\x01\x1f"), K("\xc3\xa4/")));
	batch_end(batch, NULL);
	assert_string_equal(out.body[0],
	                    "{\"keys\":[\"q\\\"\\\\\",\"n\\n\\u0001\\u001f\",\"\xc3\xa4/\"]}");
}

static void
a_message_closes_at_a_megabyte(void **state)
{
	static char text[600 * 1024];
	MqBytes     keys[2] = {{text, sizeof(text)}, {text, sizeof(text) - 1}};

	(void) state;
	memset(text, 'x', sizeof(text));
	add_keys(1, 2, keys);
	batch_end(batch, NULL);
	assert_int_equal(out.count, 2);
	assert_true(out.body_size[0] <= BATCH_MAX_BODY_BYTES);
}

static void
messages_keep_the_callers_headers_and_id(void **state)
{
	MqField    header = mq_field_string("x", mq_bytes_of("y"));
	RelayEvent event = {
		.id = 9,
		.created_at_us = 1,
		.exchange = mq_bytes_of("ex"),
		.routing_key = mq_bytes_of("rk"),
		.body = mq_bytes_of("{}"),
		.properties = {.headers = &header, .header_count = 1, .message_id = mq_bytes_of("mine")},
	};

	(void) state;
	batch_add(batch, &event, NULL);
	assert_int_equal(out.count, 1);
	assert_string_equal(out.message_id[0], "mine");
	assert_string_equal(out.type[0], "outbox.message");
	assert_memory_equal(out.headers[0], "x=y;x-outbox-instance=", 22);
	event.properties.message_id.data = NULL;
	batch_add(batch, &event, NULL);
	assert_string_equal(out.message_id[1], "inst/9");
}

static void
to_one_destination_the_order_is_kept(void **state)
{
	RelayEvent event = {
		.id = 2,
		.exchange = mq_bytes_of(""),
		.routing_key = mq_bytes_of("cache-invalidation"),
		.body = mq_bytes_of("{}"),
	};

	(void) state;
	add_keys(1, 1, KEYS(K("a")));
	batch_add(batch, &event, NULL);
	assert_int_equal(out.count, 2);
	assert_string_equal(out.body[0], "{\"keys\":[\"a\"]}");
	assert_string_equal(out.body[1], "{}");
}

static void
an_empty_window_makes_no_message(void **state)
{
	(void) state;
	batch_end(batch, NULL);
	assert_int_equal(out.count, 0);
}

static void
the_first_traceparent_of_a_message_counts(void **state)
{
	MqBytes    key = K("a"), other = K("b");
	RelayEvent event = {
		.id = 1,
		.is_invalidation = true,
		.keys = &key,
		.key_count = 1,
		.traceparent = mq_bytes_of("00-aa"),
	};

	(void) state;
	batch_add(batch, &event, NULL);
	event.keys = &other;
	event.traceparent = mq_bytes_of("00-bb");
	batch_add(batch, &event, NULL);
	batch_end(batch, NULL);
	assert_non_null(strstr(out.headers[0], "traceparent=00-aa;"));
	assert_null(strstr(out.headers[0], "00-bb"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, new_batch, free_batch)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(keys_of_two_events_make_one_message_without_duplicates),
		TEST(a_full_message_closes_and_the_next_part_follows),
		TEST(patterns_stand_beside_keys_and_are_not_the_same),
		TEST(json_is_escaped),
		TEST(a_message_closes_at_a_megabyte),
		TEST(messages_keep_the_callers_headers_and_id),
		TEST(to_one_destination_the_order_is_kept),
		TEST(an_empty_window_makes_no_message),
		TEST(the_first_traceparent_of_a_message_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
