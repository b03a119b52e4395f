/*
 * url.c
 *    amqp:// and redis:// URLs (RFC 3986, the RabbitMQ URI specification) taken apart.
 *
 * A URL is cut into scheme, user, password, host, port, path and query first, then each part is
 * percent-decoded into its bounded field. No error text holds any of the input.
 */
#include "wire/url.h"

#include "wire/bytes.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The parts as they stand in the text, still escaped; data NULL: absent. */
typedef struct UrlParts
{
	MqBytes user, password, authority, host, port, path, query;
} UrlParts;

static MqBytes
slice(const char *begin, const char *end)
{
	return mq_bytes(begin, (size_t) (end - begin));
}

static const char *
find(const char *begin, const char *end, char c)
{
	const char *at = memchr(begin, c, (size_t) (end - begin));

	return at;
}

/* host, [v6] and :port of what stands between "//[user@]" and the path. */
static MqResult
split_host(const char *begin, const char *end, UrlParts *parts, MqError *error)
{
	const char *colon;

	if (begin < end && *begin == '[')
	{
		const char *bracket = find(begin, end, ']');

		if (bracket == NULL)
			return mq_error_set(error, MQ_INVALID, "URL: \"[\" without \"]\" in the host");
		parts->host = slice(begin + 1, bracket);
		if (bracket + 1 == end)
			return MQ_OK;
		if (bracket[1] != ':')
			return mq_error_set(error, MQ_INVALID, "URL: only a port may follow the host");
		parts->port = slice(bracket + 2, end);
		return MQ_OK;
	}
	colon = find(begin, end, ':');
	parts->host = slice(begin, colon == NULL ? end : colon);
	if (colon != NULL)
		parts->port = slice(colon + 1, end);
	return MQ_OK;
}

/* text: what follows "scheme://". The authority, one host or a list of them, stays whole. */
static void
split_list(MqBytes text, UrlParts *parts)
{
	const char *begin = text.data;
	const char *end = text.data + text.size;
	const char *question = find(begin, end, '?');
	const char *slash, *at = NULL;

	*parts = (UrlParts){0};
	if (question != NULL)
	{
		parts->query = slice(question + 1, end);
		end = question;
	}
	slash = find(begin, end, '/');
	if (slash != NULL)
	{
		parts->path = slice(slash + 1, end);
		end = slash;
	}
	for (const char *c = begin; c < end; c++)
	{
		if (*c == '@')
			at = c;
	}
	if (at != NULL)
	{
		const char *colon = find(begin, at, ':');

		parts->user = slice(begin, colon == NULL ? at : colon);
		if (colon != NULL)
			parts->password = slice(colon + 1, at);
		begin = at + 1;
	}
	parts->authority = slice(begin, end);
}

static MqResult
split(MqBytes text, UrlParts *parts, MqError *error)
{
	split_list(text, parts);
	return split_host(parts->authority.data, parts->authority.data + parts->authority.size, parts,
	                  error);
}

/* Percent-decodes into out; what names the part in errors. */
static MqResult
decode(MqBytes text, const char *what, char *out, size_t size, MqError *error)
{
	size_t length = 0;

	for (size_t i = 0; i < text.size; i++)
	{
		unsigned char c = (unsigned char) text.data[i];

		if (c == '%')
		{
			char digits[3] = {0};

			if (i + 2 >= text.size || !isxdigit((unsigned char) text.data[i + 1]) ||
			    !isxdigit((unsigned char) text.data[i + 2]))
				return mq_error_set(error, MQ_INVALID, "URL: broken percent escape in the %s",
				                    what);
			memcpy(digits, text.data + i + 1, 2);
			c = (unsigned char) strtol(digits, NULL, 16);
			i += 2;
		}
		if (c == '\0')
			return mq_error_set(error, MQ_INVALID, "URL: zero byte in the %s", what);
		if (length + 1 >= size)
			return mq_error_set(error, MQ_INVALID, "URL: the %s is longer than %zu bytes", what,
			                    size - 1);
		out[length++] = (char) c;
	}
	out[length] = '\0';
	return MQ_OK;
}

/* A decimal number of digits alone, low to high. */
static MqResult
number(MqBytes text, const char *what, int low, int high, int *value, MqError *error)
{
	long result = 0;

	if (text.size == 0 || text.size > 9)
		return mq_error_set(error, MQ_INVALID, "URL: the %s must be %d to %d", what, low, high);
	for (size_t i = 0; i < text.size; i++)
	{
		if (!isdigit((unsigned char) text.data[i]))
			return mq_error_set(error, MQ_INVALID, "URL: the %s is not a number", what);
		result = result * 10 + (text.data[i] - '0');
	}
	if (result < low || result > high)
		return mq_error_set(error, MQ_INVALID, "URL: the %s must be %d to %d", what, low, high);
	*value = (int) result;
	return MQ_OK;
}

