/*
 * pace.h
 *    How long after one window the next is opened.
 *
 * A window costs relay, broker, worker and Redis about 1.5 ms of processor time, whatever it holds: as
 * much as thirty transactions of one UPDATE; and the broker's fsync for it is often of the writers' disk.
 * So where many write, what they commit within a moment goes together, the longer the more they are: the
 * pause is the square root of what the last window brought, in milliseconds, which settles at as many
 * milliseconds as events come in each of them. At 6 in a millisecond a key is still gone in less than
 * 10 ms; and from 20 on a window is several full messages, and would cost little less if it were larger.
 */
#ifndef OUTBOX_PACE_H
#define OUTBOX_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACE_CROWD_EVENTS 4 /* in a window: many write at once */
#define PACE_LEAST_US 2000  /* between two windows then */
#define PACE_MOST_US 20000  /* and while the last one is not confirmed */

/* Will there be more in a moment, so that nobody needs to tell? events: of the last window. */
bool pace_is_crowd(size_t events);

/* From the opening of the last window until the next may be opened. */
int64_t pace_pause_us(size_t events, bool confirmed);

#endif
