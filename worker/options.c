/*
 * options.c
 *    See options.h.
 */
#include "worker/options.h"

#include "worker/report.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_TIME_US ((int64_t) 3600 * 1000000)

static bool __attribute__((format(printf, 2, 3))) complain(char *reason, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(reason, OPTION_REASON_BYTES, format, args);
	va_end(args);
	return false;
}

static bool
parse_name(char *out, size_t size, const char *value, bool may_be_empty, char *reason)
{
	if (*value == '\0' && !may_be_empty)
		return complain(reason, "must not be empty");
	if (strlen(value) >= size)
		return complain(reason, "is longer than %zu bytes", size - 1);
	strcpy(out, value);
	return true;
}

static bool
parse_amqp_url(WorkerConfig *config, const char *value, char *reason)
{
	MqError error;

	if (mq_url_parse_list(value, config->amqp_urls, &config->amqp_url_count, &error) != MQ_OK)
		return complain(reason, "%s", error.text);
	return true;
}

static bool
parse_redis_url(WorkerConfig *config, const char *value, char *reason)
{
	RedisUrl *url = &config->redis_urls[config->redis_url_count];
	MqError   error;

	if (config->redis_url_count == MQ_MAX_URLS)
		return complain(reason, "is given more than %d times", MQ_MAX_URLS);
	if (redis_url_parse(value, url, &error) != MQ_OK)
		return complain(reason, "%s", error.text);
	config->redis_url_count++;
	return true;
}

static void
clear_redis_url(WorkerConfig *config)
{
	explicit_bzero(config->redis_urls, sizeof(config->redis_urls));
	config->redis_url_count = 0;
}

static bool
parse_queue(WorkerConfig *config, const char *value, char *reason)
{
	return parse_name(config->queue, sizeof(config->queue), value, false, reason);
}

static bool
parse_exchange(WorkerConfig *config, const char *value, char *reason)
{
	return parse_name(config->exchange, sizeof(config->exchange), value, true, reason);
}

static bool
parse_queue_type(WorkerConfig *config, const char *value, char *reason)
{
	if (strcmp(value, "classic") == 0)
		config->queue_type = QUEUE_CLASSIC;
	else if (strcmp(value, "quorum") == 0)
		config->queue_type = QUEUE_QUORUM;
	else
		return complain(reason, "is neither classic nor quorum");
	return true;
}

static bool
parse_switch(bool *out, const char *value, char *reason)
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
	return complain(reason, "is neither on nor off");
}

static bool
parse_no_declare(WorkerConfig *config, const char *value, char *reason)
{
	return parse_switch(&config->no_declare, value, reason);
}

static bool
parse_dry_run(WorkerConfig *config, const char *value, char *reason)
{
	return parse_switch(&config->dry_run, value, reason);
}

static bool
parse_check(WorkerConfig *config, const char *value, char *reason)
{
	return parse_switch(&config->check, value, reason);
}

static bool
parse_prefetch(WorkerConfig *config, const char *value, char *reason)
{
	char *end;
	long  number;

	errno = 0;
	number = strtol(value, &end, 10);
	if (end == value || *end != '\0' || errno != 0 || number < 1 || number > UINT16_MAX)
		return complain(reason, "must be a whole number between 1 and %d", UINT16_MAX);
	config->prefetch = (uint16_t) number;
	return true;
}

static bool
parse_key_prefix(WorkerConfig *config, const char *value, char *reason)
{
	return parse_name(config->key_prefix, sizeof(config->key_prefix), value, true, reason);
}

static bool
parse_allow_prefix(WorkerConfig *config, const char *value, char *reason)
{
	if (*value == '\0')
		return complain(reason, "must not be empty");
	if (config->allowed_count == CONFIG_MAX_PREFIXES)
		return complain(reason, "is given more than %d times", CONFIG_MAX_PREFIXES);
	config->allowed[config->allowed_count] = strdup(value);
	if (config->allowed[config->allowed_count] == NULL)
		return complain(reason, "out of memory");
	config->allowed_count++;
	return true;
}

