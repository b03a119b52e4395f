/*
 * await.c
 *    See await.h.
 */
#include "worker/await.h"

#include "wire/stream.h"
#include "worker/polled.h"

#include <stdio.h>

#define MAX_WAIT_US ((int64_t) 1000000)

void
await_polled(struct pollfd *fds, size_t count, int64_t due_us)
{
	int64_t left_us = due_us - mq_clock_us();

	if (left_us > MAX_WAIT_US)
		left_us = MAX_WAIT_US;
	poll(fds, count, left_us < 0 ? 0 : (int) (left_us / 1000 + 1));
}

void
await_socket(int fd, unsigned wants, int64_t due_us)
{
	struct pollfd entry;

	await_polled(&entry, polled_add(&entry, fd, wants), due_us);
}

bool
await_event(MqSession *session, MqEvent *event, int64_t limit_us)
{
	int64_t end_us = mq_clock_us() + limit_us;

	mq_session_step(session, mq_clock_us());
	while (!mq_session_next(session, event))
	{
		int64_t due_us = mq_session_due_us(session);

		if (mq_clock_us() >= end_us)
			return false;
		await_socket(mq_session_fd(session), mq_session_wants(session),
		             due_us < end_us ? due_us : end_us);
		mq_session_step(session, mq_clock_us());
	}
	return true;
}

bool
await_open(MqSession *session, const MqUrl *url, MqEvent *event)
{
	static MqError error; /* outlives the call: event->text */

	if (mq_session_connect(session, url, mq_clock_us(), &error) != MQ_OK)
	{
		*event = (MqEvent){.kind = MQ_EVENT_LOST, .text = error.text};
		return false;
	}
	/* Every wait of a login has a limit of its own. */
	while (await_event(session, event, STREAM_NEVER / 2))
		if (event->kind == MQ_EVENT_OPEN || event->kind == MQ_EVENT_LOST)
			break;
	return event->kind == MQ_EVENT_OPEN;
}
