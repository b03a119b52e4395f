/*
 * refusal.c
 *    See refusal.h.
 */
#include "worker/refusal.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>

void
refusal_unquote(char *text)
{
	char *quoted = strstr(text, ", with args beginning");

	if (quoted != NULL)
		*quoted = '\0';
}

DeletionVerdict
refusal_classify(const char *reply, size_t size)
{
	static const char *const settings[] = {"NOAUTH",
	                                       "WRONGPASS",
	                                       "NOPERM",
	                                       "MOVED",
	                                       "ASK",
	                                       "CROSSSLOT",
	                                       "DENIED",
	                                       "ERR unknown command",
	                                       "ERR wrong number of arguments",
	                                       "ERR invalid password",
	                                       "ERR AUTH",
	                                       "ERR Client sent AUTH",
	                                       "ERR DB index",
	                                       "ERR invalid DB index",
	                                       "ERR SELECT is not allowed",
	                                       "ERR This instance has cluster support disabled"};

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
	{
		size_t n = strlen(settings[i]);

		if (size >= n && memcmp(reply, settings[i], n) == 0)
			return DELETION_SETTINGS;
	}
	/* READONLY, LOADING, BUSY, NOREPLICAS, MISCONF, MASTERDOWN, CLUSTERDOWN, TRYAGAIN, too many
	 * clients; and what nobody has seen yet: tried again, never taken for success. */
	return DELETION_PASSING;
}

void
refusal_describe(char *out, size_t size, const struct redisReply *reply, const char *command)
{
	const char *text = "an answer of the wrong type";

	if (reply->type == REDIS_REPLY_ERROR)
		text = reply->str;
	snprintf(out, size, "%s: %.400s", command, text);
	refusal_unquote(out);
}