static void
clear_allow_prefix(WorkerConfig *config)
{
	while (config->allowed_count > 0)
		free(config->allowed[--config->allowed_count]);
}

static bool
parse_amqp_password_file(WorkerConfig *config, const char *value, char *reason)
{
	return parse_name(config->amqp_password_file, sizeof(config->amqp_password_file), value, true,
	                  reason);
}

static bool
parse_redis_password_file(WorkerConfig *config, const char *value, char *reason)
{
	return parse_name(config->redis_password_file, sizeof(config->redis_password_file), value, true,
	                  reason);
}

static bool
parse_amqp_ca_file(WorkerConfig *config, const char *value, char *reason)
{
	return parse_name(config->amqp_tls.ca, sizeof(config->amqp_tls.ca), value, true, reason);
}

static bool
parse_amqp_cert_file(WorkerConfig *config, const char *value, char *reason)
{
	return parse_name(config->amqp_tls.cert, sizeof(config->amqp_tls.cert), value, true, reason);
}

static bool
parse_amqp_key_file(WorkerConfig *config, const char *value, char *reason)
{
	return parse_name(config->amqp_tls.key, sizeof(config->amqp_tls.key), value, true, reason);
}

static bool
parse_redis_ca_file(WorkerConfig *config, const char *value, char *reason)
{
	return parse_name(config->redis_tls.ca, sizeof(config->redis_tls.ca), value, true, reason);
}

static bool
parse_redis_cert_file(WorkerConfig *config, const char *value, char *reason)
{
	return parse_name(config->redis_tls.cert, sizeof(config->redis_tls.cert), value, true, reason);
}

static bool
parse_redis_key_file(WorkerConfig *config, const char *value, char *reason)
{
	return parse_name(config->redis_tls.key, sizeof(config->redis_tls.key), value, true, reason);
}

static bool
parse_worker_name(WorkerConfig *config, const char *value, char *reason)
{
	return parse_name(config->name, sizeof(config->name), value, false, reason);
}

static bool
parse_log_level(WorkerConfig *config, const char *value, char *reason)
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
	return complain(reason, "is none of error, warning, info, debug");
}

static bool
parse_log_format(WorkerConfig *config, const char *value, char *reason)
{
	if (strcmp(value, "text") == 0)
		config->log_format = FORMAT_TEXT;
	else if (strcmp(value, "json") == 0)
		config->log_format = FORMAT_JSON;
	else
		return complain(reason, "is neither text nor json");
	return true;
}

/* A whole number with a unit: ms, s or min; 0 to one hour. */
static bool
parse_time(int64_t *out_us, const char *value, char *reason)
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
		if (number < 0 || number > MAX_TIME_US / units[i].us)
			return complain(reason, "must be between 0s and 60min");
		*out_us = number * units[i].us;
		return true;
	}
	return complain(reason, "must be a whole number with a unit: ms, s or min");
}

static bool
parse_stop_timeout(WorkerConfig *config, const char *value, char *reason)
{
	return parse_time(&config->stop_timeout_us, value, reason);
}

static bool
parse_second_delete(WorkerConfig *config, const char *value, char *reason)
{
	config->second_delete_us = 0;
	if (strcmp(value, "off") == 0)
		return true;
	return parse_time(&config->second_delete_us, value, reason);
}

