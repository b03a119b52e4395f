/*
 * url.h
 *    Where broker and Redis are: amqp:// and redis:// URLs taken apart.
 *
 * Error texts name the part that is wrong and never repeat the URL: it may hold a password.
 */
#ifndef MQ_URL_H
#define MQ_URL_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MQ_MAX_URLS 16     /* brokers of one cluster, caches of one worker */
#define REDIS_MAX_HOSTS 16 /* named in one URL */

typedef struct MqUrl
{
	bool     tls;
	bool     external;  /* ?auth_mechanism=external: we are who our certificate says; needs TLS */
	uint16_t port;      /* default 5672, 5671 with TLS */
	char     host[256]; /* name or numeric address, IPv6 without brackets */
	char     user[256]; /* default guest */
	char     password[256];
	char     vhost[256];  /* default "/" */
	int      heartbeat_s; /* ?heartbeat=, default 10, 0 to 3600; 0: off */
} MqUrl;

typedef enum RedisKind
{
	REDIS_SERVER,   /* the one at host or path */
	REDIS_SENTINEL, /* the master of that name: hosts[] are Sentinels */
	REDIS_CLUSTER   /* hosts[] are some of its nodes */
} RedisKind;

typedef struct RedisHost
{
	char     host[256];
	uint16_t port;
} RedisHost;

typedef struct RedisUrl
{
	RedisKind kind;
	bool      tls;
	char      path[256]; /* unix socket; empty: host and port count */
	char      host[256]; /* of a list: the first one */
	uint16_t  port;      /* default 6379 */
	char      user[256];
	char      password[256]; /* empty: no AUTH */
	int       database;      /* default 0 */

	/* Sentinel and Cluster */
	RedisHost hosts[REDIS_MAX_HOSTS]; /* default ports 26379 and 6379 */
	int       host_count;
	char      master[256]; /* Sentinel: what it calls the master */
	char      sentinel_user[256];
	char      sentinel_password[256];
} RedisUrl;

/* text: one amqp:// or amqps:// URL. Percent escapes are decoded. MQ_OK or MQ_INVALID. */
MqResult mq_url_parse(const char *text, MqUrl *url, MqError *error);

/* text: one or several such URLs separated by commas. *count: how many were stored (1 to
 * MQ_MAX_URLS). MQ_OK or MQ_INVALID. */
MqResult mq_url_parse_list(const char *text, MqUrl urls[MQ_MAX_URLS], int *count, MqError *error);

/* text: one of
 *     redis://[[user]:password@]host[:port][/db]
 *     redis+unix://[[user]:password@]/path[?db=N]
 *     redis+sentinel://[[user]:password@]host[:port],.../master[/db]
 *                      [?sentinel_user=...&sentinel_password=...]
 *     redis+cluster://[[user]:password@]host[:port],...
 * or, with TLS, rediss://, rediss+sentinel://, rediss+cluster://. MQ_OK or MQ_INVALID. */
MqResult redis_url_parse(const char *text, RedisUrl *url, MqError *error);

/* "host:port/vhost" for views and logs: user and password left out. Cut to size. */
void mq_url_describe(const MqUrl *url, char *out, size_t size);

/* "host:port/db", "/path?db=N", "sentinel host:port,.../master/db" or "cluster host:port,...". */
void redis_url_describe(const RedisUrl *url, char *out, size_t size);

/* "host:port". */
void redis_host_describe(const RedisHost *host, char *out, size_t size);

#endif
