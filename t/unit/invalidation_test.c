/*
 * invalidation_test.c
 *    What the worker takes for an invalidation, and what it says of all else.
 */
#include "worker/invalidation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define TAKES(body) assert_true(takes(mq_bytes(body, sizeof(body) - 1)))
#define REFUSES(body, expected)                                                                    \
	assert_string_equal(refusal(mq_bytes(body, sizeof(body) - 1), NULL), expected)

static bool
takes(MqBytes body)
{
	Invalidation invalidation = {0};
	char         error[INVALIDATION_ERROR_BYTES] = "";
	bool         fine = invalidation_parse(&invalidation, body, mq_bytes(NULL, 0), error);

	invalidation_free(&invalidation);
	if (!fine)
		print_error("%s\n", error);
	return fine;
}

/* What the parser says; "" where it takes the body. */
static const char *
refusal(MqBytes body, const char *encoding)
{
	static char  error[INVALIDATION_ERROR_BYTES];
	Invalidation invalidation = {0};

	error[0] = '\0';
	if (invalidation_parse(&invalidation, body, mq_bytes_of(encoding), error))
		error[0] = '\0';
	invalidation_free(&invalidation);
	return error;
}

static void
keys_and_patterns_are_read(void **state)
{
	static const char body[] =
		"{\"keys\":[\"blogs:all\",\"bl\xC3\xBCte:\\u00e9\"],\"patterns\":[\"blog:*\"]}";
	Invalidation invalidation = {0};
	char         error[INVALIDATION_ERROR_BYTES];

	assert_true(invalidation_parse(&invalidation, mq_bytes(body, sizeof(body) - 1),
	                               mq_bytes(NULL, 0), error));
	assert_int_equal(invalidation_key_count(&invalidation), 2);
	assert_int_equal(invalidation_pattern_count(&invalidation), 1);
	assert_true(mq_bytes_equal(invalidation_key(&invalidation, 0), mq_bytes_of("blogs:all")));
	assert_true(
		mq_bytes_equal(invalidation_key(&invalidation, 1), mq_bytes_of("bl\xC3\xBCte:\xC3\xA9")));
	assert_true(mq_bytes_equal(invalidation_pattern(&invalidation, 0), mq_bytes_of("blog:*")));
	invalidation_free(&invalidation);
}

static void
unknown_members_and_empty_lists_are_fine(void **state)
{
	TAKES("{\"keys\":[]}");
	TAKES("{\"patterns\":[]}");
	TAKES(" {\"keys\":[\"a\",\"a\"],\"v\":2,\"x\":{\"keys\":[1,null,true,1.5e3]}} \n");
	TAKES("{\"keys\":[\"with space\",\"new\\nline\",\"*?[]{}\\\\\"]}");
}

static void
what_is_not_json_is_refused_with_the_place(void **state)
{
	REFUSES("", "not JSON: the body is empty");
	REFUSES(" ", "not JSON: it ends too early at byte 1");
	REFUSES("nope", "not JSON: a value is expected at byte 0");
	REFUSES("{\"keys\":[\"a\"", "not JSON: it ends too early at byte 12");
	REFUSES("{\"keys\":[\"a\"]", "not JSON: it ends too early at byte 13");
	REFUSES("{\"keys\":[\"a]}", "not JSON: it ends too early at byte 13");
	REFUSES("{\"keys\":[\"a\\", "not JSON: it ends too early at byte 12");
	REFUSES("{\"keys\"", "not JSON: it ends too early at byte 7");
	REFUSES("{\"keys\":[],", "not JSON: it ends too early at byte 11");
	REFUSES("{\"keys\":[\"a\"]} {}", "not JSON: something behind the end at byte 15");
	REFUSES("{\"keys\":[\"a\",]}", "not JSON: a value is expected at byte 13");
	REFUSES("{\"keys\":[,\"a\"]}", "not JSON: a value is expected at byte 9");
	REFUSES("{\"keys\":[\"a\" \"b\"]}", "not JSON: ',' or ']' is expected at byte 13");
	REFUSES("{\"keys\":[\"a\"}", "not JSON: ',' or ']' is expected at byte 12");
	REFUSES("{\"keys\":[] \"b\":1}", "not JSON: ',' or '}' is expected at byte 11");
	REFUSES("{\"keys\":[],}", "not JSON: a member's name is expected at byte 11");
	REFUSES("{'keys':['a']}", "not JSON: a member's name is expected at byte 1");
	REFUSES("{\"keys\" []}", "not JSON: ':' is expected at byte 8");
	REFUSES("{\"keys\":[],\"n\":01}", "not JSON: a number is malformed at byte 15");
	REFUSES("{\"keys\":[],\"n\":-}", "not JSON: a number is malformed at byte 15");
	REFUSES("{\"keys\":[],\"n\":1.}", "not JSON: a number is malformed at byte 15");
	REFUSES("{\"keys\":[],\"n\":1e+}", "not JSON: a number is malformed at byte 15");
	REFUSES("{\"keys\":[],\"n\":+1}", "not JSON: a value is expected at byte 15");
	REFUSES("{\"keys\":[],\"n\":nul}", "not JSON: a value is expected at byte 15");
	REFUSES("{\"keys\":[],\"n\":0x1}", "not JSON: ',' or '}' is expected at byte 16");
	REFUSES("\xEF\xBB\xBF{\"keys\":[]}", "not JSON: a byte order mark at byte 0");
	REFUSES("{\"keys\":[\"a\0b\"]}", "not JSON: a control character at byte 11");
	REFUSES("{\"keys\":[\"a\tb\"]}", "not JSON: a control character at byte 11");
}

