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

typedef struct Secrets
{
	char        amqp[PASSWORD_BYTES], redis[PASSWORD_BYTES]; /* empty: no file */
	TlsContext *amqp_certificates, *redis_certificates;
} Secrets;

static bool
read_certificates(TlsContext **out, const char *side, const TlsFiles *files, bool wanted,
                  char *error)
{
	MqError reason;

	if (!wanted)
		return true;
	*out = tls_context_new(files->ca, files->cert, files->key, &reason);
	if (*out == NULL)
		snprintf(error, CONFIG_ERROR_BYTES, "certificates for %s: %.400s", side, reason.text);
	return *out != NULL;
}

static bool
read_all(const WorkerConfig *config, Secrets *secrets, char *error)
{
	const char *amqp = config->amqp_password_file;
	const char *redis = config->redis_password_file;

	return (amqp[0] == '\0' || read_password("amqp-password-file", amqp, secrets->amqp, error)) &&
	       (redis[0] == '\0' ||
	        read_password("redis-password-file", redis, secrets->redis, error)) &&
	       read_certificates(&secrets->amqp_certificates, "--amqp-url", &config->amqp_tls,
	                         config_amqp_has_tls(config), error) &&
	       read_certificates(&secrets->redis_certificates, "--redis-url", &config->redis_tls,
	                         config_redis_has_tls(config), error);
}

static void
swap_certificates(TlsContext **a, TlsContext **b)
{
	TlsContext *old = *a;

	*a = *b;
	*b = old;
}

bool
secrets_read(WorkerConfig *config, char error[CONFIG_ERROR_BYTES])
{
	Secrets secrets = {0};
	bool    fine = read_all(config, &secrets, error);

	if (fine)
	{
		for (int i = 0; secrets.amqp[0] != '\0' && i < config->amqp_url_count; i++)
			memcpy(config->amqp_urls[i].password, secrets.amqp, sizeof(secrets.amqp));
		for (int i = 0; secrets.redis[0] != '\0' && i < config->redis_url_count; i++)
			memcpy(config->redis_urls[i].password, secrets.redis, sizeof(secrets.redis));
		swap_certificates(&config->amqp_certificates, &secrets.amqp_certificates);
		swap_certificates(&config->redis_certificates, &secrets.redis_certificates);
	}
	tls_context_free(secrets.amqp_certificates);
	tls_context_free(secrets.redis_certificates);
	explicit_bzero(&secrets, sizeof(secrets));
	return fine;
}
