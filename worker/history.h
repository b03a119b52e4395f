/*
 * history.h
 *    What the worker did, second by second, for the last ten minutes: for the plots of the status page.
 *
 * A ring of fixed size. It asks for no turn of the loop: a loop that sleeps did nothing, and the
 * seconds it slept through are added at the next one.
 */
#ifndef WORKER_HISTORY_H
#define WORKER_HISTORY_H

#include "worker/figures.h"

#include <stdint.h>

#define HISTORY_SECONDS 600
#define HISTORY_UNMEASURED UINT32_MAX

/* One second. Times: of what was done in it; HISTORY_UNMEASURED where that was nothing. */
typedef struct HistorySample
{
	uint32_t messages, keys_deleted, dead_lettered; /* done in this second */
	uint32_t delay_p50_us, delay_p99_us;
	uint32_t redis_p99_us;
	uint32_t in_flight;      /* at its end, as the two below */
	int32_t  queue_messages; /* -1: not known */
	bool     broker_up, redis_up;
} HistorySample;

/* Zeroed is empty. */
typedef struct History
{
	HistorySample samples[HISTORY_SECONDS];
	uint64_t      count;  /* ever; the newest HISTORY_SECONDS are kept */
	int64_t       due_us; /* of the next sample; 0: not begun */
	uint64_t      messages, keys_deleted, dead_lettered, delays, redis_times; /* at the last one */
} History;

/* Adds the seconds that have ended since the last call. */
void history_note(History *history, const Figures *figures, int64_t now_us);

/* The number of the oldest sample that is kept; they are numbered from 0 to count - 1. */
uint64_t history_first(const History *history);

/* A sample by its number, which must be one that is kept. */
const HistorySample *history_at(const History *history, uint64_t number);

#endif