static void
bad_text_is_refused(void **state)
{
	REFUSES("{\"keys\":[\"\xFF\"]}", "not JSON: invalid UTF-8 at byte 10");
	REFUSES("{\"keys\":[\"\xC0\x80\"]}", "not JSON: invalid UTF-8 at byte 10");
	REFUSES("{\"keys\":[\"\xE0\x9F\xBF\"]}", "not JSON: invalid UTF-8 at byte 10");
	REFUSES("{\"keys\":[\"\xED\xA0\x80\"]}", "not JSON: invalid UTF-8 at byte 10");
	REFUSES("{\"keys\":[\"\xF0\x8F\xBF\xBF\"]}", "not JSON: invalid UTF-8 at byte 10");
	REFUSES("{\"keys\":[\"\xF4\x90\x80\x80\"]}", "not JSON: invalid UTF-8 at byte 10");
	REFUSES("{\"keys\":[\"a\xC3\"]}", "not JSON: invalid UTF-8 at byte 11");
	REFUSES("{\"keys\":[\"a\xE2\x82", "not JSON: invalid UTF-8 at byte 11");
	REFUSES("{\"keys\":[\"\\ud800\"]}", "not JSON: a lone surrogate at byte 10");
	REFUSES("{\"keys\":[\"\\ud800\\ud800\"]}", "not JSON: a lone surrogate at byte 10");
	REFUSES("{\"keys\":[\"\\udc00\\ud800\"]}", "not JSON: a lone surrogate at byte 10");
	REFUSES("{\"keys\":[\"a\\ud83d\\", "not JSON: a lone surrogate at byte 11");
	REFUSES("{\"keys\":[\"\\x\"]}", "not JSON: an unknown escape at byte 10");
	REFUSES("{\"keys\":[\"\\u12g4\"]}", "not JSON: an unknown escape at byte 10");
	REFUSES("{\"keys\":[\"a\\u0000\"]}", "\\u0000 is not taken, at byte 11");
	REFUSES("{\"keys\":[\"a\"],\"\\u0000\":1}", "\\u0000 is not taken, at byte 15");
}

/* At each place of a long string, since it is looked at eight bytes at a time. */
static void
bad_text_is_refused_wherever_it_is(void **state)
{
	static const struct
	{
		char        byte;
		const char *problem;
	} bad[] = {{'\0', "not JSON: a control character"},
	           {'\x1f', "not JSON: a control character"},
	           {'\x80', "not JSON: invalid UTF-8"},
	           {'\xff', "not JSON: invalid UTF-8"},
	           {'\\', "not JSON: an unknown escape"}};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		for (size_t place = 0; place < 26; place++)
		{
			char         body[] = "{\"keys\":[\"aaaaaaaaaaaaaaaaaaaaaaaaaa\"]}";
			Invalidation invalidation = {0};
			char         error[INVALIDATION_ERROR_BYTES], expected[INVALIDATION_ERROR_BYTES];
			size_t       at = 10 + place;

			/* Quotes would be escaped by a backslash; an 'a' is not. */
			body[at] = bad[i].byte;
			if (bad[i].byte == '\\' && place == 25)
				continue;
			snprintf(expected, sizeof(expected), "%s at byte %zu", bad[i].problem, at);
			assert_false(invalidation_parse(&invalidation, mq_bytes(body, sizeof(body) - 1),
			                                mq_bytes(NULL, 0), error));
			assert_string_equal(error, expected);
			invalidation_free(&invalidation);
		}
}

