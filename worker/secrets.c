/*
 * secrets.c
 *    See secrets.h.
 */
#include "worker/secrets.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MAX_LINE_BYTES 1024
#define PASSWORD_BYTES sizeof(((MqUrl *) NULL)->password)

_Static_assert(sizeof(((RedisUrl *) NULL)->password) == PASSWORD_BYTES, "one size for both");

/* The first line of a file, into out. */
static bool
read_password(const char *option, const char *path, char out[PASSWORD_BYTES], char *error)
{
	FILE  *file = fopen(path, "re");
	char   line[MAX_LINE_BYTES];
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
	if (length == 0 || length >= PASSWORD_BYTES)
		snprintf(error, CONFIG_ERROR_BYTES,
		         "--%s: %.300s: the first line has %zu bytes, not 1 to %zu", option, path, length,
		         PASSWORD_BYTES - 1);
	else
		memcpy(out, line, length + 1);
	explicit_bzero(line, sizeof(line));
	return length > 0 && length < PASSWORD_BYTES;
}

bool
secrets_read(WorkerConfig *config, char error[CONFIG_ERROR_BYTES])
{
	bool has_amqp = config->amqp_password_file[0] != '\0';
	bool has_redis = config->redis_password_file[0] != '\0';
	char amqp[PASSWORD_BYTES] = "";
	char redis[PASSWORD_BYTES] = "";
	bool fine = (!has_amqp ||
	             read_password("amqp-password-file", config->amqp_password_file, amqp, error)) &&
	            (!has_redis ||
	             read_password("redis-password-file", config->redis_password_file, redis, error));

	for (int i = 0; fine && has_amqp && i < config->amqp_url_count; i++)
		memcpy(config->amqp_urls[i].password, amqp, sizeof(amqp));
	if (fine && has_redis)
		memcpy(config->redis_url.password, redis, sizeof(redis));
	explicit_bzero(amqp, sizeof(amqp));
	explicit_bzero(redis, sizeof(redis));
	return fine;
}
