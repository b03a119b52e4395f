/*
 * reconnect.c
 *    See reconnect.h.
 */
#include "worker/reconnect.h"

#include <string.h>

#define FIRST_PAUSE_US ((int64_t) 100000)
#define SOON_LONGEST_PAUSE_US ((int64_t) 5000000)
#define LONGEST_PAUSE_US ((int64_t) 30000000)
#define SOON_US ((int64_t) 60000000)
#define FIRST_REFUSED_PAUSE_US ((int64_t) 1000000)
#define LASTED_US ((int64_t) 5000000)

void
reconnect_init(Reconnect *reconnect, int address_count, uint64_t seed)
{
	*reconnect = (Reconnect){.address_count = address_count};
	backoff_init(&reconnect->pause, FIRST_PAUSE_US, SOON_LONGEST_PAUSE_US, seed);
	backoff_init(&reconnect->refused_pause, FIRST_REFUSED_PAUSE_US, LONGEST_PAUSE_US, seed);
}

int
reconnect_address(const Reconnect *reconnect)
{
	return reconnect->address;
}

int64_t
reconnect_due_us(const Reconnect *reconnect)
{
	return reconnect->due_us;
}

void
reconnect_failed(Reconnect *reconnect, bool refused, int64_t now_us)
{
	if (reconnect->away_since_us == 0)
		reconnect->away_since_us = now_us;
	reconnect->pause.limit_us =
		now_us - reconnect->away_since_us > SOON_US ? LONGEST_PAUSE_US : SOON_LONGEST_PAUSE_US;
	reconnect->address = (reconnect->address + 1) % reconnect->address_count;
	if (++reconnect->failed < reconnect->address_count)
	{
		reconnect->due_us = now_us;
		return;
	}
	reconnect->failed = 0;
	reconnect->due_us =
		now_us + backoff_next_us(refused ? &reconnect->refused_pause : &reconnect->pause);
}

void
reconnect_reached(Reconnect *reconnect)
{
	reconnect->failed = 0;
}

void
reconnect_lasted(Reconnect *reconnect, int64_t duration_us)
{
	if (duration_us < LASTED_US)
		return;
	reconnect->away_since_us = 0;
	backoff_reset(&reconnect->pause);
	backoff_reset(&reconnect->refused_pause);
}

bool
reconnect_is_refusal(int reply_code, bool declaring)
{
	switch (reply_code)
	{
	case 402: /* INVALID_PATH */
	case 403: /* ACCESS_REFUSED */
	case 530: /* NOT_ALLOWED: unknown vhost */
		return true;
	case 405: /* RESOURCE_LOCKED: an exclusive queue */
	case 406: /* PRECONDITION_FAILED */
		return declaring;
	}
	return false;
}

void
reconnect_hurry(Reconnect *reconnect)
{
	reconnect->due_us = 0;
}

bool
reconnect_is_local(const char *host)
{
	return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
	       strcmp(host, "::1") == 0;
}