/* Where it ends counts, too. */
static void
strings_of_every_length(void **state)
{
	for (size_t size = 1; size < 40; size++)
	{
		char         body[128], name[64];
		Invalidation invalidation = {0};
		char         error[INVALIDATION_ERROR_BYTES];

		memset(name, 'a', size);
		name[size] = '\0';
		snprintf(body, sizeof(body), "{\"keys\":[\"%s\",\"b\"]}", name);
		assert_true(invalidation_parse(&invalidation, mq_bytes_of(body), mq_bytes(NULL, 0), error));
		assert_int_equal(invalidation_key_count(&invalidation), 2);
		assert_true(mq_bytes_equal(invalidation_key(&invalidation, 0), mq_bytes_of(name)));
		assert_true(mq_bytes_equal(invalidation_key(&invalidation, 1), mq_bytes_of("b")));
		invalidation_free(&invalidation);
	}
}

static void
escapes_are_decoded(void **state)
{
	static const char body[] =
		"{\"\\u006beys\":[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\",\"a\\u00e9\\u20aC\\ud83d\\ude00z\",\"plain\"]}";
	Invalidation invalidation = {0};
	char         error[INVALIDATION_ERROR_BYTES];

	assert_true(invalidation_parse(&invalidation, mq_bytes(body, sizeof(body) - 1),
	                               mq_bytes(NULL, 0), error));
	assert_int_equal(invalidation_key_count(&invalidation), 3);
	assert_true(mq_bytes_equal(invalidation_key(&invalidation, 0), mq_bytes_of("\"\\/\b\f\n\r\t")));
	assert_true(mq_bytes_equal(invalidation_key(&invalidation, 1),
	                           mq_bytes_of("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z")));
	assert_true(mq_bytes_equal(invalidation_key(&invalidation, 2), mq_bytes_of("plain")));
	invalidation_free(&invalidation);
}

/* One scanner for all messages: a later one sees nothing of those before. */
static void
a_scanner_is_used_again(void **state)
{
	static const char *const bodies[] = {"{\"keys\":[\"\\u0061\",\"b\"],\"x\":{\"y\":[",
	                                     "{\"patterns\":[\"p\"]}",
	                                     "{\"keys\":[\"\\u0063a long string with an escape\"]}"};
	Invalidation             invalidation = {0};
	char                     error[INVALIDATION_ERROR_BYTES];

	assert_false(
		invalidation_parse(&invalidation, mq_bytes_of(bodies[0]), mq_bytes(NULL, 0), error));
	invalidation_forget(&invalidation);
	assert_true(
		invalidation_parse(&invalidation, mq_bytes_of(bodies[1]), mq_bytes(NULL, 0), error));
	assert_int_equal(invalidation_key_count(&invalidation), 0);
	assert_int_equal(invalidation_pattern_count(&invalidation), 1);
	assert_true(
		invalidation_parse(&invalidation, mq_bytes_of(bodies[2]), mq_bytes(NULL, 0), error));
	assert_int_equal(invalidation_pattern_count(&invalidation), 0);
	assert_true(mq_bytes_equal(invalidation_key(&invalidation, 0),
	                           mq_bytes_of("ca long string with an escape")));
	invalidation_free(&invalidation);
}

static void
huge_numbers_are_refused(void **state)
{
	REFUSES("{\"keys\":[],\"n\":1e999}", "not JSON: a number is too large at byte 15");
	REFUSES("{\"keys\":[],\"n\":-1e999}", "not JSON: a number is too large at byte 15");
	REFUSES("{\"keys\":[],\"n\":123456789012345678901234567890}",
	        "not JSON: a number is too large at byte 15");
	TAKES("{\"keys\":[],\"n\":[9223372036854775807,-9223372036854775808,1e-999,-0,0.5E+10]}");
}

