/*
 * status_test.c
 *    /status.json, whatever peers say; and what the database said, from one thread to another.
 */
#include "worker/status.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SECOND_US ((int64_t) 1000000)

static Histogram  delay, redis_time;
static History    history;
static AnswerView view;
static Answer    *answer;

static int
begin(void **state)
{
	memset(&history, 0, sizeof(history));
	answer = answer_new();
	return 0;
}

static int
end(void **state)
{
	answer_free(answer);
	return 0;
}

/* What is printed of a worker with this name and error, read again. */
static json_t *
printed(const char *name, const char *error, uint64_t since, const AnswerView *database)
{
	Figures  figures = {.state = "consuming",
	                    .reason = "",
	                    .last_error = error,
	                    .queue = "q",
	                    .broker_words = {"b", ""},
	                    .redis_words = {"r", error},
	                    .patterns_trouble = "",
	                    .letters_trouble = "",
	                    .queue_messages = -1,
	                    .delay = &delay,
	                    .redis_time = &redis_time};
	Status   status = {.name = name,
	                   .figures = &figures,
	                   .history = &history,
	                   .since = since,
	                   .database = database};
	MqBuffer out = {0};
	json_t  *read;

	assert_int_equal(status_print(&status, &out), MQ_OK);
	read = json_loadb(out.data, out.size, JSON_REJECT_DUPLICATES, NULL);
	mq_buffer_free(&out);
	assert_non_null(read);
	return read;
}

static const char *
text_at(json_t *object, const char *member, const char *name)
{
	return json_string_value(json_object_get(json_object_get(object, member), name));
}

static void
it_is_json_whatever_peers_say(void **state)
{
	char    giant[5000];
	json_t *read = printed("a \"name\" </script>\n", "\xff\xfe not UTF-8 \x01", 0, NULL);

	assert_string_equal(text_at(read, "worker", "name"), "a \"name\" </script>\n");
	assert_string_equal(text_at(read, "redis", "trouble"), "?? not UTF-8 \x01");
	assert_string_equal(text_at(read, "database", "state"), "off");
	assert_true(json_is_null(json_object_get(json_object_get(read, "queue"), "messages")));
	json_decref(read);
	memset(giant, '"', sizeof(giant) - 1);
	giant[sizeof(giant) - 1] = '\0';
	json_decref(printed(giant, giant, 0, NULL));
}

static size_t
samples_since(uint64_t since, int64_t *first)
{
	json_t *read = printed("n", "", since, NULL);
	json_t *told = json_object_get(read, "history");
	size_t  size = json_array_size(json_object_get(told, "samples"));

	*first = json_integer_value(json_object_get(told, "first"));
	assert_int_equal(*first + (int64_t) size, json_integer_value(json_object_get(told, "next")));
	json_decref(read);
	return size;
}

static void
it_tells_the_samples_that_are_new(void **state)
{
	int64_t first;

	history.count = 1000;
	assert_int_equal(samples_since(0, &first), HISTORY_SECONDS);
	assert_int_equal(samples_since(998, &first), 2);
	assert_int_equal(first, 998);
	assert_int_equal(samples_since(1000, &first), 0);
	/* Of a worker that ran before, or made up. */
	assert_int_equal(samples_since(1001, &first), HISTORY_SECONDS);
	assert_int_equal(first, 1000 - HISTORY_SECONDS);
	assert_int_equal(samples_since(UINT64_MAX, &first), HISTORY_SECONDS);
}

static void
put(const char *text, int64_t now_us)
{
	answer_put(answer, mq_bytes_of(text), now_us);
}

static void
it_is_asked_only_while_somebody_looks(void **state)
{
	assert_false(answer_is_wanted(answer, SECOND_US));
	view = answer_look(answer, 5 * SECOND_US);
	assert_int_equal(view.kind, ANSWER_NONE);
	assert_true(answer_is_wanted(answer, 14 * SECOND_US));
	assert_false(answer_is_wanted(answer, 15 * SECOND_US));
}

