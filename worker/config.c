/*
 * config.c
 *    See config.h.
 */
#include "worker/config.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define MAX_STOP_TIMEOUT_US ((int64_t) 3600 * 1000000)
#define MAX_GIVEN 256 /* options on one command line */
#define MAX_LIST_BYTES 8192

typedef bool (*OptionParser)(WorkerConfig *config, const char *value, char *error);

typedef struct Option
{
	const char  *name;
	const char  *environment;   /* NULL: none */
	const char  *initial;       /* default; NULL: set elsewhere, or none */
	const char  *value_name;    /* NULL: a switch */
	bool         repeatable;
	OptionParser parse;
	const char  *help; /* lines separated by \n */
} Option;

/* error of the parsers: without the option's name, which the caller puts before it. */
static bool __attribute__((format(printf, 2, 3)))
complain(char *error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, CONFIG_ERROR_BYTES / 2, format, args);
	va_end(args);
	return false;
}

static bool
parse_name(char *out, size_t size, const char *value, bool may_be_empty, char *error)
{
	if (*value == '\0' && !may_be_empty)
		return complain(error, "must not be empty");
	if (strlen(value) >= size)
		return complain(error, "is longer than %zu bytes", size - 1);
	strcpy(out, value);
	return true;
}

static bool
parse_amqp_url(WorkerConfig *config, const char *value, char *error)
{
	MqError reason;

	if (mq_url_parse_list(value, config->amqp_urls, &config->amqp_url_count, &reason) != MQ_OK)
		return complain(error, "%s", reason.text);
	for (int i = 0; i < config->amqp_url_count; i++)
		if (config->amqp_urls[i].tls)
			return complain(error, "amqps:// is not supported: this version has no TLS");
	return true;
}

static bool
parse_redis_url(WorkerConfig *config, const char *value, char *error)
{
	MqError reason;

	if (redis_url_parse(value, &config->redis_url, &reason) != MQ_OK)
		return complain(error, "%s", reason.text);
	if (config->redis_url.tls)
		return complain(error, "rediss:// is not supported: this version has no TLS");
	return true;
}

static bool
parse_queue(WorkerConfig *config, const char *value, char *error)
{
	return parse_name(config->queue, sizeof(config->queue), value, false, error);
}

static bool
parse_exchange(WorkerConfig *config, const char *value, char *error)
{
	return parse_name(config->exchange, sizeof(config->exchange), value, true, error);
}

static bool
parse_queue_type(WorkerConfig *config, const char *value, char *error)
{
	if (strcmp(value, "classic") == 0)
		config->queue_type = QUEUE_CLASSIC;
	else if (strcmp(value, "quorum") == 0)
		config->queue_type = QUEUE_QUORUM;
	else
		return complain(error, "is neither classic nor quorum");
	return true;
}

static bool
parse_switch(bool *out, const char *value, char *error)
{
	static const char *const yes[] = {"on", "true", "yes", "1"};
	static const char *const no[] = {"off", "false", "no", "0"};

	for (size_t i = 0; i < 4; i++)
	{
		if (strcasecmp(value, yes[i]) == 0 || strcasecmp(value, no[i]) == 0)
		{
			*out = strcasecmp(value, yes[i]) == 0;
			return true;
		}
	}
	return complain(error, "is neither on nor off");
}

static bool
parse_no_declare(WorkerConfig *config, const char *value, char *error)
{
	return parse_switch(&config->no_declare, value, error);
}

static bool
parse_dry_run(WorkerConfig *config, const char *value, char *error)
{
	return parse_switch(&config->dry_run, value, error);
}

static bool
parse_check(WorkerConfig *config, const char *value, char *error)
{
	return parse_switch(&config->check, value, error);
}

static bool
parse_prefetch(WorkerConfig *config, const char *value, char *error)
{
	char *end;
	long  number;

	errno = 0;
	number = strtol(value, &end, 10);
	if (end == value || *end != '\0' || errno != 0 || number < 1 || number > UINT16_MAX)
		return complain(error, "must be a whole number between 1 and %d", UINT16_MAX);
	config->prefetch = (uint16_t) number;
	return true;
}

