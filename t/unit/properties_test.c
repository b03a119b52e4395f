/*
 * properties_test.c
 *    Encoded properties, read and extended without decoding them; broken ones.
 */
#include "t/unit/unit.h"

#include "wire/properties.h"
#include "wire/session.h"

static MqBuffer raw;

/* Properties as our own encoder writes them: nested headers, every kind of value. */
static int
encode(void **state)
{
	MqField element[] = {mq_field_int64("", -5), {.type = MQ_FIELD_VOID}};
	MqField inner[] = {{.name = {"list", 4}, .type = MQ_FIELD_ARRAY, .value.items = {element, 2}}};
	MqField headers[] = {
		{.name = {"deep", 4}, .type = MQ_FIELD_TABLE, .value.items = {inner, 1}},
		{.name = {"yes", 3}, .type = MQ_FIELD_BOOL, .value.boolean = true},
		{.name = {"pi", 2}, .type = MQ_FIELD_DOUBLE, .value.number = 3.25},
		mq_field_int64("id", -42),
		mq_field_string("x-outbox-error", mq_bytes_of("old")),
	};
	MqProperties properties = {
		.content_type = mq_bytes_of("application/json"),
		.content_encoding = mq_bytes_of("gzip"),
		.message_id = mq_bytes_of("the id"),
		.priority = 7,
		.delivery_mode = 2,
		.timestamp_s = 1234,
		.headers = headers,
		.header_count = 5,
	};

	(void) state;
	raw = (MqBuffer){0};
	return mq_properties_encode(&properties, &raw, NULL) == MQ_OK ? 0 : -1;
}

static int
forget(void **state)
{
	(void) state;
	mq_buffer_free(&raw);
	return 0;
}

static MqBytes
encoded(void)
{
	return mq_bytes(raw.data, raw.size);
}

static void
assert_bytes(MqBytes bytes, const char *expected)
{
	assert_non_null(bytes.data);
	assert_int_equal(bytes.size, strlen(expected));
	assert_memory_equal(bytes.data, expected, bytes.size);
}

static void
strings_and_headers_are_found(void **state)
{
	int64_t id = 0;

	(void) state;
	assert_true(properties_valid(encoded()));
	assert_bytes(properties_get(encoded(), PROPERTY_CONTENT_TYPE), "application/json");
	assert_bytes(properties_get(encoded(), PROPERTY_CONTENT_ENCODING), "gzip");
	assert_bytes(properties_get(encoded(), PROPERTY_MESSAGE_ID), "the id");
	assert_null(properties_get(encoded(), PROPERTY_USER_ID).data);
	assert_true(properties_header_int64(encoded(), "id", &id));
	assert_int_equal(id, -42);
	assert_false(properties_header_int64(encoded(), "yes", &id));
	assert_false(properties_header_int64(encoded(), "list", &id));
	assert_false(properties_header_int64(encoded(), "nothing", &id));
}

static void
a_header_is_replaced_and_all_else_kept(void **state)
{
	MqBuffer changed = {0}, again = {0};
	int64_t  id;

	(void) state;
	assert_int_equal(
		properties_with_header(encoded(), "x-outbox-error", mq_bytes_of("old"), &changed), MQ_OK);
	assert_int_equal(changed.size, raw.size);
	assert_memory_equal(changed.data, raw.data, raw.size);
	assert_int_equal(
		properties_with_header(encoded(), "x-outbox-error", mq_bytes_of("new text"), &again),
		MQ_OK);
	assert_int_equal(again.size, raw.size + 5);
	assert_true(properties_valid(mq_bytes(again.data, again.size)));
	assert_true(properties_header_int64(mq_bytes(again.data, again.size), "id", &id));
	assert_bytes(properties_get(mq_bytes(again.data, again.size), PROPERTY_MESSAGE_ID), "the id");
	mq_buffer_free(&changed);
	mq_buffer_free(&again);
}