static void
an_answer_has_an_age_and_silence_is_told(void **state)
{
	json_t *read;

	answer_look(answer, SECOND_US);
	put("{\"dead\":0}", 2 * SECOND_US);
	view = answer_look(answer, 3 * SECOND_US);
	assert_int_equal(view.kind, ANSWER_GOOD);
	assert_int_equal(view.age_us, SECOND_US);
	read = printed("n", "", 0, &view);
	assert_non_null(
		json_object_get(json_object_get(json_object_get(read, "database"), "pipeline"), "dead"));
	json_decref(read);
	view = answer_look(answer, 6 * SECOND_US);
	assert_int_equal(view.kind, ANSWER_AWAY);
	assert_int_equal(view.text.size, 10);
	assert_int_equal(view.age_us, 4 * SECOND_US);
}

static void
the_last_answer_stays_with_the_reason_why_none_comes(void **state)
{
	answer_look(answer, SECOND_US);
	put("{}", 2 * SECOND_US);
	answer_look(answer, 2 * SECOND_US);
	answer_fail(answer, ANSWER_AWAY, "gone");
	view = answer_look(answer, 3 * SECOND_US);
	assert_int_equal(view.kind, ANSWER_AWAY);
	assert_string_equal(view.reason, "gone");
	assert_int_equal(view.text.size, 2);
}

static void
what_was_said_an_hour_ago_is_forgotten(void **state)
{
	answer_look(answer, SECOND_US);
	put("{}", 2 * SECOND_US);
	answer_look(answer, 2 * SECOND_US);
	view = answer_look(answer, 3600 * SECOND_US);
	assert_int_equal(view.kind, ANSWER_NONE);
	assert_int_equal(view.text.size, 0);
	/* ... and an answer that never comes is told. */
	view = answer_look(answer, 3603 * SECOND_US);
	assert_int_equal(view.kind, ANSWER_AWAY);
}

static void
what_is_no_object_is_refused(void **state)
{
	static const char *const bad[] = {"", "[]", "{", "{} x", "\xff", "null"};
	static char              giant[70000];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		put(bad[i], SECOND_US);
		assert_int_equal(answer_look(answer, SECOND_US).kind, ANSWER_REFUSED);
	}
	memset(giant, ' ', sizeof(giant));
	giant[0] = '{';
	giant[sizeof(giant) - 1] = '}';
	answer_put(answer, mq_bytes(giant, sizeof(giant)), SECOND_US);
	assert_int_equal(answer_look(answer, SECOND_US).kind, ANSWER_REFUSED);
}

/* Around the room that is tried first, and far beyond. */
static void
lines_of_any_length_are_whole(void **state)
{
	static const int sizes[] = {0, 1, 254, 255, 256, 257, 5000};
	char             text[5001];

	memset(text, 'x', sizeof(text));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		MqBuffer out = {0};

		assert_int_equal(mq_buffer_append(&out, "<", 1), MQ_OK);
		assert_int_equal(mq_buffer_printf(&out, "%.*s>", sizes[i], text), MQ_OK);
		assert_int_equal(out.size, sizes[i] + 2);
		assert_memory_equal(out.data + 1, text, sizes[i]);
		assert_int_equal(out.data[0], '<');
		assert_int_equal(out.data[out.size - 1], '>');
		mq_buffer_free(&out);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(it_is_json_whatever_peers_say),
		TEST(it_tells_the_samples_that_are_new),
		TEST(it_is_asked_only_while_somebody_looks),
		TEST(an_answer_has_an_age_and_silence_is_told),
		TEST(the_last_answer_stays_with_the_reason_why_none_comes),
		TEST(what_was_said_an_hour_ago_is_forgotten),
		TEST(what_is_no_object_is_refused),
		TEST(lines_of_any_length_are_whole),
	};

	return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
