/*
 * histogram.c
 *    See histogram.h.
 */
#include "worker/histogram.h"

#include <stdlib.h>
#include <time.h>

/* From a round trip through a local socket to an evening without a broker. */
const int64_t histogram_bounds_us[HISTOGRAM_BUCKETS] = {
	50,    100,    250,    500,    1000,    2500,    5000,     10000,     25000,
	50000, 100000, 250000, 500000, 1000000, 5000000, 30000000, 300000000, 3600000000};

int64_t
wall_clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void
histogram_add(Histogram *histogram, int64_t value_us)
{
	size_t bucket = 0;

	if (value_us < 0)
		value_us = 0;
	while (bucket < HISTOGRAM_BUCKETS && value_us > histogram_bounds_us[bucket])
		bucket++;
	histogram->counts[bucket]++;
	histogram->recent_us[histogram->count % HISTOGRAM_RECENT] =
		value_us > UINT32_MAX ? UINT32_MAX : (uint32_t) value_us;
	histogram->count++;
	histogram->sum_us += (uint64_t) value_us;
}

static uint64_t
newest_count(const Histogram *histogram)
{
	return histogram->count < HISTOGRAM_RECENT ? histogram->count : HISTOGRAM_RECENT;
}

void
histogram_join(Histogram *sum, const Histogram *const *parts, size_t count)
{
	uint64_t joined = 0;

	for (size_t i = 0; i < count; i++)
	{
		for (size_t bucket = 0; bucket <= HISTOGRAM_BUCKETS; bucket++)
			sum->counts[bucket] += parts[i]->counts[bucket];
		sum->count += parts[i]->count;
		sum->sum_us += parts[i]->sum_us;
	}
	/* Backwards from the newest, so that they end where count says. */
	for (uint64_t age = 0; age < HISTOGRAM_RECENT; age++)
		for (size_t i = 0; i < count && joined < HISTOGRAM_RECENT; i++)
			if (age < newest_count(parts[i]))
				sum->recent_us[(sum->count - ++joined) % HISTOGRAM_RECENT] =
					parts[i]->recent_us[(parts[i]->count - 1 - age) % HISTOGRAM_RECENT];
}

static int
compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *) a;
	uint32_t y = *(const uint32_t *) b;

	return (x > y) - (x < y);
}

int64_t
histogram_quantile_of_newest_us(const Histogram *histogram, uint64_t count, double share)
{
	uint32_t sorted[HISTOGRAM_RECENT];
	size_t   rank;

	if (count > HISTOGRAM_RECENT)
		count = HISTOGRAM_RECENT;
	if (count > histogram->count)
		count = histogram->count;
	if (count == 0)
		return -1;
	for (size_t i = 0; i < count; i++)
		sorted[i] = histogram->recent_us[(histogram->count - 1 - i) % HISTOGRAM_RECENT];
	qsort(sorted, count, sizeof(sorted[0]), compare);
	rank = (size_t) (share * (double) count);
	return sorted[rank < count ? rank : count - 1];
}

int64_t
histogram_quantile_us(const Histogram *histogram, double share)
{
	return histogram_quantile_of_newest_us(histogram, HISTOGRAM_RECENT, share);
}