static bool
parse_key_prefix(WorkerConfig *config, const char *value, char *error)
{
	return parse_name(config->key_prefix, sizeof(config->key_prefix), value, true, error);
}

static bool
parse_allow_prefix(WorkerConfig *config, const char *value, char *error)
{
	if (*value == '\0')
		return complain(error, "must not be empty");
	if (config->allowed_count == CONFIG_MAX_PREFIXES)
		return complain(error, "is given more than %d times", CONFIG_MAX_PREFIXES);
	config->allowed[config->allowed_count] = strdup(value);
	if (config->allowed[config->allowed_count] == NULL)
		return complain(error, "out of memory");
	config->allowed_count++;
	return true;
}

static bool
parse_amqp_password_file(WorkerConfig *config, const char *value, char *error)
{
	return parse_name(config->amqp_password_file, sizeof(config->amqp_password_file), value, true,
					  error);
}

static bool
parse_redis_password_file(WorkerConfig *config, const char *value, char *error)
{
	return parse_name(config->redis_password_file, sizeof(config->redis_password_file), value,
					  true, error);
}

static bool
parse_worker_name(WorkerConfig *config, const char *value, char *error)
{
	return parse_name(config->name, sizeof(config->name), value, false, error);
}

static bool
parse_log_level(WorkerConfig *config, const char *value, char *error)
{
	static const char *const names[] = {"error", "warning", "info", "debug"};

	for (int i = 0; i < 4; i++)
	{
		if (strcmp(value, names[i]) == 0)
		{
			config->log_level = (LogLevel) i;
			return true;
		}
	}
	return complain(error, "is none of error, warning, info, debug");
}

static bool
parse_log_format(WorkerConfig *config, const char *value, char *error)
{
	if (strcmp(value, "text") == 0)
		config->log_format = FORMAT_TEXT;
	else if (strcmp(value, "json") == 0)
		config->log_format = FORMAT_JSON;
	else
		return complain(error, "is neither text nor json");
	return true;
}

static bool
parse_stop_timeout(WorkerConfig *config, const char *value, char *error)
{
	static const struct
	{
		const char *unit;
		int64_t     us;
	} units[] = {{"ms", 1000}, {"s", 1000000}, {"min", 60000000}};
	char *end;
	long  number;

	errno = 0;
	number = strtol(value, &end, 10);
	for (size_t i = 0; i < 3 && end > value && errno == 0; i++)
	{
		if (strcmp(end, units[i].unit) != 0)
			continue;
		if (number < 0 || number > MAX_STOP_TIMEOUT_US / units[i].us)
			return complain(error, "must be between 0s and 60min");
		config->stop_timeout_us = number * units[i].us;
		return true;
	}
	return complain(error, "must be a whole number with a unit: ms, s or min");
}

