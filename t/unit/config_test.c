/*
 * config_test.c
 *    Options of the worker: command line over environment over defaults, and what is refused.
 */
#include "worker/config.h"

#include "worker/options.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static WorkerConfig config;
static char         error[CONFIG_ERROR_BYTES];

/* The environment of a test: one variable. */
static const char *environment_name, *environment_value;

static const char *
environment(const char *name)
{
	return environment_name != NULL && strcmp(name, environment_name) == 0 ? environment_value
	                                                                       : NULL;
}

/* Arguments behind the program's name, closed by NULL. */
static ConfigOutcome
load(const char *first, ...)
{
	char   *argv[32] = {"outbox-worker"};
	int     argc = 1;
	va_list rest;

	va_start(rest, first);
	for (const char *arg = first; arg != NULL; arg = va_arg(rest, const char *))
		argv[argc++] = (char *) arg;
	va_end(rest);
	config_free(&config);
	error[0] = '\0';
	return config_load(&config, argc, argv, environment, error);
}

static int
no_environment(void **state)
{
	environment_name = NULL;
	return 0;
}

static void
defaults_are_those_of_the_contract(void **state)
{
	assert_int_equal(load(NULL), CONFIG_RUN);
	assert_int_equal(config.amqp_url_count, 1);
	assert_string_equal(config.amqp_urls[0].host, "localhost");
	assert_string_equal(config.amqp_urls[0].vhost, "/");
	assert_string_equal(config.redis_urls[0].host, "localhost");
	assert_string_equal(config.queue, "cache-invalidation");
	assert_string_equal(config.exchange, "");
	assert_int_equal(config.prefetch, 256);
	assert_int_equal(config.stop_timeout_us, 10000000);
	assert_int_equal(config.queue_type, QUEUE_CLASSIC);
	assert_false(config.no_declare || config.dry_run || config.check);
	assert_int_equal(config.log_level, LEVEL_INFO);
	assert_true(strlen(config.name) > 2);
}

static void
both_ways_to_give_a_value_and_the_last_counts(void **state)
{
	assert_int_equal(load("--queue=a", "--queue", "b", "--prefetch", "7", "--no-declare", NULL),
	                 CONFIG_RUN);
	assert_string_equal(config.queue, "b");
	assert_int_equal(config.prefetch, 7);
	assert_true(config.no_declare);
}

static void
the_command_line_goes_before_the_environment(void **state)
{
	environment_name = "OUTBOX_QUEUE";
	environment_value = "from environment";
	assert_int_equal(load(NULL), CONFIG_RUN);
	assert_string_equal(config.queue, "from environment");
	assert_int_equal(load("--queue=given", NULL), CONFIG_RUN);
	assert_string_equal(config.queue, "given");
	environment_value = "";
	assert_int_equal(load(NULL), CONFIG_RUN);
	assert_string_equal(config.queue, "cache-invalidation");
}

static void
repeatable_options_replace_never_add(void **state)
{
	environment_name = "OUTBOX_ALLOW_PREFIX";
	environment_value = " blog:\t author: ";
	assert_int_equal(load(NULL), CONFIG_RUN);
	assert_int_equal(config.allowed_count, 2);
	assert_string_equal(config.allowed[1], "author:");
	assert_int_equal(load("--allow-prefix=x", "--allow-prefix=y z", NULL), CONFIG_RUN);
	assert_int_equal(config.allowed_count, 2);
	assert_string_equal(config.allowed[1], "y z");
}

static void
several_brokers(void **state)
{
	assert_int_equal(load("--amqp-url=amqp://a,amqp://b:1234/v", NULL), CONFIG_RUN);
	assert_int_equal(config.amqp_url_count, 2);
	assert_string_equal(config.amqp_urls[1].host, "b");
	assert_string_equal(config.amqp_urls[1].vhost, "v");
}

static void
help_and_version_win(void **state)
{
	assert_int_equal(load("--queue=x", "--help", NULL), CONFIG_HELP);
	assert_int_equal(load("--version", "--nonsense", NULL), CONFIG_VERSION);
}

