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
	MqBytes user, password, host, port, path, query;
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

/* text: what follows "scheme://". */
static MqResult
split(MqBytes text, UrlParts *parts, MqError *error)
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
	return split_host(begin, end, parts, error);
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
				return mq_error_set(error, MQ_INVALID, "URL: broken percent escape in the %s", what);
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

static MqResult
decode_amqp_query(MqBytes query, MqUrl *url, MqError *error)
{
	const char *at = query.data;
	const char *end;

	if (query.size == 0)
		return MQ_OK;
	end = query.data + query.size;
	while (at < end)
	{
		const char *ampersand = find(at, end, '&');
		const char *stop = ampersand == NULL ? end : ampersand;

		if (decode_amqp_option(slice(at, stop), url, error) != MQ_OK)
			return MQ_INVALID;
		at = stop + 1;
	}
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
			return mq_error_set(error, MQ_INVALID, "URL: a \"/\" in the vhost must be written %%2f");
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

MqResult
redis_url_parse(const char *text, RedisUrl *url, MqError *error)
{
	MqBytes  rest = mq_bytes_of(text);
	UrlParts parts;

	*url = (RedisUrl){.host = "localhost", .port = 6379};
	if (skip_scheme(&rest, "redis+unix://"))
		return redis_unix_parse(rest, url, error);
	if (skip_scheme(&rest, "rediss://"))
		url->tls = true;
	else if (!skip_scheme(&rest, "redis://"))
		return mq_error_set(error, MQ_INVALID,
							"URL: must begin with redis://, rediss:// or redis+unix://");
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

void
redis_url_describe(const RedisUrl *url, char *out, size_t size)
{
	if (url->path[0] != '\0')
		snprintf(out, size, "%s?db=%d", url->path, url->database);
	else
		snprintf(out, size, "%s:%u/%d", url->host, (unsigned) url->port, url->database);
}