/* In the order of --help. --help and --version are told apart before any parser runs. */
static const Option options[] = {
	{"amqp-url", "OUTBOX_AMQP_URL", "amqp://guest:guest@localhost:5672/%2f", "URL", false,
	 parse_amqp_url,
	 "the broker: amqp://user:password@host:port/vhost?heartbeat=10;\n"
	 "several, separated by commas, are tried in turn"},
	{"amqp-password-file", "OUTBOX_AMQP_PASSWORD_FILE", "", "FILE", false,
	 parse_amqp_password_file, "its first line takes the place of the password in --amqp-url"},
	{"redis-url", "OUTBOX_REDIS_URL", "redis://localhost:6379/0", "URL", false, parse_redis_url,
	 "redis://user:password@host:port/db or redis+unix://user:password@/path?db=0"},
	{"redis-password-file", "OUTBOX_REDIS_PASSWORD_FILE", "", "FILE", false,
	 parse_redis_password_file, "its first line takes the place of the password in --redis-url"},
	{"queue", "OUTBOX_QUEUE", "cache-invalidation", "NAME", false, parse_queue,
	 "where invalidations wait; what is not understood goes to NAME.dead"},
	{"exchange", "OUTBOX_EXCHANGE", "", "NAME", false, parse_exchange,
	 "declare this fanout exchange if it is missing and bind the queue to it"},
	{"queue-type", "OUTBOX_QUEUE_TYPE", "classic", "TYPE", false, parse_queue_type,
	 "classic or quorum, for queues that are missing; others are used as they are"},
	{"no-declare", "OUTBOX_NO_DECLARE", "off", NULL, false, parse_no_declare,
	 "declare nothing: queue and NAME.dead are made by others"},
	{"prefetch", "OUTBOX_PREFETCH", "256", "N", false, parse_prefetch,
	 "messages taken before the first is acknowledged, 1 to 65535"},
	{"key-prefix", "OUTBOX_KEY_PREFIX", "", "TEXT", false, parse_key_prefix,
	 "put before every key and pattern"},
	{"allow-prefix", "OUTBOX_ALLOW_PREFIX", NULL, "TEXT", true, parse_allow_prefix,
	 "refuse keys that do not begin so (before --key-prefix); repeatable,\n"
	 "in the environment separated by white space"},
	{"name", "OUTBOX_NAME", NULL, "NAME", false, parse_worker_name,
	 "this worker's name, shown by the broker (default: host name and process id)"},
	{"log-level", "OUTBOX_LOG_LEVEL", "info", "LEVEL", false, parse_log_level,
	 "error, warning, info or debug"},
	{"log-format", "OUTBOX_LOG_FORMAT", "text", "FORMAT", false, parse_log_format,
	 "text or json, one line for each change of state, on standard error"},
	{"stop-timeout", "OUTBOX_STOP_TIMEOUT", "10s", "TIME", false, parse_stop_timeout,
	 "after SIGTERM; what is unfinished then stays in the queue (ms, s, min)"},
	{"dry-run", NULL, "off", NULL, false, parse_dry_run,
	 "say what would be deleted; delete and acknowledge nothing"},
	{"check", NULL, "off", NULL, false, parse_check,
	 "try broker and Redis once, say what is wrong, exit with 0 or 1"},
};

#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))

typedef struct Given
{
	const Option *option;
	const char   *value;
} Given;

/* name: behind the dashes, size bytes. */
static const Option *
option_find(const char *name, size_t size)
{
	for (size_t i = 0; i < OPTION_COUNT; i++)
		if (strlen(options[i].name) == size && memcmp(options[i].name, name, size) == 0)
			return &options[i];
	return NULL;
}

/* Takes argv[*i], and the argument behind it where that is its value. Arguments are never
 * repeated in a message beyond the option's name: they may hold a password. */
static ConfigOutcome
take_argument(Given *given, int argc, char *const *argv, int *i, char *error)
{
	const char *argument = argv[*i];
	size_t      size;

	if (strcmp(argument, "--help") == 0)
		return CONFIG_HELP;
	if (strcmp(argument, "--version") == 0)
		return CONFIG_VERSION;
	if (strncmp(argument, "--", 2) != 0)
	{
		complain(error, "unexpected argument %d: options begin with -- (see --help)", *i);
		return CONFIG_BAD;
	}
	size = strcspn(argument + 2, "=");
	given->option = option_find(argument + 2, size);
	if (given->option == NULL)
	{
		complain(error, "unknown option --%.*s (see --help)", size > 60 ? 60 : (int) size,
				 argument + 2);
		return CONFIG_BAD;
	}
	if (argument[2 + size] == '=')
		given->value = argument + 2 + size + 1;
	else if (given->option->value_name == NULL)
		given->value = "on";
	else if (*i + 1 < argc)
		given->value = argv[++*i];
	else
	{
		complain(error, "--%s needs a value", given->option->name);
		return CONFIG_BAD;
	}
	return CONFIG_RUN;
}

