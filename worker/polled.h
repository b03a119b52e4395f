/*
 * polled.h
 *    What poll(2) is to wait for.
 */
#ifndef WORKER_POLLED_H
#define WORKER_POLLED_H

#include "wire/stream.h"

#include <poll.h>
#include <stddef.h>

/* Adds a descriptor, if there is one and something to wait for: one that waits for nothing must not
 * wake us by its hang-up, over and over; and poll refuses more entries than descriptors are allowed,
 * also unused ones. wants: STREAM_WANT_*. Returns how many were added. */
static inline size_t
polled_add(struct pollfd *at, int fd, unsigned wants)
{
	if (fd < 0 || wants == 0)
		return 0;
	*at = (struct pollfd){.fd = fd};
	if ((wants & STREAM_WANT_READ) != 0)
		at->events |= POLLIN;
	if ((wants & STREAM_WANT_WRITE) != 0)
		at->events |= POLLOUT;
	return 1;
}

#endif