static MqResult
decode_host_port(const UrlParts *parts, char *host, size_t host_size, uint16_t *port,
                 MqError *error)
{
	int value = *port;

	if (parts->host.size > 0 && decode(parts->host, "host", host, host_size, error) != MQ_OK)
		return MQ_INVALID;
	if (parts->port.data != NULL && number(parts->port, "port", 1, 65535, &value, error) != MQ_OK)
		return MQ_INVALID;
	*port = (uint16_t) value;
	return MQ_OK;
}

static MqResult
decode_user(const UrlParts *parts, char *user, size_t user_size, char *password,
            size_t password_size, MqError *error)
{
	if (parts->user.data != NULL && decode(parts->user, "user", user, user_size, error) != MQ_OK)
		return MQ_INVALID;
	if (parts->password.data == NULL)
		return MQ_OK;
	return decode(parts->password, "password", password, password_size, error);
}

/* Is this option "name=..."? *value: what follows. */
static bool
is_option(MqBytes option, const char *name, MqBytes *value)
{
	size_t size = strlen(name);

	if (option.size <= size || memcmp(option.data, name, size) != 0 || option.data[size] != '=')
		return false;
	*value = mq_bytes(option.data + size + 1, option.size - size - 1);
	return true;
}

static bool
is_word(MqBytes value, const char *word)
{
	return value.size == strlen(word) && strncasecmp(value.data, word, value.size) == 0;
}

/* redis: a query of exactly "db=N", or none. */
static MqResult
decode_redis_query(MqBytes query, RedisUrl *url, MqError *error)
{
	MqBytes value;

	if (query.size == 0)
		return MQ_OK;
	if (!is_option(query, "db", &value))
		return mq_error_set(error, MQ_INVALID, "URL: the only option after \"?\" is db=");
	return number(value, "database", 0, 1000000, &url->database, error);
}

static MqResult
decode_amqp_option(MqBytes option, MqUrl *url, MqError *error)
{
	MqBytes value;

	if (is_option(option, "heartbeat", &value))
		return number(value, "heartbeat", 0, 3600, &url->heartbeat_s, error);
	if (!is_option(option, "auth_mechanism", &value))
		return mq_error_set(error, MQ_INVALID,
		                    "URL: the options after \"?\" are heartbeat= and auth_mechanism=");
	url->external = is_word(value, "external");
	if (!url->external && !is_word(value, "plain"))
		return mq_error_set(error, MQ_INVALID, "URL: auth_mechanism must be plain or external");
	if (url->external && !url->tls)
		return mq_error_set(error, MQ_INVALID,
		                    "URL: auth_mechanism=external needs amqps:// and a client certificate");
	return MQ_OK;
}

/* Cuts the piece before the separator off. false: nothing is left. */
static bool
next_piece(MqBytes *rest, char separator, MqBytes *piece)
{
	const char *end = rest->data + rest->size;
	const char *stop;

	if (rest->size == 0)
		return false;
	stop = find(rest->data, end, separator);
	*piece = slice(rest->data, stop == NULL ? end : stop);
	*rest = stop == NULL ? (MqBytes){0} : slice(stop + 1, end);
	return true;
}

static MqResult
decode_amqp_query(MqBytes query, MqUrl *url, MqError *error)
{
	MqBytes option;

	while (next_piece(&query, '&', &option))
		if (decode_amqp_option(option, url, error) != MQ_OK)
			return MQ_INVALID;
	return MQ_OK;
}

static bool
skip_scheme(MqBytes *text, const char *scheme)
{
	size_t size = strlen(scheme);

	if (text->size < size || strncasecmp(text->data, scheme, size) != 0)
		return false;
	*text = mq_bytes(text->data + size, text->size - size);
	return true;
}

static MqResult
amqp_parse(MqBytes text, MqUrl *url, MqError *error)
{
	UrlParts parts;

	*url = (MqUrl){.host = "localhost",
	               .port = 5672,
	               .user = "guest",
	               .password = "guest",
	               .vhost = "/",
	               .heartbeat_s = 10};
	if (skip_scheme(&text, "amqps://"))
	{
		url->tls = true;
		url->port = 5671;
	}
	else if (!skip_scheme(&text, "amqp://"))
		return mq_error_set(error, MQ_INVALID, "URL: must begin with amqp:// or amqps://");
	if (split(text, &parts, error) != MQ_OK ||
	    decode_host_port(&parts, url->host, sizeof(url->host), &url->port, error) != MQ_OK ||
	    decode_user(&parts, url->user, sizeof(url->user), url->password, sizeof(url->password),
	                error) != MQ_OK)
		return MQ_INVALID;
	if (parts.path.size > 0)
	{
		if (find(parts.path.data, parts.path.data + parts.path.size, '/') != NULL)
			return mq_error_set(error, MQ_INVALID,
			                    "URL: a \"/\" in the vhost must be written %%2f");
		if (decode(parts.path, "vhost", url->vhost, sizeof(url->vhost), error) != MQ_OK)
			return MQ_INVALID;
	}
	return decode_amqp_query(parts.query, url, error);
}

