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
	assert_int_equal(mq_url_parse("amqps://h/v?auth_mechanism=EXTERNAL&heartbeat=7", &url, NULL),
	                 MQ_OK);
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
	assert_int_equal(mq_url_parse_list("amqp://a, amqp://b:1 ,amqp://c", urls, &count, NULL),
	                 MQ_OK);
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
a_cluster_is_a_list_of_hosts(void **state)
{
	RedisUrl url;
	char     text[100] = "redis+cluster://a";
	MqError  error;

	(void) state;
	assert_int_equal(redis_url_parse("redis+cluster://u:p%40@h1:7000,[::1]:7001,h3", &url, NULL),
	                 MQ_OK);
	assert_int_equal(url.kind, REDIS_CLUSTER);
	assert_false(url.tls);
	assert_int_equal(url.host_count, 3);
	assert_string_equal(url.hosts[0].host, "h1");
	assert_int_equal(url.hosts[0].port, 7000);
	assert_string_equal(url.hosts[1].host, "::1");
	assert_int_equal(url.hosts[1].port, 7001);
	assert_string_equal(url.hosts[2].host, "h3");
	assert_int_equal(url.hosts[2].port, 6379);
	assert_string_equal(url.host, "h1");
	assert_string_equal(url.user, "u");
	assert_string_equal(url.password, "p@");
	redis_url_describe(&url, text, sizeof(text));
	assert_string_equal(text, "cluster h1:7000,[::1]:7001,h3:6379");
	redis_url_describe(&url, text, 12);
	assert_string_equal(text, "cluster h1:");

	assert_int_equal(redis_url_parse("rediss+cluster://h/", &url, NULL), MQ_OK);
	assert_true(url.tls);
	assert_int_equal(redis_url_parse("redis+cluster://h/0", &url, NULL), MQ_OK);
	assert_int_equal(redis_url_parse("redis+cluster://", &url, NULL), MQ_OK);
	assert_string_equal(url.hosts[0].host, "localhost");
	assert_int_equal(redis_url_parse("redis+cluster://h/1", &url, &error), MQ_INVALID);
	assert_string_equal(error.text, "URL: a cluster has database 0 only, and no options");
	assert_int_equal(redis_url_parse("redis+cluster://h?db=0", &url, NULL), MQ_INVALID);
	assert_int_equal(redis_url_parse("redis+cluster://h,,i", &url, NULL), MQ_INVALID);
	assert_int_equal(redis_url_parse("redis+cluster://h:x", &url, NULL), MQ_INVALID);
	strcpy(text, "redis+cluster://a");
	for (int i = 1; i < REDIS_MAX_HOSTS; i++)
		strcat(text, ",b");
	assert_int_equal(redis_url_parse(text, &url, NULL), MQ_OK);
	strcat(text, ",b");
	assert_int_equal(redis_url_parse(text, &url, NULL), MQ_INVALID);
}

static void
a_sentinel_group_has_a_master_and_two_logins(void **state)
{
	RedisUrl url;
	char     text[100];

	(void) state;
	assert_int_equal(redis_url_parse("redis+sentinel://u:p@h1,h2:5000/my%2dmaster/3"
	                                 "?sentinel_user=su&sentinel_password=s%26p",
	                                 &url, NULL),
	                 MQ_OK);
	assert_int_equal(url.kind, REDIS_SENTINEL);
	assert_int_equal(url.host_count, 2);
	assert_int_equal(url.hosts[0].port, 26379);
	assert_int_equal(url.hosts[1].port, 5000);
	assert_string_equal(url.master, "my-master");
	assert_int_equal(url.database, 3);
	assert_string_equal(url.user, "u");
	assert_string_equal(url.password, "p");
	assert_string_equal(url.sentinel_user, "su");
	assert_string_equal(url.sentinel_password, "s&p");
	redis_url_describe(&url, text, sizeof(text));
	assert_string_equal(text, "sentinel h1:26379,h2:5000/my-master/3");

	assert_int_equal(redis_url_parse("rediss+sentinel://h/m", &url, NULL), MQ_OK);
	assert_true(url.tls);
	assert_int_equal(url.database, 0);
	assert_int_equal(redis_url_parse("redis+sentinel://h/m/", &url, NULL), MQ_OK);
	assert_int_equal(redis_url_parse("redis+sentinel://h", &url, NULL), MQ_INVALID);
	assert_int_equal(redis_url_parse("redis+sentinel://h/", &url, NULL), MQ_INVALID);
	assert_int_equal(redis_url_parse("redis+sentinel://h//1", &url, NULL), MQ_INVALID);
	assert_int_equal(redis_url_parse("redis+sentinel://h/m/x", &url, NULL), MQ_INVALID);
	assert_int_equal(redis_url_parse("redis+sentinel://h/m?password=p", &url, NULL), MQ_INVALID);
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
		cmocka_unit_test(a_cluster_is_a_list_of_hosts),
		cmocka_unit_test(a_sentinel_group_has_a_master_and_two_logins),
		cmocka_unit_test(a_description_holds_no_password),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
