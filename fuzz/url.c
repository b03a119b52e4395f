/*
 * url.c
 *    Any text as the URL of a broker or of Redis.
 */
#include "fuzz/fuzz.h"

#include "wire/url.h"

#include <stdlib.h>
#include <string.h>

/* What is described must hold no password. */
static void
parse(const char *text)
{
	static MqUrl urls[MQ_MAX_URLS];
	RedisUrl     redis;
	MqError      error;
	int          count;
	char         name[600];

	if (mq_url_parse_list(text, urls, &count, &error) == MQ_OK)
	{
		if (count < 1 || count > MQ_MAX_URLS)
			abort();
		for (int i = 0; i < count; i++)
		{
			if (urls[i].port == 0 || urls[i].host[0] == '\0')
				abort();
			mq_url_describe(&urls[i], name, sizeof(name));
		}
	}
	if (redis_url_parse(text, &redis, &error) == MQ_OK)
		redis_url_describe(&redis, name, sizeof(name));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	if (text == NULL)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	parse(text);
	free(text);
	return 0;
}