MqResult
mq_url_parse(const char *text, MqUrl *url, MqError *error)
{
	return amqp_parse(mq_bytes_of(text), url, error);
}

MqResult
mq_url_parse_list(const char *text, MqUrl urls[MQ_MAX_URLS], int *count, MqError *error)
{
	const char *end = text + strlen(text);

	*count = 0;
	for (;;)
	{
		const char *comma = find(text, end, ',');
		const char *stop = comma == NULL ? end : comma;
		const char *begin = text;

		while (begin < stop && isspace((unsigned char) *begin))
			begin++;
		while (stop > begin && isspace((unsigned char) stop[-1]))
			stop--;
		if (*count == MQ_MAX_URLS)
			return mq_error_set(error, MQ_INVALID, "URL: more than %d of them", MQ_MAX_URLS);
		if (amqp_parse(slice(begin, stop), &urls[*count], error) != MQ_OK)
			return MQ_INVALID;
		(*count)++;
		if (comma == NULL)
			return MQ_OK;
		text = comma + 1;
	}
}

/* redis+unix://[user:password@]/path?db=N: everything up to "?" behind the first "/" is the path. */
static MqResult
redis_unix_parse(MqBytes text, RedisUrl *url, MqError *error)
{
	UrlParts parts;

	if (split(text, &parts, error) != MQ_OK ||
	    decode_user(&parts, url->user, sizeof(url->user), url->password, sizeof(url->password),
	                error) != MQ_OK)
		return MQ_INVALID;
	if (parts.host.size > 0 || parts.port.data != NULL || parts.path.size == 0)
		return mq_error_set(error, MQ_INVALID,
		                    "URL: redis+unix:// needs an absolute path and no host");
	url->path[0] = '/';
	if (decode(parts.path, "path", url->path + 1, sizeof(url->path) - 1, error) != MQ_OK)
		return MQ_INVALID;
	return decode_redis_query(parts.query, url, error);
}

/* Stores one of a list of hosts. */
static MqResult
decode_host(MqBytes text, RedisUrl *url, uint16_t default_port, MqError *error)
{
	RedisHost *host = &url->hosts[url->host_count];
	UrlParts   parts = {0};

	if (url->host_count == REDIS_MAX_HOSTS)
		return mq_error_set(error, MQ_INVALID, "URL: more than %d hosts", REDIS_MAX_HOSTS);
	*host = (RedisHost){.host = "localhost", .port = default_port};
	if (split_host(text.data, text.data + text.size, &parts, error) != MQ_OK ||
	    decode_host_port(&parts, host->host, sizeof(host->host), &host->port, error) != MQ_OK)
		return MQ_INVALID;
	url->host_count++;
	return MQ_OK;
}

/* The list of hosts and the login, as Sentinel and Cluster have them. */
static MqResult
decode_hosts(const UrlParts *parts, RedisUrl *url, uint16_t default_port, MqError *error)
{
	MqBytes rest = parts->authority;
	MqBytes host;

	while (next_piece(&rest, ',', &host))
	{
		if (host.size == 0)
			return mq_error_set(error, MQ_INVALID, "URL: an empty host in the list");
		if (decode_host(host, url, default_port, error) != MQ_OK)
			return MQ_INVALID;
	}
	if (url->host_count == 0 && decode_host(mq_bytes("", 0), url, default_port, error) != MQ_OK)
		return MQ_INVALID;
	memcpy(url->host, url->hosts[0].host, sizeof(url->host));
	url->port = url->hosts[0].port;
	return decode_user(parts, url->user, sizeof(url->user), url->password, sizeof(url->password),
	                   error);
}

static MqResult
redis_cluster_parse(MqBytes text, RedisUrl *url, MqError *error)
{
	UrlParts parts;

	url->kind = REDIS_CLUSTER;
	split_list(text, &parts);
	if ((parts.path.size > 0 && !mq_bytes_equal(parts.path, mq_bytes_of("0"))) ||
	    parts.query.size > 0)
		return mq_error_set(error, MQ_INVALID,
		                    "URL: a cluster has database 0 only, and no options");
	return decode_hosts(&parts, url, 6379, error);
}