/* [host:]port, IPv6 in brackets; without a host the loopback address. "off" or nothing: not. */
static bool
parse_metrics_listen(WorkerConfig *config, const char *value, char *reason)
{
	ListenAddress *listen = &config->metrics_listen;
	const char    *colon = strrchr(value, ':');
	const char    *port_text = colon == NULL ? value : colon + 1;
	size_t         size = colon == NULL ? 0 : (size_t) (colon - value);
	unsigned char  address[sizeof(struct in6_addr)];
	char          *end;
	long           port;

	memset(listen, 0, sizeof(*listen));
	if (*value == '\0' || strcmp(value, "off") == 0)
		return true;
	port = strtol(port_text, &end, 10);
	if (end == port_text || *end != '\0' || port < 1 || port > UINT16_MAX)
		return complain(reason, "must be address:port, the port 1 to %d", UINT16_MAX);
	if (size > 2 && value[0] == '[' && value[size - 1] == ']')
	{
		value++;
		size -= 2;
	}
	if (size >= sizeof(listen->host))
		return complain(reason, "must be address:port, the address numeric");
	memcpy(listen->host, value, size);
	if (size == 0 || strcmp(listen->host, "localhost") == 0)
		strcpy(listen->host, "127.0.0.1");
	if (inet_pton(AF_INET, listen->host, address) != 1 &&
	    inet_pton(AF_INET6, listen->host, address) != 1)
		return complain(reason, "must be address:port, the address numeric");
	listen->port = (uint16_t) port;
	return true;
}

/* What libpq says of a bad one may hold a piece of it: a password. */
static bool
parse_report_to(WorkerConfig *config, const char *value, char *reason)
{
	if (!parse_name(config->report_to, sizeof(config->report_to), value, true, reason))
		return false;
	return report_is_conninfo(value) ||
	       complain(reason, "is not a connection string or URI of libpq");
}

static bool
parse_config_file(WorkerConfig *config, const char *value, char *reason)
{
	return parse_name(config->config_file, sizeof(config->config_file), value, true, reason);
}

static bool
parse_replay_dead(WorkerConfig *config, const char *value, char *reason)
{
	return parse_switch(&config->replay_dead, value, reason);
}

