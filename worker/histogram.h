/*
 * histogram.h
 *    How long something took: counts in fixed buckets, as Prometheus wants them, and the newest
 *    values for quantiles.
 */
#ifndef WORKER_HISTOGRAM_H
#define WORKER_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BUCKETS 18
#define HISTOGRAM_RECENT 1024

/* Zeroed is empty. */
typedef struct Histogram
{
	uint64_t
		counts[HISTOGRAM_BUCKETS + 1]; /* of each bucket alone; the last one: longer than all */
	uint64_t count;
	uint64_t sum_us;
	uint32_t recent_us[HISTOGRAM_RECENT]; /* a ring; longer than 71 minutes is cut */
} Histogram;

/* Upper bounds of the buckets, in microseconds, rising. */
extern const int64_t histogram_bounds_us[HISTOGRAM_BUCKETS];

/* Now on the clock that events carry: microseconds since 1970. */
int64_t wall_clock_us(void);

/* Negative values count as 0: clocks of two machines differ. */
void histogram_add(Histogram *histogram, int64_t value_us);

/* Puts the sum of several into an empty one: of the newest values as many of each. */
void histogram_join(Histogram *sum, const Histogram *const *parts, size_t count);

/* The value below which this share (0 to 1) of the newest HISTOGRAM_RECENT lies; -1: no value. */
int64_t histogram_quantile_us(const Histogram *histogram, double share);

/* The same of the newest count values alone, where fewer are wanted. */
int64_t histogram_quantile_of_newest_us(const Histogram *histogram, uint64_t count, double share);

#endif
