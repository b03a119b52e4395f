/*
 * config.c
 *    See config.h.
 */
#include "worker/config.h"

#include "wire/message.h"
#include "worker/config_file.h"
#include "worker/options.h"
#include "worker/secrets.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_GIVEN 256 /* options on one command line */
#define MAX_LIST_BYTES 8192
#define MAX_OPTIONS 64

typedef struct Given
{
	const Option *option;
	const char   *value;
} Given;

static bool __attribute__((format(printf, 2, 3))) complain(char *error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, CONFIG_ERROR_BYTES, format, args);
	va_end(args);
	return false;
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

/* Runs the parser; source ("--prefetch", "OUTBOX_PREFETCH", "worker.conf:3: prefetch") goes before
 * what it complains of. */
static bool __attribute__((format(printf, 5, 6)))
apply_value(WorkerConfig *config, const Option *option, const char *value, char *error,
            const char *source, ...)
{
	char    reason[OPTION_REASON_BYTES];
	char    where[CONFIG_ERROR_BYTES / 2];
	va_list args;

	if (option->parse(config, value, reason))
		return true;
	va_start(args, source);
	vsnprintf(where, sizeof(where), source, args);
	va_end(args);
	return complain(error, "%s: %s", where, reason);
}

/* ---- layers, the lowest first ---- */

static bool
apply_defaults(WorkerConfig *config, char *error)
{
	for (const Option *option = options; option->name != NULL; option++)
		if (option->initial != NULL &&
		    !apply_value(config, option, option->initial, error, "--%s", option->name))
			return false;
	return true;
}

/* text: freed by the caller, also on failure. */
static bool
read_file(const char *path, MqBuffer *text, char *error)
{
	FILE *file = fopen(path, "re");
	bool  fine = file != NULL && mq_buffer_reserve(text, CONFIG_FILE_MAX_BYTES + 1) == MQ_OK;

	if (fine)
	{
		text->size = fread(text->data, 1, CONFIG_FILE_MAX_BYTES + 1, file);
		fine = !ferror(file);
	}
	if (!fine)
		complain(error, "--config: %.300s: %s", path, strerror(errno));
	if (file != NULL)
		fclose(file);
	if (fine && text->size > CONFIG_FILE_MAX_BYTES)
		return complain(error, "--config: %.300s: has more than 256 kB", path);
	return fine;
}

/* seen: one flag for each option. */
static bool
apply_line(WorkerConfig *config, const ConfigFile *file, const char *path, bool *seen, char *error)
{
	const Option *option = option_find(file->name, strlen(file->name));
	bool         *again;

	if (option == NULL)
		return complain(error, "%.300s:%d: unknown option \"%s\"", path, file->line, file->name);
	if (option->environment == NULL || strcmp(option->name, "config") == 0)
		return complain(error, "%.300s:%d: \"%s\" cannot stand in a file", path, file->line,
		                file->name);
	again = &seen[option - options];
	if (!*again && option->clear != NULL)
		option->clear(config);
	*again = true;
	return apply_value(config, option, file->value, error, "%.200s:%d: %s", path, file->line,
	                   option->name);
}

static bool
apply_text(WorkerConfig *config, const char *path, MqBytes text, char *error)
{
	bool       seen[MAX_OPTIONS] = {false};
	ConfigFile file;

	config_file_begin(&file, text);
	while (true)
	{
		switch (config_file_next(&file))
		{
		case CONFIG_FILE_ENTRY:
			if (apply_line(config, &file, path, seen, error))
				continue;
			explicit_bzero(&file, sizeof(file));
			return false;
		case CONFIG_FILE_END:
			explicit_bzero(&file, sizeof(file));
			return true;
		case CONFIG_FILE_BAD:
			return complain(error, "%.300s:%d: the line %s", path, file.line, file.problem);
		}
	}
}

static bool
apply_file(WorkerConfig *config, const char *path, char *error)
{
	MqBuffer text = {0};
	bool     fine;

	if (path == NULL || *path == '\0')
		return true;
	fine = read_file(path, &text, error) &&
	       apply_text(config, path, mq_bytes(text.data, text.size), error);
	if (text.data != NULL)
		explicit_bzero(text.data, text.capacity);
	mq_buffer_free(&text);
	return fine;
}

static bool
apply_list(WorkerConfig *config, const Option *option, const char *list, char *error)
{
	char  copy[MAX_LIST_BYTES];
	char *rest = copy;
	char *word;

	if (strlen(list) >= sizeof(copy))
		return complain(error, "%s: is longer than %zu bytes", option->environment,
		                sizeof(copy) - 1);
	strcpy(copy, list);
	option->clear(config);
	while ((word = strsep(&rest, " \t\r\n")) != NULL)
		if (*word != '\0' && !apply_value(config, option, word, error, "%s", option->environment))
			return false;
	return true;
}

static bool
apply_environment(WorkerConfig *config, const Option             *option,
                  const char *(*environment)(const char *), char *error)
{
	const char *value = option->environment == NULL ? NULL : environment(option->environment);

	if (value == NULL || *value == '\0')
		return true;
	if (option->clear != NULL)
		return apply_list(config, option, value, error);
	return apply_value(config, option, value, error, "%s", option->environment);
}