static ConfigOutcome
take_arguments(Given given[MAX_GIVEN], size_t *count, int argc, char *const *argv, char *error)
{
	*count = 0;
	for (int i = 1; i < argc; i++)
	{
		ConfigOutcome outcome;

		if (*count == MAX_GIVEN)
		{
			complain(error, "more than %d options", MAX_GIVEN);
			return CONFIG_BAD;
		}
		outcome = take_argument(&given[(*count)++], argc, argv, &i, error);
		if (outcome != CONFIG_RUN)
			return outcome;
	}
	return CONFIG_RUN;
}

/* Runs the parser; source ("--prefetch", "OUTBOX_PREFETCH") goes before what it complains of. */
static bool
apply_value(WorkerConfig *config, const Option *option, const char *prefix, const char *source,
			const char *value, char *error)
{
	char reason[CONFIG_ERROR_BYTES / 2];

	if (option->parse(config, value, reason))
		return true;
	snprintf(error, CONFIG_ERROR_BYTES, "%s%s: %s", prefix, source, reason);
	return false;
}

static bool
apply_list(WorkerConfig *config, const Option *option, const char *list, char *error)
{
	char  copy[MAX_LIST_BYTES];
	char *rest = copy;
	char *word;

	if (strlen(list) >= sizeof(copy))
	{
		snprintf(error, CONFIG_ERROR_BYTES, "%s: is longer than %zu bytes", option->environment,
				 sizeof(copy) - 1);
		return false;
	}
	strcpy(copy, list);
	while ((word = strsep(&rest, " \t\r\n")) != NULL)
		if (*word != '\0' && !apply_value(config, option, "", option->environment, word, error))
			return false;
	return true;
}

/* One option from its highest layer. */
static bool
apply_option(WorkerConfig *config, const Option *option, const Given *given, size_t given_count,
			 const char *(*environment)(const char *), char *error)
{
	const char *value = NULL;

	for (size_t i = 0; i < given_count; i++)
	{
		if (given[i].option != option)
			continue;
		value = given[i].value;
		if (option->repeatable && !apply_value(config, option, "--", option->name, value, error))
			return false;
	}
	if (value != NULL)
		return option->repeatable || apply_value(config, option, "--", option->name, value, error);

	value = option->environment == NULL ? NULL : environment(option->environment);
	if (value != NULL && *value != '\0')
		return option->repeatable
				   ? apply_list(config, option, value, error)
				   : apply_value(config, option, "", option->environment, value, error);
	return option->initial == NULL ||
		   apply_value(config, option, "--", option->name, option->initial, error);
}

/* The first line of a file, into out. */
static bool
read_password(const char *option, const char *path, char *out, size_t size, char *error)
{
	FILE  *file = fopen(path, "re");
	char   line[1024];
	size_t length;

	if (file == NULL || fgets(line, sizeof(line), file) == NULL)
	{
		snprintf(error, CONFIG_ERROR_BYTES, "--%s: %.300s: %s", option, path,
				 file == NULL || ferror(file) ? strerror(errno) : "the file is empty");
		if (file != NULL)
			fclose(file);
		return false;
	}
	fclose(file);
	length = strcspn(line, "\r\n");
	line[length] = '\0';
	if (length == 0 || length >= size)
		snprintf(error, CONFIG_ERROR_BYTES, "--%s: %.300s: the first line has %zu bytes, not 1 to %zu",
				 option, path, length, size - 1);
	else
		memcpy(out, line, length + 1);
	explicit_bzero(line, sizeof(line));
	return length > 0 && length < size;
}

static bool
read_passwords(WorkerConfig *config, char *error)
{
	MqUrl *urls = config->amqp_urls;

	if (config->amqp_password_file[0] != '\0')
	{
		if (!read_password("amqp-password-file", config->amqp_password_file, urls[0].password,
						   sizeof(urls[0].password), error))
			return false;
		for (int i = 1; i < config->amqp_url_count; i++)
			memcpy(urls[i].password, urls[0].password, sizeof(urls[0].password));
	}
	return config->redis_password_file[0] == '\0' ||
		   read_password("redis-password-file", config->redis_password_file,
						 config->redis_url.password, sizeof(config->redis_url.password), error);
}

