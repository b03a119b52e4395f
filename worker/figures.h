/*
 * figures.h
 *    What the worker tells about itself, at one moment: for /metrics, the status page, outbox.consumer,
 *    and the summary in the log. Put together by worker.c from what its parts count anyway.
 */
#ifndef WORKER_FIGURES_H
#define WORKER_FIGURES_H

#include "worker/histogram.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Side
{
	bool     up;
	bool     was_up; /* ever */
	uint64_t reconnects;
} Side;

/* What is said of a side beside its counters; borrowed. */
typedef struct SideWords
{
	const char *name;    /* where it is, without a password */
	const char *trouble; /* why it does not work; empty: it does */
} SideWords;

typedef struct Figures
{
	const char      *state;      /* as in outbox.consumer */
	const char      *reason;     /* why it does not consume; empty: it does */
	const char      *last_error; /* empty: none yet */
	uint64_t         messages, keys_deleted, patterns, dead_lettered;
	uint64_t         in_flight;
	int64_t          queue_messages; /* -1: not known yet */
	Side             broker, redis;
	SideWords        broker_words, redis_words;
	const char      *queue;
	const char      *patterns_trouble, *letters_trouble; /* why these wait; empty: they do not */
	size_t           waiting_bytes;                      /* of keys that are to be deleted */
	int64_t          canary_delay_us, canary_age_us;     /* of the last canary; age -1: none yet */
	const Histogram *delay, *redis_time;                 /* borrowed */
} Figures;

/* Who puts them together. */
typedef struct FigureSource
{
	void *context;
	void (*figures)(void *context, Figures *figures);
} FigureSource;

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