const Option options[] = {
	{"amqp-url", "OUTBOX_AMQP_URL", "amqp://guest:guest@localhost:5672/%2f", "URL", parse_amqp_url,
     NULL,
     "the broker: amqp://user:password@host:port/vhost?heartbeat=10 or amqps://...;\n"
     "several, separated by commas, are tried in turn; with amqps:// and\n"
     "?auth_mechanism=external our certificate is the login, without a password"},
	{"amqp-password-file", "OUTBOX_AMQP_PASSWORD_FILE", "", "FILE", parse_amqp_password_file, NULL,
     "its first line takes the place of the password in --amqp-url"},
	{"amqp-ca-file", "OUTBOX_AMQP_CA_FILE", "", "FILE", parse_amqp_ca_file, NULL,
     "amqps://: the authorities to trust (PEM) in place of the system's"},
	{"amqp-cert-file", "OUTBOX_AMQP_CERT_FILE", "", "FILE", parse_amqp_cert_file, NULL,
     "amqps://: our own certificate (PEM), where the broker asks for one"},
	{"amqp-key-file", "OUTBOX_AMQP_KEY_FILE", "", "FILE", parse_amqp_key_file, NULL,
     "amqps://: its key, if it does not stand in the certificate's file"},
	{"redis-url", "OUTBOX_REDIS_URL", "redis://localhost:6379/0", "URL", parse_redis_url,
     clear_redis_url,
     "the cache: redis://user:password@host:port/db, rediss://... (TLS),\n"
     "redis+unix://user:password@/path?db=0, or by Sentinel:\n"
     "redis+sentinel://user:password@host:port,host:port/master/db?sentinel_user=...\n"
     "&sentinel_password=..., or a cluster by some of its nodes:\n"
     "redis+cluster://user:password@host:port,host:port; repeatable (in the\n"
     "environment separated by white space): caches that are one, a message is done\n"
     "once all have answered"},
	{"redis-password-file", "OUTBOX_REDIS_PASSWORD_FILE", "", "FILE", parse_redis_password_file,
     NULL, "its first line takes the place of the password in --redis-url"},
	{"redis-ca-file", "OUTBOX_REDIS_CA_FILE", "", "FILE", parse_redis_ca_file, NULL,
     "rediss://: the authorities to trust (PEM) in place of the system's"},
	{"redis-cert-file", "OUTBOX_REDIS_CERT_FILE", "", "FILE", parse_redis_cert_file, NULL,
     "rediss://: our own certificate (PEM), where Redis asks for one"},
	{"redis-key-file", "OUTBOX_REDIS_KEY_FILE", "", "FILE", parse_redis_key_file, NULL,
     "rediss://: its key, if it does not stand in the certificate's file"},
	{"config", "OUTBOX_CONFIG", "", "FILE", parse_config_file, NULL,
     "lines \"amqp-url = ...\", # begins a comment; counts before the defaults only"},
	{"queue", "OUTBOX_QUEUE", "cache-invalidation", "NAME", parse_queue, NULL,
     "where invalidations wait; what is not understood goes to NAME.dead"},
	{"exchange", "OUTBOX_EXCHANGE", "", "NAME", parse_exchange, NULL,
     "declare this fanout exchange if it is missing and bind the queue to it"},
	{"queue-type", "OUTBOX_QUEUE_TYPE", "classic", "TYPE", parse_queue_type, NULL,
     "classic or quorum, for queues that are missing; others are used as they are"},
	{"no-declare", "OUTBOX_NO_DECLARE", "off", NULL, parse_no_declare, NULL,
     "declare nothing: queue and NAME.dead are made by others"},
	{"prefetch", "OUTBOX_PREFETCH", "256", "N", parse_prefetch, NULL,
     "messages taken before the first is acknowledged, 1 to 65535"},
	{"key-prefix", "OUTBOX_KEY_PREFIX", "", "TEXT", parse_key_prefix, NULL,
     "put before every key and pattern"},
	{"allow-prefix", "OUTBOX_ALLOW_PREFIX", NULL, "TEXT", parse_allow_prefix, clear_allow_prefix,
     "refuse keys that do not begin so (before --key-prefix); repeatable,\n"
     "in the environment separated by white space"},
	{"second-delete", "OUTBOX_SECOND_DELETE", "off", "TIME", parse_second_delete, NULL,
     "delete each key again so much later, for readers of a lagging replica; at\n"
     "most 8 MB of keys wait for it, the oldest are deleted earlier then (ms, s, min)"},
	{"metrics-listen", "OUTBOX_METRICS_LISTEN", "off", "ADDRESS", parse_metrics_listen, NULL,
     "serve a status page, /metrics (Prometheus), /healthz and /readyz here:\n"
     "127.0.0.1:9790; the loopback address if only a port is given"},
	{"report-to", "OUTBOX_REPORT_TO", "", "CONNINFO", parse_report_to, NULL,
     "report each second to this PostgreSQL database, which shows it in outbox.consumer"},
	{"name", "OUTBOX_NAME", NULL, "NAME", parse_worker_name, NULL,
     "this worker's name, shown by the broker (default: host name and process id)"},
	{"log-level", "OUTBOX_LOG_LEVEL", "info", "LEVEL", parse_log_level, NULL,
     "error, warning, info or debug"},
	{"log-format", "OUTBOX_LOG_FORMAT", "text", "FORMAT", parse_log_format, NULL,
     "text or json, one line for each change of state, on standard error"},
	{"stop-timeout", "OUTBOX_STOP_TIMEOUT", "10s", "TIME", parse_stop_timeout, NULL,
     "after SIGTERM; what is unfinished then stays in the queue (ms, s, min)"},
	{"dry-run", NULL, "off", NULL, parse_dry_run, NULL,
     "say what would be deleted; delete and acknowledge nothing"},
	{"check", NULL, "off", NULL, parse_check, NULL,
     "try broker and Redis once, say what is wrong, exit with 0 or 1"},
	{"replay-dead", NULL, "off", NULL, parse_replay_dead, NULL,
     "send the messages of NAME.dead back to the queue, then exit"},
	{0},
};

const Option *
option_find(const char *name, size_t size)
{
	for (const Option *option = options; option->name != NULL; option++)
		if (strlen(option->name) == size && memcmp(option->name, name, size) == 0)
			return option;
	return NULL;
}
