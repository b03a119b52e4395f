/*
 * backoff.c
 *    Doubling delays with jitter.
 */
#include "wire/backoff.h"

/* S. Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016. */
static uint64_t
random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

void
backoff_init(Backoff *backoff, int64_t first_us, int64_t limit_us, uint64_t seed)
{
	backoff->first_us = first_us;
	backoff->limit_us = limit_us;
	backoff->next_us = 0;
	backoff->random = seed == 0 ? 1 : seed;
}

int64_t
backoff_next_us(Backoff *backoff)
{
	int64_t step_us = backoff->next_us == 0 ? backoff->first_us : backoff->next_us;
	int64_t half_us = step_us / 2;

	backoff->next_us = step_us > backoff->limit_us / 2 ? backoff->limit_us : step_us * 2;
	return step_us - (int64_t) (random_next(&backoff->random) % (uint64_t) (half_us + 1));
}

void
backoff_reset(Backoff *backoff)
{
	backoff->next_us = 0;
}
