/*
 * url_test.c
 *    URLs of broker and Redis, good and bad; a bad one is never repeated in its error.
 */
#include "t/unit/unit.h"

#include "wire/url.h"

static void
the_shortest_amqp_url_means_the_defaults(void **state)
{
	MqUrl url;

	(void) state;
	assert_int_equal(mq_url_parse("amqp://", &url, NULL), MQ_OK);
	assert_string_equal(url.host, "localhost");
	assert_int_equal(url.port, 5672);
	assert_string_equal(url.user, "guest");
	assert_string_equal(url.password, "guest");
	assert_string_equal(url.vhost, "/");
	assert_int_equal(url.heartbeat_s, 10);
	assert_false(url.tls);
}

static void
every_part_is_decoded(void **state)
{
	MqUrl url;

	(void) state;
	assert_int_equal(mq_url_parse("AMQPS://us%40er:p%3a%2F@[::1]:99/v%2fh?heartbeat=0", &url, NULL),
					 MQ_OK);
	assert_true(url.tls);
	assert_string_equal(url.user, "us@er");
	assert_string_equal(url.password, "p:/");
	assert_string_equal(url.host, "::1");
	assert_int_equal(url.port, 99);
	assert_string_equal(url.vhost, "v/h");
	assert_int_equal(url.heartbeat_s, 0);
}

static void
a_certificate_may_say_who_we_are(void **state)
{
	MqUrl url;

	(void) state;
	assert_int_equal(mq_url_parse("amqps://h/v?auth_mechanism=EXTERNAL&heartbeat=7", &url, NULL), MQ_OK);
	assert_true(url.external);
	assert_int_equal(url.heartbeat_s, 7);
	assert_int_equal(mq_url_parse("amqp://h?heartbeat=7&auth_mechanism=plain", &url, NULL), MQ_OK);
	assert_false(url.external);
}

static void
amqps_has_its_own_port(void **state)
{
	MqUrl url;

	(void) state;
	assert_int_equal(mq_url_parse("amqps://h", &url, NULL), MQ_OK);
	assert_int_equal(url.port, 5671);
}

static void
bad_amqp_urls_are_refused_without_being_repeated(void **state)
{
	static const char *const bad[] = {
		"",
		"http://secret@h",
		"amqp:/secret",
		"amqp://u:secret@h:0",
		"amqp://u:secret@h:65536",
		"amqp://u:secret@h:abc",
		"amqp://u:secret@h:",
		"amqp://u:secret%zz@h",
		"amqp://u:secret%@h",
		"amqp://u:secret%00@h",
		"amqp://u:secret@[::1",
		"amqp://u:secret@[::1]x",
		"amqp://u:secret@h/a/b",
		"amqp://u:secret@h/?heartbeat=secret",
		"amqp://u:secret@h/?heartbeat=-1",
		"amqp://u:secret@h/?heartbeat=3601",
		"amqp://u:secret@h/?verify=secret",
		"amqp://u:secret@h/?heartbeat=5&verify=secret",
		"amqp://u:secret@h/?heartbeat=5&&",
		"amqp://u:secret@h/?auth_mechanism=external",
		"amqps://u:secret@h/?auth_mechanism=secret",
		"amqps://u:secret@h/?auth_mechanism=",
		"amqp://u:sec/ret@h",
	};

	(void) state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		MqUrl   url;
		MqError error = {0};

		if (mq_url_parse(bad[i], &url, &error) != MQ_INVALID)
			fail_msg("taken: %s", bad[i]);
		assert_true(error.text[0] != '\0');
		assert_null(strstr(error.text, "secret"));
		assert_null(strstr(error.text, "sec/ret"));
	}
}

static void
a_part_that_is_too_long_is_refused(void **state)
{
	char  text[600] = "amqp://";
	MqUrl url;

	(void) state;
	memset(text + 7, 'h', 256);
	assert_int_equal(mq_url_parse(text, &url, NULL), MQ_INVALID);
	text[7 + 255] = '\0';
	assert_int_equal(mq_url_parse(text, &url, NULL), MQ_OK);
}