/* A foreign user_id would have the broker close the channel. */
static void
user_id_is_left_out_and_headers_are_added(void **state)
{
	static const char bytes[] = {0, 0x10, 3, 'b', 'o', 'b'};
	MqBuffer          changed = {0};

	(void) state;
	assert_int_equal(
		properties_with_header(mq_bytes(bytes, sizeof(bytes)), "e", mq_bytes_of("x"), &changed),
		MQ_OK);
	assert_true(properties_valid(mq_bytes(changed.data, changed.size)));
	assert_null(properties_get(mq_bytes(changed.data, changed.size), PROPERTY_USER_ID).data);
	assert_non_null(properties_get(mq_bytes(changed.data, changed.size), PROPERTY_HEADERS).data);
	mq_buffer_free(&changed);
}

static void
every_truncation_is_noticed(void **state)
{
	(void) state;
	for (size_t size = 0; size < raw.size; size++)
	{
		/* A copy of just these bytes, so that reading further is seen by the sanitizer. */
		char    *copy = malloc(size + 1);
		MqBytes  cut = {copy, size};
		MqBuffer out = {0};
		int64_t  id;

		memcpy(copy, raw.data, size);
		copy = realloc(copy, size > 0 ? size : 1);
		cut.data = copy;
		assert_false(properties_valid(cut));
		(void) properties_get(cut, PROPERTY_MESSAGE_ID);
		(void) properties_header_int64(cut, "id", &id);
		assert_int_equal(properties_with_header(cut, "x", mq_bytes_of("y"), &out), MQ_INVALID);
		mq_buffer_free(&out);
		free(copy);
	}
}

/* No byte changed at random may lead outside. */
static void
flipped_bytes_are_survived(void **state)
{
	uint32_t random = 1;

	(void) state;
	for (int i = 0; i < 20000; i++)
	{
		char    *copy = malloc(raw.size);
		MqBytes  bytes = {copy, raw.size};
		MqBuffer out = {0};
		int64_t  id;

		memcpy(copy, raw.data, raw.size);
		for (int flips = 0; flips < 3; flips++)
		{
			random = random * 1664525u + 1013904223u;
			copy[(random >> 8) % raw.size] = (char) random;
		}
		(void) properties_get(bytes, PROPERTY_HEADERS);
		(void) properties_header_int64(bytes, "id", &id);
		(void) properties_with_header(bytes, "x", mq_bytes_of("y"), &out);
		mq_buffer_free(&out);
		free(copy);
	}
}

static void
an_integer_of_any_width_is_read(void **state)
{
	static const char bytes[] = {
		0x20,        0,   0,           0,           0,           27,          1,   'b',         'b',
		(char) 0xff, 1,   's',         's',         (char) 0xff, (char) 0xfe, 1,   'I',         'I',
		0,           0,   1,           0,           1,           'B',         'B', (char) 0xff, 1,
		'i',         'i', (char) 0xff, (char) 0xff, (char) 0xff, (char) 0xff};
	MqBytes raw_bytes = {bytes, sizeof(bytes)};
	int64_t value;

	(void) state;
	assert_true(properties_valid(raw_bytes));
	assert_true(properties_header_int64(raw_bytes, "b", &value) && value == -1);
	assert_true(properties_header_int64(raw_bytes, "s", &value) && value == -2);
	assert_true(properties_header_int64(raw_bytes, "I", &value) && value == 256);
	assert_true(properties_header_int64(raw_bytes, "B", &value) && value == 255);
	assert_true(properties_header_int64(raw_bytes, "i", &value) && value == 4294967295);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, encode, forget)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(strings_and_headers_are_found),
		TEST(a_header_is_replaced_and_all_else_kept),
		TEST(user_id_is_left_out_and_headers_are_added),
		TEST(every_truncation_is_noticed),
		TEST(flipped_bytes_are_survived),
		cmocka_unit_test(an_integer_of_any_width_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
