/*
 * config.h
 *    What the operator asked for: command line over environment over file over defaults.
 *
 * Options are one table in options.c: name, environment variable, default, parser, help. An option
 * given twice: the last counts, unless it is repeatable (in the environment: separated by white
 * space); a higher layer replaces a lower one, it never adds. An empty environment variable counts
 * as not set.
 */
#ifndef WORKER_CONFIG_H
#define WORKER_CONFIG_H

#include "wire/tls.h"
#include "wire/topology.h"
#include "wire/url.h"
#include "worker/log.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define CONFIG_MAX_PREFIXES 64
#define CONFIG_ERROR_BYTES 512

/* Of one side; empty: the system's authorities, no certificate of our own. */
typedef struct TlsFiles
{
	char ca[1024], cert[1024], key[1024];
} TlsFiles;

typedef struct ListenAddress
{
	char     host[64]; /* numeric; empty: do not listen */
	uint16_t port;
} ListenAddress;

typedef struct WorkerConfig
{
	MqUrl         amqp_urls[MQ_MAX_URLS]; /* tried in turn */
	int           amqp_url_count;
	RedisUrl      redis_urls[MQ_MAX_URLS]; /* caches, all of them */
	int           redis_url_count;
	char          queue[251];    /* with ".dead" behind it a short string */
	char          exchange[256]; /* empty: none */
	QueueType     queue_type;
	bool          no_declare;
	uint16_t      prefetch;
	char          key_prefix[1024];
	char         *allowed[CONFIG_MAX_PREFIXES]; /* owned */
	size_t        allowed_count;
	char          amqp_password_file[4096];
	char          redis_password_file[4096];
	TlsFiles      amqp_tls, redis_tls;
	TlsContext   *amqp_certificates, *redis_certificates; /* owned; NULL: no TLS there */
	char          config_file[4096];
	int64_t       second_delete_us; /* 0: off */
	ListenAddress metrics_listen;
	char          report_to[1024]; /* libpq's connection string; empty: nobody */
	char          name[128];
	LogLevel      log_level;
	LogFormat     log_format;
	int64_t       stop_timeout_us;
	bool          dry_run;
	bool          check;
	bool          replay_dead;
} WorkerConfig;

typedef enum ConfigOutcome
{
	CONFIG_RUN,
	CONFIG_HELP,    /* --help was given */
	CONFIG_VERSION, /* --version was given */
	CONFIG_BAD      /* error names the option and says what is wrong, never a password */
} ConfigOutcome;

/* environment: getenv, or a test's. Reads the password and certificate files. */
ConfigOutcome config_load(WorkerConfig *config, int argc, char *const *argv,
                          const char *(*environment)(const char *name),
                          char error[CONFIG_ERROR_BYTES]);

bool config_amqp_has_tls(const WorkerConfig *config);
bool config_redis_has_tls(const WorkerConfig *config);

/* Overwrites the passwords of URLs in the arguments, which every user of the machine can read. */
void config_wipe_arguments(int argc, char **argv);

void config_print_help(FILE *out);

void config_free(WorkerConfig *config);

#endif