static void
a_list_is_split_at_commas(void **state)
{
	MqUrl urls[MQ_MAX_URLS];
	int   count;

	(void) state;
	assert_int_equal(mq_url_parse_list("amqp://a, amqp://b:1 ,amqp://c", urls, &count, NULL), MQ_OK);
	assert_int_equal(count, 3);
	assert_string_equal(urls[1].host, "b");
	assert_int_equal(urls[1].port, 1);
	assert_int_equal(mq_url_parse_list("amqp://a,", urls, &count, NULL), MQ_INVALID);
	assert_int_equal(mq_url_parse_list("", urls, &count, NULL), MQ_INVALID);
}

static void
too_many_urls_are_refused(void **state)
{
	char  text[MQ_MAX_URLS * 16 + 16] = "amqp://h";
	MqUrl urls[MQ_MAX_URLS];
	int   count;

	(void) state;
	for (int i = 1; i < MQ_MAX_URLS; i++)
		strcat(text, ",amqp://h");
	assert_int_equal(mq_url_parse_list(text, urls, &count, NULL), MQ_OK);
	strcat(text, ",amqp://h");
	assert_int_equal(mq_url_parse_list(text, urls, &count, NULL), MQ_INVALID);
}

static void
redis_urls(void **state)
{
	RedisUrl url;

	(void) state;
	assert_int_equal(redis_url_parse("redis://", &url, NULL), MQ_OK);
	assert_string_equal(url.host, "localhost");
	assert_int_equal(url.port, 6379);
	assert_string_equal(url.password, "");
	assert_int_equal(redis_url_parse("redis://:pw@h:7000/3", &url, NULL), MQ_OK);
	assert_string_equal(url.user, "");
	assert_string_equal(url.password, "pw");
	assert_int_equal(url.database, 3);
	assert_int_equal(redis_url_parse("redis+unix://u:p@/run/redis/redis.sock?db=2", &url, NULL),
					 MQ_OK);
	assert_string_equal(url.path, "/run/redis/redis.sock");
	assert_string_equal(url.user, "u");
	assert_int_equal(url.database, 2);
	assert_int_equal(redis_url_parse("redis://h/x", &url, NULL), MQ_INVALID);
	assert_int_equal(redis_url_parse("redis+unix://host/path", &url, NULL), MQ_INVALID);
	assert_int_equal(redis_url_parse("amqp://h", &url, NULL), MQ_INVALID);
}

static void
a_description_holds_no_password(void **state)
{
	MqUrl    url;
	RedisUrl redis;
	char     text[64];

	(void) state;
	mq_url_parse("amqp://u:secret@h:1/v", &url, NULL);
	mq_url_describe(&url, text, sizeof(text));
	assert_string_equal(text, "h:1/v");
	mq_url_parse("amqp://u:secret@[::1]", &url, NULL);
	mq_url_describe(&url, text, sizeof(text));
	assert_string_equal(text, "[::1]:5672/");
	redis_url_parse("redis://u:secret@h:1/2", &redis, NULL);
	redis_url_describe(&redis, text, sizeof(text));
	assert_string_equal(text, "h:1/2");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_shortest_amqp_url_means_the_defaults),
		cmocka_unit_test(every_part_is_decoded),
		cmocka_unit_test(a_certificate_may_say_who_we_are),
		cmocka_unit_test(amqps_has_its_own_port),
		cmocka_unit_test(bad_amqp_urls_are_refused_without_being_repeated),
		cmocka_unit_test(a_part_that_is_too_long_is_refused),
		cmocka_unit_test(a_list_is_split_at_commas),
		cmocka_unit_test(too_many_urls_are_refused),
		cmocka_unit_test(redis_urls),
		cmocka_unit_test(a_description_holds_no_password),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