static void
set_default_name(WorkerConfig *config)
{
	char host[100];

	if (gethostname(host, sizeof(host)) != 0)
		strcpy(host, "localhost");
	host[sizeof(host) - 1] = '\0';
	snprintf(config->name, sizeof(config->name), "%s:%d", host, (int) getpid());
}

static size_t
count_given(const Given *given, size_t count, const char *name)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++)
		if (strcmp(given[i].option->name, name) == 0)
			found++;
	return found;
}

ConfigOutcome
config_load(WorkerConfig *config, int argc, char *const *argv,
			const char *(*environment)(const char *name), char error[CONFIG_ERROR_BYTES])
{
	Given         given[MAX_GIVEN];
	size_t        count;
	ConfigOutcome outcome;

	memset(config, 0, sizeof(*config));
	set_default_name(config);
	outcome = take_arguments(given, &count, argc, argv, error);
	if (outcome != CONFIG_RUN)
		return outcome;
	/* Several caches as one unit are to come; the last one alone would leave the others stale. */
	if (count_given(given, count, "redis-url") > 1)
	{
		complain(error, "--redis-url: this version takes one; run a worker for each cache, with a "
						"queue of its own");
		return CONFIG_BAD;
	}
	for (size_t i = 0; i < OPTION_COUNT; i++)
	{
		if (apply_option(config, &options[i], given, count, environment, error))
			continue;
		config_free(config);
		return CONFIG_BAD;
	}
	if (read_passwords(config, error))
		return CONFIG_RUN;
	config_free(config);
	return CONFIG_BAD;
}

/* From the colon behind the user's name to the last '@' of the whole list: a password with an '@'
 * or a comma of its own must not leave a piece behind. */
static void
wipe_password(char *value)
{
	char *start = strstr(value, "://");
	char *end = strrchr(value, '@');
	char *colon;

	if (start == NULL || end == NULL)
		return;
	colon = strchr(start + 3, ':');
	if (colon != NULL && colon < end)
		memset(colon + 1, 'x', (size_t) (end - colon - 1));
}

void
config_wipe_arguments(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		wipe_password(argv[i]);
}

static void
print_option(FILE *out, const Option *option)
{
	char        head[64];
	const char *line = option->help;

	snprintf(head, sizeof(head), "--%s%s%s", option->name, option->value_name == NULL ? "" : "=",
			 option->value_name == NULL ? "" : option->value_name);
	fprintf(out, "  %s\n", head);
	while (*line != '\0')
	{
		int size = (int) strcspn(line, "\n");

		fprintf(out, "        %.*s\n", size, line);
		line += size + (line[size] == '\n');
	}
	if (option->initial != NULL && option->initial[0] != '\0' && option->value_name != NULL)
		fprintf(out, "        default: %s\n", option->initial);
	if (option->environment != NULL)
		fprintf(out, "        environment: %s\n", option->environment);
}

void
config_print_help(FILE *out)
{
	fputs("outbox-worker deletes the Redis keys that messages of a RabbitMQ queue name.\n"
		  "\n"
		  "A message is JSON: {\"keys\":[\"blogs:all\"],\"patterns\":[\"blog:*\"]}. It is "
		  "acknowledged\nafter Redis has answered. A broker or a Redis that is away is waited "
		  "for.\n\n"
		  "Usage: outbox-worker [option]...      --name=value or --name value\n\n",
		  out);
	for (size_t i = 0; i < OPTION_COUNT; i++)
		print_option(out, &options[i]);
	fputs("  --help\n        this text\n"
		  "  --version\n        the version\n"
		  "\nThe command line counts before the environment, that before the defaults.\n"
		  "Exit status: 0 after SIGTERM or SIGINT, 1 a failure, 2 wrong usage.\n",
		  out);
}

void
config_free(WorkerConfig *config)
{
	for (size_t i = 0; i < config->allowed_count; i++)
		free(config->allowed[i]);
	explicit_bzero(config, sizeof(*config));
}