static bool
apply_given(WorkerConfig *config, const Option *option, const Given *given, size_t count,
            char *error)
{
	const char *last = NULL;

	for (size_t i = 0; i < count; i++)
	{
		if (given[i].option != option)
			continue;
		if (option->clear != NULL && last == NULL)
			option->clear(config);
		last = given[i].value;
		if (option->clear != NULL &&
		    !apply_value(config, option, last, error, "--%s", option->name))
			return false;
	}
	return last == NULL || option->clear != NULL ||
	       apply_value(config, option, last, error, "--%s", option->name);
}

static size_t
count_given(const Given *given, size_t count, const Option *option)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++)
		if (given[i].option == option)
			found++;
	return found;
}

/* Which file; the option's value in the environment or on the command line. */
static const char *
find_config_file(const Given *given, size_t count, const char *(*environment)(const char *) )
{
	const Option *option = option_find("config", 6);
	const char   *path = environment(option->environment);

	for (size_t i = 0; i < count; i++)
		if (given[i].option == option)
			path = given[i].value;
	return path;
}

/* A variable that the command line hides is not even looked at. */
static bool
apply_layers(WorkerConfig *config, const Given *given, size_t count,
             const char *(*environment)(const char *), char *error)
{
	if (!apply_defaults(config, error) ||
	    !apply_file(config, find_config_file(given, count, environment), error))
		return false;
	for (const Option *option = options; option->name != NULL; option++)
	{
		bool fine = count_given(given, count, option) > 0
		                ? apply_given(config, option, given, count, error)
		                : apply_environment(config, option, environment, error);

		if (!fine)
			return false;
	}
	return true;
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

static bool
has_files(const TlsFiles *files)
{
	return files->ca[0] != '\0' || files->cert[0] != '\0' || files->key[0] != '\0';
}

bool
config_redis_has_tls(const WorkerConfig *config)
{
	for (int i = 0; i < config->redis_url_count; i++)
		if (config->redis_urls[i].tls)
			return true;
	return false;
}

bool
config_amqp_has_tls(const WorkerConfig *config)
{
	for (int i = 0; i < config->amqp_url_count; i++)
		if (config->amqp_urls[i].tls)
			return true;
	return false;
}

static bool
has_external_login(const WorkerConfig *config)
{
	for (int i = 0; i < config->amqp_url_count; i++)
		if (config->amqp_urls[i].external)
			return true;
	return false;
}

/* What each option alone cannot know. */
static bool
check_combinations(const WorkerConfig *config, char *error)
{
	if (config->check + config->dry_run + config->replay_dead > 1)
		return complain(error, "--check, --dry-run and --replay-dead: one at a time");
	/* Who names certificates believes to be safe. */
	if (has_files(&config->amqp_tls) && !config_amqp_has_tls(config))
		return complain(error, "--amqp-ca-file, -cert-file, -key-file: no --amqp-url is amqps://");
	if (config->amqp_tls.cert[0] == '\0' && has_external_login(config))
		return complain(error, "--amqp-url: auth_mechanism=external needs --amqp-cert-file");
	if (has_files(&config->redis_tls) && !config_redis_has_tls(config))
		return complain(error,
		                "--redis-ca-file, -cert-file, -key-file: no --redis-url is rediss://");
	return true;
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
	if (apply_layers(config, given, count, environment, error) &&
	    check_combinations(config, error) && secrets_read(config, error))
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

/* That of Sentinel stands behind the hosts. */
static void
wipe_sentinel_password(char *value)
{
	char *password = strstr(value, "sentinel_password=");

	if (password != NULL)
		memset(password + 18, 'x', strlen(password + 18));
}

/* A connection string of libpq: what is behind the first "password =" goes too, quotes are not understood.
 * The word alone may be a value: "require_auth=password password=...". */
static void
wipe_conninfo(char *value)
{
	for (char *at = value; (at = strstr(at, "password")) != NULL; at += 8)
	{
		char *equals = at + 8 + strspn(at + 8, " \t\r\n\f\v");

		if (*equals == '=')
		{
			memset(equals + 1, 'x', strlen(equals + 1));
			return;
		}
	}
}

void
config_wipe_arguments(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
	{
		if (strncmp(argv[i], "--report-to", 11) == 0 ||
		    (i > 1 && strcmp(argv[i - 1], "--report-to") == 0))
			wipe_conninfo(argv[i]);
		wipe_sentinel_password(argv[i]);
		wipe_password(argv[i]);
	}
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
	for (const Option *option = options; option->name != NULL; option++)
		print_option(out, option);
	fputs("  --help\n        this text\n"
	      "  --version\n        the version\n"
	      "\nThe command line counts before the environment, that before the file, that before\n"
	      "the defaults.\n"
	      "Exit status: 0 after SIGTERM or SIGINT, 1 a failure, 2 wrong usage.\n",
	      out);
}

void
config_free(WorkerConfig *config)
{
	while (config->allowed_count > 0)
		free(config->allowed[--config->allowed_count]);
	tls_context_free(config->amqp_certificates);
	tls_context_free(config->redis_certificates);
	explicit_bzero(config, sizeof(*config));
}
