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
#define REFUSES(body, expected) \
	assert_string_equal(refusal(mq_bytes(body, sizeof(body) - 1), NULL), expected)

static bool
takes(MqBytes body)
{
	Invalidation invalidation;
	char         error[INVALIDATION_ERROR_BYTES] = "";
	bool         fine = invalidation_parse(&invalidation, body, mq_bytes(NULL, 0), error);

	if (fine)
		invalidation_free(&invalidation);
	else
		print_error("%s\n", error);
	return fine;
}

/* What the parser says; "" where it takes the body. */
static const char *
refusal(MqBytes body, const char *encoding)
{
	static char  error[INVALIDATION_ERROR_BYTES];
	Invalidation invalidation;

	error[0] = '\0';
	if (invalidation_parse(&invalidation, body, mq_bytes_of(encoding), error))
		invalidation_free(&invalidation);
	return error;
}

static void
keys_and_patterns_are_read(void **state)
{
	static const char body[] =
		"{\"keys\":[\"blogs:all\",\"bl\xC3\xBCte:\\u00e9\"],\"patterns\":[\"blog:*\"]}";
	Invalidation invalidation;
	char         error[INVALIDATION_ERROR_BYTES];

	assert_true(invalidation_parse(&invalidation, mq_bytes(body, sizeof(body) - 1),
								   mq_bytes(NULL, 0), error));
	assert_int_equal(invalidation_key_count(&invalidation), 2);
	assert_int_equal(invalidation_pattern_count(&invalidation), 1);
	assert_true(mq_bytes_equal(invalidation_key(&invalidation, 0), mq_bytes_of("blogs:all")));
	assert_true(mq_bytes_equal(invalidation_key(&invalidation, 1),
							   mq_bytes_of("bl\xC3\xBCte:\xC3\xA9")));
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
	REFUSES(" ", "not JSON: unexpected token at byte 1");
	REFUSES("nope", "not JSON: invalid token at byte 4");
	REFUSES("{\"keys\":[\"a\"", "not JSON: ']' expected at byte 12");
	REFUSES("{\"keys\":[\"a\"]", "not JSON: '}' expected at byte 13");
	REFUSES("{\"keys\":[\"a]}", "not JSON: premature end of input at byte 13");
	REFUSES("{\"keys\":[\"a\"]} {}", "not JSON: end of file expected at byte 16");
	REFUSES("{\"keys\":[\"a\",]}", "not JSON: unexpected token at byte 14");
	REFUSES("{'keys':['a']}", "not JSON: string or '}' expected at byte 2");
	REFUSES("\xEF\xBB\xBF{\"keys\":[]}", "not JSON: a byte order mark at byte 0");
	REFUSES("{\"keys\":[\"a\0b\"]}", "not JSON: control character 0x0 at byte 11");
}

static void
bad_text_is_refused(void **state)
{
	REFUSES("{\"keys\":[\"\xFF\"]}", "not JSON: unable to decode byte 0xff at byte 10");
	REFUSES("{\"keys\":[\"\xC0\x80\"]}", "not JSON: unable to decode byte 0xc0 at byte 10");
	REFUSES("{\"keys\":[\"\\ud800\"]}", "not JSON: invalid Unicode '\\uD800' at byte 17");
	REFUSES("{\"keys\":[\"\\udc00\\ud800\"]}", "not JSON: invalid Unicode '\\uDC00' at byte 23");
	REFUSES("{\"keys\":[\"a\\u0000\"]}", "\\u0000 is not taken, at byte 18");
}

static void
huge_numbers_are_refused(void **state)
{
	REFUSES("{\"keys\":[],\"n\":1e999}", "not JSON: real number overflow at byte 20");
	REFUSES("{\"keys\":[],\"n\":123456789012345678901234567890}",
			"not JSON: too big integer at byte 45");
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
	REFUSES("{\"keys\":[],\"keys\":[]}", "not JSON: duplicate object key at byte 17");
	REFUSES("{\"keys\":[],\"x\":1,\"x\":1}", "not JSON: duplicate object key at byte 20");
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
						"too many values: the body would take too much memory");
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
	static const char seed[] = "{\"keys\":[\"a\\u00e9\",\"b\"],\"patterns\":[\"c*\"],\"n\":[1,-2.5e3]}";
	char              body[sizeof(seed)];

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
		cmocka_unit_test(huge_numbers_are_refused),
		cmocka_unit_test(the_wrong_shape_is_refused),
		cmocka_unit_test(compressed_bodies_are_refused_plain_ones_are_not),
		cmocka_unit_test(the_number_of_keys_is_bounded),
		cmocka_unit_test(depth_is_bounded),
		cmocka_unit_test(the_body_is_bounded),
		cmocka_unit_test(errors_do_not_show_the_body),
		cmocka_unit_test(no_bytes_harm_it),
		cmocka_unit_test(prefixes_allow),
		cmocka_unit_test(patterns_are_allowed_by_their_literal_head),
	};

	return cmocka_run_group_tests_name("invalidation", tests, NULL, NULL);
}