static void
the_wrong_shape_is_refused(void **state)
{
	REFUSES("[]", "not a JSON object");
	REFUSES("5", "not a JSON object");
	REFUSES("\"keys\"", "not a JSON object");
	REFUSES("{}", "neither \"keys\" nor \"patterns\"");
	REFUSES("{\"Keys\":[]}", "neither \"keys\" nor \"patterns\"");
	REFUSES("{\"keys\":\"a\"}", "\"keys\" is not an array of strings");
	REFUSES("{\"keys\":null}", "\"keys\" is not an array of strings");
	REFUSES("{\"keys\":[\"a\",1]}", "\"keys\" is not an array of strings: element 1");
	REFUSES("{\"keys\":[[\"a\"]]}", "\"keys\" is not an array of strings: element 0");
	REFUSES("{\"keys\":[\"a\"],\"patterns\":{}}", "\"patterns\" is not an array of strings");
	REFUSES("{\"keys\":[\"a\",\"\"]}", "\"keys\" holds an empty string: element 1");
	REFUSES("{\"patterns\":[\"\"]}", "\"patterns\" holds an empty string: element 0");
	REFUSES("{\"keys\":[],\"keys\":[]}", "not JSON: the same member twice at byte 11");
	REFUSES("{\"keys\":[],\"\\u006beys\":[]}", "not JSON: the same member twice at byte 11");
	REFUSES("{\"keys\":[],\"x\":{\"a\":{\"b\":1,\"b\":2}}}",
	        "not JSON: the same member twice at byte 27");
	TAKES("{\"keys\":[],\"x\":{\"keys\":{\"x\":1}},\"y\":{\"keys\":2}}");
	/* A mistake in the JSON comes before one in the shape. */
	REFUSES("{\"keys\":{},\"patterns\":1} x", "not JSON: something behind the end at byte 25");
	REFUSES("{\"keys\":[],\"x\":1,\"x\":1}", "not JSON: the same member twice at byte 17");
}

static void
compressed_bodies_are_refused_plain_ones_are_not(void **state)
{
	MqBytes body = mq_bytes_of("{\"keys\":[]}");

	assert_string_equal(refusal(body, "gzip"), "the body has a content encoding");
	assert_string_equal(refusal(body, "utf-8x"), "the body has a content encoding");
	assert_string_equal(refusal(body, "UTF-8"), "");
	assert_string_equal(refusal(body, "identity"), "");
	assert_string_equal(refusal(body, ""), "");
}

/* {"keys":["k","k",...]} */
static char *
many_keys(size_t count)
{
	char *body = malloc(count * 4 + 16);
	char *at = body + sprintf(body, "{\"keys\":[");

	for (size_t i = 0; i < count; i++)
		at += sprintf(at, i == 0 ? "\"k\"" : ",\"k\"");
	strcpy(at, "]}");
	return body;
}

static void
the_number_of_keys_is_bounded(void **state)
{
	char *body = many_keys(10000);

	assert_true(takes(mq_bytes_of(body)));
	free(body);
	body = many_keys(10001);
	assert_string_equal(refusal(mq_bytes_of(body), NULL),
	                    "\"keys\" has 10001 elements, at most 10000 are taken");
	free(body);
	body = many_keys(100000);
	assert_string_equal(refusal(mq_bytes_of(body), NULL),
	                    "\"keys\" has 100000 elements, at most 10000 are taken");
	free(body);
	body = many_keys(4000000);
	assert_string_equal(refusal(mq_bytes_of(body), NULL),
	                    "\"keys\" has 4000000 elements, at most 10000 are taken");
	free(body);
}

/* {"keys":[],"x":[[[...]]]} with so many brackets in it. */
static char *
deep_body(size_t brackets)
{
	char *body = malloc(2 * brackets + 32);
	char *at = body + sprintf(body, "{\"keys\":[],\"[[[\":");

	memset(at, '[', brackets);
	memset(at + brackets, ']', brackets);
	strcpy(at + 2 * brackets, "}");
	return body;
}

static void
depth_is_bounded(void **state)
{
	char *body = deep_body(31);

	assert_true(takes(mq_bytes_of(body)));
	free(body);
	body = deep_body(32);
	assert_string_equal(refusal(mq_bytes_of(body), NULL), "nested deeper than 32 at byte 48");
	free(body);
	body = deep_body(1000000);
	assert_string_equal(refusal(mq_bytes_of(body), NULL), "nested deeper than 32 at byte 48");
	free(body);
}

static void
the_number_of_members_is_bounded(void **state)
{
	char *body = malloc(70000 * 10);
	char *at = body + sprintf(body, "{\"keys\":[]");

	for (int i = 0; i < 65535; i++)
		at += sprintf(at, ",\"%x\":1", i);
	strcpy(at, "}");
	assert_true(takes(mq_bytes_of(body)));
	strcpy(at, ",\"x\":1}");
	assert_non_null(strstr(refusal(mq_bytes_of(body), NULL), "too many members at byte "));
	free(body);
}

