/*
 * figures.h
 *    What the worker tells about itself, at one moment: for /metrics, for outbox.consumer, for the
 *    summary in the log. Put together by worker.c from what its parts count anyway.
 */
#ifndef WORKER_FIGURES_H
#define WORKER_FIGURES_H

#include "worker/histogram.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct Side
{
	bool     up;
	bool     was_up; /* ever */
	uint64_t reconnects;
} Side;

typedef struct Figures
{
	const char      *state;      /* as in outbox.consumer */
	const char      *reason;     /* why it does not consume; empty: it does */
	const char      *last_error; /* empty: none yet */
	uint64_t         messages, keys_deleted, patterns, dead_lettered;
	uint64_t         in_flight;
	int64_t          queue_messages; /* -1: not known yet */
	Side             broker, redis;
	const Histogram *delay, *redis_time; /* borrowed */
} Figures;

/* Notes whether a side is connected at present; again after a loss is a reconnect. */
static inline void
side_note(Side *side, bool up)
{
	if (up && !side->up && side->was_up)
		side->reconnects++;
	side->up = up;
	side->was_up |= up;
}

#endif