static void
refused(const char *argument, const char *expected)
{
	assert_int_equal(load(argument, NULL), CONFIG_BAD);
	assert_string_equal(error, expected);
}

static void
bad_options_are_named(void **state)
{
	refused("--nonsense", "unknown option --nonsense (see --help)");
	refused("--nonsense=secret", "unknown option --nonsense (see --help)");
	refused("--report-to=1", "--report-to: is not a connection string or URI of libpq");
	refused("--metrics-listen=0", "--metrics-listen: must be address:port, the port 1 to 65535");
	refused("--metrics-listen=h:1", "--metrics-listen: must be address:port, the address numeric");
	refused("secret", "unexpected argument 1: options begin with -- (see --help)");
	refused("--", "unknown option -- (see --help)");
	refused("--queue", "--queue needs a value");
	refused("--queue=", "--queue: must not be empty");
	refused("--prefetch=0", "--prefetch: must be a whole number between 1 and 65535");
	refused("--prefetch=70000", "--prefetch: must be a whole number between 1 and 65535");
	refused("--prefetch=7x", "--prefetch: must be a whole number between 1 and 65535");
	refused("--prefetch=", "--prefetch: must be a whole number between 1 and 65535");
	refused("--queue-type=fast", "--queue-type: is neither classic nor quorum");
	refused("--no-declare=maybe", "--no-declare: is neither on nor off");
	refused("--log-level=loud", "--log-level: is none of error, warning, info, debug");
	refused("--log-format=xml", "--log-format: is neither text nor json");
	refused("--stop-timeout=10",
	        "--stop-timeout: must be a whole number with a unit: ms, s or min");
	refused("--stop-timeout=-1s", "--stop-timeout: must be between 0s and 60min");
	refused("--stop-timeout=61min", "--stop-timeout: must be between 0s and 60min");
}

static void
a_bad_variable_is_named(void **state)
{
	environment_name = "OUTBOX_PREFETCH";
	environment_value = "many";
	assert_int_equal(load(NULL), CONFIG_BAD);
	assert_string_equal(error, "OUTBOX_PREFETCH: must be a whole number between 1 and 65535");
	assert_int_equal(load("--prefetch=1", NULL), CONFIG_RUN); /* a higher layer hides it */
}

static void
errors_show_no_password(void **state)
{
	static const char *const urls[] = {
		"--amqp-url=amqp://u:secret@h:99999", "--amqp-url=http://u:secret@h",
		"--amqp-url=amqp://u:secret%zz@h",    "--redis-url=redis://u:secret@h/x",
		"--redis-url=redis://u:secret@h:0",   "--amqp-url=amqps://u:secret@h:x"};

	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
	{
		assert_int_equal(load(urls[i], NULL), CONFIG_BAD);
		assert_null(strstr(error, "secret"));
		assert_int_equal(strncmp(error, "--", 2), 0);
	}
}

