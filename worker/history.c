/*
 * history.c
 *    See history.h.
 */
#include "worker/history.h"

#define SECOND_US ((int64_t) 1000000)

static uint32_t
clamp(uint64_t value)
{
	return value < UINT32_MAX ? (uint32_t) value : UINT32_MAX;
}

static void
remember(History *history, const Figures *figures)
{
	history->messages = figures->messages;
	history->keys_deleted = figures->keys_deleted;
	history->dead_lettered = figures->dead_lettered;
	history->delays = figures->delay->count;
	history->redis_times = figures->redis_time->count;
}

static HistorySample
at_its_end(const Figures *figures)
{
	return (HistorySample){
		.delay_p50_us = HISTORY_UNMEASURED,
		.delay_p99_us = HISTORY_UNMEASURED,
		.redis_p99_us = HISTORY_UNMEASURED,
		.in_flight = clamp(figures->in_flight),
		.queue_messages =
			figures->queue_messages < INT32_MAX ? (int32_t) figures->queue_messages : INT32_MAX,
		.broker_up = figures->broker.up,
		.redis_up = figures->redis.up,
	};
}

/* The values that came since there were so many. */
static uint32_t
quantile_since(const Histogram *histogram, uint64_t count, double share)
{
	int64_t value_us = histogram_quantile_of_newest_us(histogram, histogram->count - count, share);

	return value_us < 0 ? HISTORY_UNMEASURED : clamp((uint64_t) value_us);
}

static void
add_work(HistorySample *sample, const History *history, const Figures *figures)
{
	sample->messages = clamp(figures->messages - history->messages);
	sample->keys_deleted = clamp(figures->keys_deleted - history->keys_deleted);
	sample->dead_lettered = clamp(figures->dead_lettered - history->dead_lettered);
	sample->delay_p50_us = quantile_since(figures->delay, history->delays, 0.5);
	sample->delay_p99_us = quantile_since(figures->delay, history->delays, 0.99);
	sample->redis_p99_us = quantile_since(figures->redis_time, history->redis_times, 0.99);
}

static void
push(History *history, const HistorySample *sample)
{
	history->samples[history->count++ % HISTORY_SECONDS] = *sample;
}

void
history_note(History *history, const Figures *figures, int64_t now_us)
{
	int64_t       seconds;
	HistorySample sample;

	if (history->due_us == 0)
	{
		remember(history, figures);
		history->due_us = now_us + SECOND_US;
	}
	if (now_us < history->due_us)
		return;
	seconds = (now_us - history->due_us) / SECOND_US + 1;
	history->due_us += seconds * SECOND_US;
	sample = at_its_end(figures);
	/* Those it slept through: nothing was done, and all was as at the last look. */
	if (history->count > 0)
	{
		const HistorySample *last = history_at(history, history->count - 1);

		sample.in_flight = last->in_flight;
		sample.queue_messages = last->queue_messages;
		sample.broker_up = last->broker_up;
		sample.redis_up = last->redis_up;
	}
	if (seconds > HISTORY_SECONDS)
	{
		history->count += (uint64_t) seconds - HISTORY_SECONDS;
		seconds = HISTORY_SECONDS;
	}
	for (; seconds > 1; seconds--)
		push(history, &sample);
	sample = at_its_end(figures);
	add_work(&sample, history, figures);
	push(history, &sample);
	remember(history, figures);
}

uint64_t
history_first(const History *history)
{
	return history->count < HISTORY_SECONDS ? 0 : history->count - HISTORY_SECONDS;
}

const HistorySample *
history_at(const History *history, uint64_t number)
{
	return &history->samples[number % HISTORY_SECONDS];
}