static void
the_body_is_bounded(void **state)
{
	size_t size = INVALIDATION_MAX_BODY_BYTES;
	char  *body = malloc(size + 2);

	memset(body, ' ', size + 1);
	memcpy(body, "{\"keys\":[\"a\"]}", 14);
	assert_true(takes(mq_bytes(body, size)));
	assert_string_equal(refusal(mq_bytes(body, size + 1), NULL),
	                    "the body has 16777217 bytes, at most 16777216 are taken");
	free(body);
}

static void
errors_do_not_show_the_body(void **state)
{
	static const char *const bodies[] = {"{\"secret\" \"secret\"}", "secret", "{\"keys\":[secret]}",
	                                     "{\"secret\":1,\"secret\":1}"};

	for (size_t i = 0; i < 4; i++)
		assert_null(strstr(refusal(mq_bytes_of(bodies[i]), NULL), "secret"));
}

/* Whatever bytes come, it answers yes or no. Deterministic: a failure can be repeated. */
static void
no_bytes_harm_it(void **state)
{
	static const char seed[] =
		"{\"keys\":[\"a\\u00e9\",\"b\"],\"patterns\":[\"c*\"],\"n\":[1,-2.5e3]}";
	char body[sizeof(seed)];

	srandom(7);
	for (int i = 0; i < 20000; i++)
	{
		size_t size = (size_t) random() % sizeof(seed);

		memcpy(body, seed, sizeof(seed));
		for (long changes = random() % 4; changes > 0; changes--)
			body[(size_t) random() % sizeof(seed)] = (char) random();
		refusal(mq_bytes(body, size), NULL);
	}
}

static void
prefixes_allow(void **state)
{
	char *const allowed[] = {"blog:", "a[b"};

	assert_true(invalidation_key_allowed(mq_bytes_of("blog:1"), allowed, 2));
	assert_true(invalidation_key_allowed(mq_bytes_of("blog:"), allowed, 2));
	assert_false(invalidation_key_allowed(mq_bytes_of("blog"), allowed, 2));
	assert_false(invalidation_key_allowed(mq_bytes_of("xblog:1"), allowed, 2));
	assert_true(invalidation_key_allowed(mq_bytes_of("anything"), NULL, 0));
}

static void
patterns_are_allowed_by_their_literal_head(void **state)
{
	char *const allowed[] = {"blog:", "a[b"};

	assert_true(invalidation_pattern_allowed(mq_bytes_of("blog:*"), allowed, 2));
	assert_true(invalidation_pattern_allowed(mq_bytes_of("b\\log:[12]"), allowed, 2));
	assert_true(invalidation_pattern_allowed(mq_bytes_of("a\\[b*"), allowed, 2));
	assert_false(invalidation_pattern_allowed(mq_bytes_of("a[b]*"), allowed, 2));
	assert_false(invalidation_pattern_allowed(mq_bytes_of("blog*"), allowed, 2));
	assert_false(invalidation_pattern_allowed(mq_bytes_of("*"), allowed, 2));
	assert_false(invalidation_pattern_allowed(mq_bytes_of("b?og:1"), allowed, 2));
	assert_false(invalidation_pattern_allowed(mq_bytes_of("blo\\"), allowed, 2));
	assert_true(invalidation_pattern_allowed(mq_bytes_of("*"), NULL, 0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_and_patterns_are_read),
		cmocka_unit_test(unknown_members_and_empty_lists_are_fine),
		cmocka_unit_test(what_is_not_json_is_refused_with_the_place),
		cmocka_unit_test(bad_text_is_refused),
		cmocka_unit_test(bad_text_is_refused_wherever_it_is),
		cmocka_unit_test(strings_of_every_length),
		cmocka_unit_test(escapes_are_decoded),
		cmocka_unit_test(a_scanner_is_used_again),
		cmocka_unit_test(huge_numbers_are_refused),
		cmocka_unit_test(the_wrong_shape_is_refused),
		cmocka_unit_test(compressed_bodies_are_refused_plain_ones_are_not),
		cmocka_unit_test(the_number_of_keys_is_bounded),
		cmocka_unit_test(depth_is_bounded),
		cmocka_unit_test(the_number_of_members_is_bounded),
		cmocka_unit_test(the_body_is_bounded),
		cmocka_unit_test(errors_do_not_show_the_body),
		cmocka_unit_test(no_bytes_harm_it),
		cmocka_unit_test(prefixes_allow),
		cmocka_unit_test(patterns_are_allowed_by_their_literal_head),
	};

	return cmocka_run_group_tests_name("invalidation", tests, NULL, NULL);
}
