/*
 * backoff.h
 *    How long to wait before the next try: doubling, with a cap and jitter.
 */
#ifndef MQ_BACKOFF_H
#define MQ_BACKOFF_H

#include <stdint.h>

typedef struct Backoff
{
	int64_t  first_us; /* the first delay */
	int64_t  limit_us; /* no delay is longer */
	int64_t  next_us;  /* upper end of the next delay; 0: first_us */
	uint64_t random;   /* xorshift64* state; any seed but 0 */
} Backoff;

/* seed: differs from process to process, so that a thousand relays do not come back at once. */
void backoff_init(Backoff *backoff, int64_t first_us, int64_t limit_us, uint64_t seed);

/* The delay before the next try: between half and the whole of the present step; then doubles the
 * step ("equal jitter", M. Brooker, Exponential Backoff And Jitter, 2015). */
int64_t backoff_next_us(Backoff *backoff);

/* It worked: begin with first_us again. */
void backoff_reset(Backoff *backoff);

#endif