/* A file with this text; its name until the next call. */
static const char *
file_with(const char *text)
{
	static char path[64];
	int         fd;

	strcpy(path, "/tmp/config_test.XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	return path;
}

static void
several_caches(void **state)
{
	(void) state;
	assert_int_equal(
		load("--redis-url=redis+sentinel://h1:1,h2:2/master/3", "--redis-url=redis://b", NULL),
		CONFIG_RUN);
	assert_int_equal(config.redis_url_count, 2);
	assert_int_equal(config.redis_urls[0].kind, REDIS_SENTINEL);
	assert_string_equal(config.redis_urls[1].host, "b");
	environment_name = "OUTBOX_REDIS_URL";
	environment_value = "redis://c redis://d\tredis://e";
	assert_int_equal(load(NULL), CONFIG_RUN);
	assert_int_equal(config.redis_url_count, 3);
	assert_string_equal(config.redis_urls[2].host, "e");
	assert_int_equal(load("--redis-url=redis://f", NULL), CONFIG_RUN);
	assert_int_equal(config.redis_url_count, 1);
	assert_string_equal(config.redis_urls[0].host, "f");
	environment_value = "redis://c redis://u:secret@d/x";
	assert_int_equal(load(NULL), CONFIG_BAD);
	assert_null(strstr(error, "secret"));
}

static void
password_files(void **state)
{
	const char *path = file_with("se cret\nsecond line\n");

	assert_int_equal(load("--amqp-url=amqp://u:x@a,amqp://u@b", "--amqp-password-file", path,
	                      "--redis-password-file", path, NULL),
	                 CONFIG_RUN);
	assert_string_equal(config.amqp_urls[0].password, "se cret");
	assert_string_equal(config.amqp_urls[1].password, "se cret");
	assert_string_equal(config.redis_urls[0].password, "se cret");
	unlink(path);
	assert_int_equal(load("--amqp-password-file", path, NULL), CONFIG_BAD);
	assert_non_null(strstr(error, "No such file"));
	path = file_with("");
	assert_int_equal(load("--redis-password-file", path, NULL), CONFIG_BAD);
	assert_non_null(strstr(error, "--redis-password-file: "));
	assert_non_null(strstr(error, "the file is empty"));
	unlink(path);
	path = file_with("\nx\n");
	assert_int_equal(load("--redis-password-file", path, NULL), CONFIG_BAD);
	unlink(path);
}

static void
a_file_counts_before_the_defaults_only(void **state)
{
	const char *path = file_with("# of the queue\r\n\n[outbox-worker]\n"
	                             "queue = from file\r\n  prefetch=9\n"
	                             "allow-prefix = blog:\nallow-prefix = \" b \"\n"
	                             "queue-type = quorum\nsecond-delete = 1500ms\nno-declare = on");

	assert_int_equal(load("--config", path, "--prefetch=10", NULL), CONFIG_RUN);
	assert_string_equal(config.queue, "from file");
	assert_int_equal(config.prefetch, 10);
	assert_int_equal(config.queue_type, QUEUE_QUORUM);
	assert_int_equal(config.second_delete_us, 1500000);
	assert_true(config.no_declare);
	assert_int_equal(config.allowed_count, 2);
	assert_string_equal(config.allowed[1], " b ");
	environment_name = "OUTBOX_QUEUE";
	environment_value = "from environment";
	assert_int_equal(load("--config", path, "--allow-prefix=x", NULL), CONFIG_RUN);
	assert_string_equal(config.queue, "from environment");
	assert_int_equal(config.allowed_count, 1);
	environment_name = "OUTBOX_CONFIG";
	environment_value = path;
	assert_int_equal(load(NULL), CONFIG_RUN);
	assert_string_equal(config.queue, "from file");
	unlink(path);
	assert_int_equal(load(NULL), CONFIG_BAD);
	assert_non_null(strstr(error, "No such file"));
}

/* The file is refused, with its name, this line and these words. */
static void
file_refused(const char *text, int line, const char *words)
{
	const char *path = file_with(text);
	char        expected[200];

	snprintf(expected, sizeof(expected), "%s:%d: %s", path, line, words);
	assert_int_equal(load("--config", path, NULL), CONFIG_BAD);
	assert_string_equal(error, expected);
	unlink(path);
}

static void
mistakes_in_a_file_are_named_with_their_line(void **state)
{
	file_refused("queue = a\n\n# x\nqueu = b\n", 4, "unknown option \"queu\"");
	file_refused("queue\n", 1, "the line is not \"name = value\"");
	file_refused("queue = a\n= b", 2, "the line has no name before \"=\"");
	file_refused("a b = c", 1, "the line has a name with other characters than a to z and \"-\"");
	file_refused("prefetch = many", 1, "prefetch: must be a whole number between 1 and 65535");
	file_refused("\nqueue =", 2, "queue: must not be empty");
	file_refused("check = on", 1, "\"check\" cannot stand in a file");
	file_refused("config = other", 1, "\"config\" cannot stand in a file");
	file_refused("amqp-url = amqp://u:secret@h:99999", 1,
	             "amqp-url: URL: the port must be 1 to 65535");
}

static void
files_that_are_none(void **state)
{
	char *text = malloc(300 * 1024);
	char *path;

	assert_int_equal(load("--config=/nonexistent", NULL), CONFIG_BAD);
	assert_non_null(strstr(error, "--config: /nonexistent: No such file"));
	assert_int_equal(load("--config=/tmp", NULL), CONFIG_BAD);
	assert_non_null(strstr(error, "Is a directory"));
	memset(text, '\n', 300 * 1024);
	text[300 * 1024 - 1] = '\0';
	path = strdup(file_with(text));
	assert_int_equal(load("--config", path, NULL), CONFIG_BAD);
	assert_non_null(strstr(error, "has more than 256 kB"));
	unlink(path);
	free(path);
	memset(text, 'x', 9000);
	memcpy(text, "queue = ", 8);
	text[9000] = '\0';
	path = strdup(file_with(text));
	assert_int_equal(load("--config", path, NULL), CONFIG_BAD);
	assert_non_null(strstr(error, ":1: the line has a value of more than 8191 bytes"));
	unlink(path);
	free(path);
	free(text);
	assert_int_equal(load("--config=", NULL), CONFIG_RUN);
}

static void
one_errand_at_a_time(void **state)
{
	assert_int_equal(load("--check", "--replay-dead", NULL), CONFIG_BAD);
	assert_int_equal(load("--second-delete=2s", NULL), CONFIG_RUN);
	assert_int_equal(config.second_delete_us, 2000000);
	assert_int_equal(load("--second-delete=off", NULL), CONFIG_RUN);
	assert_int_equal(config.second_delete_us, 0);
	refused("--second-delete=2",
	        "--second-delete: must be a whole number with a unit: ms, s or min");
}

static void
where_to_listen(void **state)
{
	static const struct
	{
		const char *given, *host;
		int         port;
	} cases[] = {{"9790", "127.0.0.1", 9790},     {":9790", "127.0.0.1", 9790},
	             {"localhost:1", "127.0.0.1", 1}, {"0.0.0.0:65535", "0.0.0.0", 65535},
	             {"[::1]:9790", "::1", 9790},     {"off", "", 0}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		assert_int_equal(load("--metrics-listen", cases[i].given, NULL), CONFIG_RUN);
		assert_string_equal(config.metrics_listen.host, cases[i].host);
		assert_int_equal(config.metrics_listen.port, cases[i].port);
	}
}

static void
certificates_are_read_at_once(void **state)
{
	assert_int_equal(load("--amqp-url=amqp://a,amqps://b", "--redis-url=rediss://h", NULL),
	                 CONFIG_RUN);
	assert_non_null(config.amqp_certificates);
	assert_non_null(config.redis_certificates);
	assert_int_equal(config.amqp_urls[1].port, 5671);
	assert_int_equal(load("--amqp-url=amqps://b", "--amqp-ca-file=/nowhere", NULL), CONFIG_BAD);
	assert_non_null(strstr(error, "/nowhere"));
	refused("--amqp-ca-file=/nowhere",
	        "--amqp-ca-file, -cert-file, -key-file: no --amqp-url is amqps://");
	refused("--redis-key-file=/nowhere",
	        "--redis-ca-file, -cert-file, -key-file: no --redis-url is rediss://");
	assert_int_equal(load(NULL), CONFIG_RUN);
	assert_null(config.amqp_certificates);
}

static void
passwords_are_wiped_from_the_arguments(void **state)
{
	char  equals[] = "--amqp-url=amqp://u:se:cr@et@host/v";
	char  list[] = "amqp://a:one@h1,amqp://b:two@h2";
	char  plain[] = "--redis-url=redis://host:6379/0";
	char  empty_user[] = "redis://:pw@host";
	char  conninfo[] = "--report-to=host=x password=se cret";
	char  behind[] = "user=y password = secret";
	char  word[] = "require_auth=password dbname=passwords password\t=\tsecret";
	char  sentinel[] = "Redis+Sentinel://h/m?sentinel_user=u&sentinel_password=se@cret";
	char *argv[] = {"outbox-worker", equals,        "--amqp-url", list,          plain, empty_user,
	                conninfo,        "--report-to", behind,       "--report-to", word,  sentinel};

	config_wipe_arguments(12, argv);
	assert_null(strstr(word, "secret"));
	assert_null(strstr(sentinel, "cret"));
	assert_string_equal(conninfo, "--report-to=host=x password=xxxxxxx");
	assert_null(strstr(behind, "secret"));
	assert_string_equal(equals, "--amqp-url=amqp://u:xxxxxxxx@host/v");
	assert_null(strstr(list, "one"));
	assert_null(strstr(list, "two"));
	assert_string_equal(plain, "--redis-url=redis://host:6379/0");
	assert_string_equal(empty_user, "redis://:xx@host");
}

/* "OUTBOX_" and the option's name, but for errands. */
static void
each_option_has_its_variable(void **state)
{
	static const char *const names[] = {"amqp-url",       "redis-url",
	                                    "exchange",       "key-prefix",
	                                    "allow-prefix",   "second-delete",
	                                    "stop-timeout",   "amqp-password-file",
	                                    "amqp-ca-file",   "redis-password-file",
	                                    "amqp-cert-file", "amqp-key-file",
	                                    "redis-ca-file",  "redis-cert-file",
	                                    "redis-key-file", "queue-type",
	                                    "no-declare",     "config",
	                                    "queue",          "prefetch",
	                                    "metrics-listen", "report-to",
	                                    "name",           "log-level",
	                                    "log-format",     "dry-run",
	                                    "replay-dead",    "check"};
	size_t                   count = sizeof(names) / sizeof(names[0]);

	for (size_t i = 0; i < count; i++)
	{
		const Option *option = option_find(names[i], strlen(names[i]));
		char          variable[64] = "OUTBOX_";

		assert_non_null(option);
		if (i >= count - 3)
		{
			assert_null(option->environment);
			continue;
		}
		for (const char *c = names[i]; *c != '\0'; c++)
			variable[strlen(variable)] = *c == '-' ? '_' : (char) toupper((unsigned char) *c);
		assert_string_equal(option->environment, variable);
	}
}

static void
help_names_what_is_built(void **state)
{
	static const char *const kinds[] = {"redis+unix://", "redis+sentinel://", "redis+cluster://"};
	char                    *text = NULL;
	size_t                   size = 0;
	FILE                    *out = open_memstream(&text, &size);

	config_print_help(out);
	fclose(out);
	assert_non_null(strstr(text, "--amqp-url=URL"));
	assert_non_null(strstr(text, "OUTBOX_REDIS_URL"));
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		assert_non_null(strstr(text, kinds[i]));
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(defaults_are_those_of_the_contract, no_environment),
		cmocka_unit_test_setup(both_ways_to_give_a_value_and_the_last_counts, no_environment),
		cmocka_unit_test_setup(the_command_line_goes_before_the_environment, no_environment),
		cmocka_unit_test_setup(repeatable_options_replace_never_add, no_environment),
		cmocka_unit_test_setup(several_brokers, no_environment),
		cmocka_unit_test_setup(help_and_version_win, no_environment),
		cmocka_unit_test_setup(bad_options_are_named, no_environment),
		cmocka_unit_test_setup(a_bad_variable_is_named, no_environment),
		cmocka_unit_test_setup(several_caches, no_environment),
		cmocka_unit_test_setup(errors_show_no_password, no_environment),
		cmocka_unit_test_setup(password_files, no_environment),
		cmocka_unit_test_setup(a_file_counts_before_the_defaults_only, no_environment),
		cmocka_unit_test_setup(mistakes_in_a_file_are_named_with_their_line, no_environment),
		cmocka_unit_test_setup(files_that_are_none, no_environment),
		cmocka_unit_test_setup(where_to_listen, no_environment),
		cmocka_unit_test_setup(certificates_are_read_at_once, no_environment),
		cmocka_unit_test_setup(one_errand_at_a_time, no_environment),
		cmocka_unit_test_setup(passwords_are_wiped_from_the_arguments, no_environment),
		cmocka_unit_test_setup(each_option_has_its_variable, no_environment),
		cmocka_unit_test_setup(help_names_what_is_built, no_environment),
	};
	int failed = cmocka_run_group_tests_name("config", tests, NULL, NULL);

	config_free(&config);
	return failed;
}
