/*
 * await.h
 *    Waiting for one peer at a time: for --check and --replay-dead, which have no loop.
 */
#ifndef WORKER_AWAIT_H
#define WORKER_AWAIT_H

#include "wire/session.h"

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Waits until the descriptor is ready, or due_us, or a second is over. wants: STREAM_WANT_*. */
void await_socket(int fd, unsigned wants, int64_t due_us);

/* The same with several descriptors. */
void await_polled(struct pollfd *fds, size_t count, int64_t due_us);

/* The session's next event. false: none came within limit_us. */
bool await_event(MqSession *session, MqEvent *event, int64_t limit_us);

/* Connects and logs in. true: a channel is open; false: event->text says why not. */
bool await_open(MqSession *session, const MqUrl *url, MqEvent *event);

#endif
