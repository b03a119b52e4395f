/*
 * pace.c
 *    How long after one window the next is opened: see pace.h.
 */
#include "relay/pace.h"

#define MS_US 1000

bool
pace_is_crowd(size_t events)
{
	return events >= PACE_CROWD_EVENTS;
}

int64_t
pace_pause_us(size_t events, bool confirmed)
{
	size_t ms = PACE_LEAST_US / MS_US;

	if (!pace_is_crowd(events))
		return 0;
	if (!confirmed)
		return PACE_MOST_US;
	while (ms < PACE_MOST_US / MS_US && (ms + 1) * (ms + 1) <= events)
		ms++;
	return (int64_t) ms * MS_US;
}