static MqResult
decode_sentinel_query(MqBytes query, RedisUrl *url, MqError *error)
{
	MqBytes  option, value;
	MqResult result = MQ_OK;

	while (result == MQ_OK && next_piece(&query, '&', &option))
	{
		if (is_option(option, "sentinel_user", &value))
			result = decode(value, "user of Sentinel", url->sentinel_user,
			                sizeof(url->sentinel_user), error);
		else if (is_option(option, "sentinel_password", &value))
			result = decode(value, "password of Sentinel", url->sentinel_password,
			                sizeof(url->sentinel_password), error);
		else
			return mq_error_set(error, MQ_INVALID,
			                    "URL: the options after \"?\" are "
			                    "sentinel_user= and sentinel_password=");
	}
	return result;
}

/* The path is the master's name and the database. */
static MqResult
redis_sentinel_parse(MqBytes text, RedisUrl *url, MqError *error)
{
	UrlParts parts;
	MqBytes  master;

	url->kind = REDIS_SENTINEL;
	split_list(text, &parts);
	if (!next_piece(&parts.path, '/', &master) || master.size == 0)
		return mq_error_set(
			error, MQ_INVALID,
			"URL: the name of the master must follow the Sentinels: host:26379/name");
	if (decode(master, "name of the master", url->master, sizeof(url->master), error) != MQ_OK ||
	    decode_hosts(&parts, url, 26379, error) != MQ_OK)
		return MQ_INVALID;
	if (parts.path.size > 0 &&
	    number(parts.path, "database", 0, 1000000, &url->database, error) != MQ_OK)
		return MQ_INVALID;
	return decode_sentinel_query(parts.query, url, error);
}

static bool
skip_scheme_tls(MqBytes *text, const char *plain, const char *secure, bool *tls)
{
	*tls = skip_scheme(text, secure);
	return *tls || skip_scheme(text, plain);
}

MqResult
redis_url_parse(const char *text, RedisUrl *url, MqError *error)
{
	MqBytes  rest = mq_bytes_of(text);
	UrlParts parts;

	*url = (RedisUrl){.host = "localhost", .port = 6379};
	if (skip_scheme(&rest, "redis+unix://"))
		return redis_unix_parse(rest, url, error);
	if (skip_scheme_tls(&rest, "redis+sentinel://", "rediss+sentinel://", &url->tls))
		return redis_sentinel_parse(rest, url, error);
	if (skip_scheme_tls(&rest, "redis+cluster://", "rediss+cluster://", &url->tls))
		return redis_cluster_parse(rest, url, error);
	if (!skip_scheme_tls(&rest, "redis://", "rediss://", &url->tls))
		return mq_error_set(error, MQ_INVALID,
		                    "URL: must begin with redis://, rediss://, redis+unix://, "
		                    "redis+sentinel:// or redis+cluster://");
	if (split(rest, &parts, error) != MQ_OK ||
	    decode_host_port(&parts, url->host, sizeof(url->host), &url->port, error) != MQ_OK ||
	    decode_user(&parts, url->user, sizeof(url->user), url->password, sizeof(url->password),
	                error) != MQ_OK)
		return MQ_INVALID;
	if (parts.path.size > 0 &&
	    number(parts.path, "database", 0, 1000000, &url->database, error) != MQ_OK)
		return MQ_INVALID;
	return decode_redis_query(parts.query, url, error);
}

void
mq_url_describe(const MqUrl *url, char *out, size_t size)
{
	bool v6 = strchr(url->host, ':') != NULL;

	snprintf(out, size, v6 ? "[%s]:%u/%s" : "%s:%u/%s", url->host, (unsigned) url->port,
	         strcmp(url->vhost, "/") == 0 ? "" : url->vhost);
}

/* "host:port", or "[v6]:port"; cut to size. Returns how many bytes were written. */
static size_t
describe_host(const char *host, uint16_t port, char *out, size_t size)
{
	const char *format = strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u";
	int         n = snprintf(out, size, format, host, (unsigned) port);

	return n < 0 ? 0 : (size_t) n < size ? (size_t) n : size - 1;
}

void
redis_host_describe(const RedisHost *host, char *out, size_t size)
{
	describe_host(host->host, host->port, out, size);
}

void
redis_url_describe(const RedisUrl *url, char *out, size_t size)
{
	size_t at = 0;

	if (url->path[0] != '\0')
	{
		snprintf(out, size, "%s?db=%d", url->path, url->database);
		return;
	}
	if (url->kind == REDIS_SERVER)
	{
		at = describe_host(url->host, url->port, out, size);
		snprintf(out + at, size - at, "/%d", url->database);
		return;
	}
	snprintf(out, size, url->kind == REDIS_CLUSTER ? "cluster " : "sentinel ");
	for (int i = 0; i < url->host_count; i++)
	{
		at = strlen(out);
		snprintf(out + at, size - at, i == 0 ? "" : ",");
		at = strlen(out);
		describe_host(url->hosts[i].host, url->hosts[i].port, out + at, size - at);
	}
	at = strlen(out);
	if (url->kind == REDIS_SENTINEL)
		snprintf(out + at, size - at, "/%s/%d", url->master, url->database);
}
