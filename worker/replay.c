/*
 * replay.c
 *    See replay.h.
 *
 * One connection, one channel: consumes the dead letters and publishes them. Under a memory alarm
 * the broker stops reading it, and it waits.
 */
#include "worker/replay.h"

#include "wire/session.h"
#include "wire/stream.h"
#include "worker/await.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define REPLAY_TAG "outbox-worker replay"
#define WINDOW 64 /* messages on their way */
#define MAX_BODY_BYTES ((size_t) 128 * 1024 * 1024)
#define IDLE_LIMIT_US ((int64_t) 10000000) /* no message comes: somebody else has taken the rest */
#define CONFIRM_LIMIT_US ((int64_t) 60000000) /* no confirm comes */

typedef struct Replay
{
	const WorkerConfig *config;
	MqSession          *session;
	char                dead[256];
	char                now[32];
	uint64_t            wanted;    /* as many as there were */
	uint64_t            published; /* on this channel: the last one's publishing tag too */
	uint64_t            confirmed;
	uint64_t            delivery_tags[WINDOW]; /* by publishing tag modulo WINDOW; 0: confirmed */
	char                problem[700];
} Replay;

static bool __attribute__((format(printf, 2, 3))) complain(Replay *replay, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(replay->problem, sizeof(replay->problem), format, args);
	va_end(args);
	return false;
}

/* Waits for the answer to a request. */
static bool
wait_reply(Replay *replay, uint32_t method, MqEvent *event)
{
	while (await_event(replay->session, event, CONFIRM_LIMIT_US))
	{
		if (event->kind == MQ_EVENT_REPLY && event->method == method)
			return true;
		if (event->kind == MQ_EVENT_LOST || event->kind == MQ_EVENT_CHANNEL_CLOSED)
			return complain(replay, "%s", event->text);
	}
	return complain(replay, "no answer from the broker");
}

static bool
connect_broker(Replay *replay)
{
	mq_session_set_tls(replay->session, replay->config->amqp_certificates);
	for (int i = 0; i < replay->config->amqp_url_count; i++)
	{
		const MqUrl *url = &replay->config->amqp_urls[i];
		char         name[600];
		MqEvent      event;

		if (await_open(replay->session, url, &event))
			return true;
		mq_url_describe(url, name, sizeof(name));
		complain(replay, "broker %s: %s", name, event.text);
	}
	return false;
}

/* How many dead letters there are, and whether there is a queue to send them to. */
static bool
look_at_queues(Replay *replay)
{
	const char *names[] = {replay->config->queue, replay->dead};
	MqEvent     event;
	MqError     error;

	for (int i = 0; i < 2; i++)
	{
		if (mq_queue_declare(replay->session, mq_bytes_of(names[i]), true, NULL, 0, &error) !=
		    MQ_OK)
			return complain(replay, "%s", error.text);
		if (!wait_reply(replay, MQ_QUEUE_DECLARE_OK, &event))
			return false;
	}
	replay->wanted = event.message_count;
	return true;
}

static bool
begin(Replay *replay)
{
	MqEvent event;
	MqError error;

	if (mq_confirm_select(replay->session, &error) != MQ_OK)
		return complain(replay, "%s", error.text);
	if (!wait_reply(replay, MQ_CONFIRM_SELECT_OK, &event))
		return false;
	if (mq_qos(replay->session, WINDOW, &error) != MQ_OK ||
	    mq_consume(replay->session, mq_bytes_of(replay->dead), mq_bytes_of(REPLAY_TAG), &error) !=
	        MQ_OK)
		return complain(replay, "%s", error.text);
	return true;
}

/* The prefetch is the window, so there is a free place; and the output, with one message in it at
 * most that is over its limit, takes another once it is empty. */
static bool
send_back(Replay *replay, const MqEvent *letter)
{
	uint64_t delivery_tag = letter->tag;
	uint64_t tag;
	MqError  error;
	MqResult result;

	if (letter->body_skipped)
		return complain(replay, "a message of %llu bytes is left: at most %zu are taken",
		                (unsigned long long) letter->body_bytes, MAX_BODY_BYTES);
	result = mq_publish_raw(replay->session, mq_bytes_of(""), mq_bytes_of(replay->config->queue),
	                        letter->raw_properties, REPLAY_HEADER, mq_bytes_of(replay->now),
	                        letter->body, &tag, &error);
	if (result != MQ_OK)
		return complain(replay, "%s", error.text);
	replay->published = tag;
	replay->delivery_tags[tag % WINDOW] = delivery_tag;
	return true;
}

/* The letters that a confirm is for may go. */
static bool
take_confirm(Replay *replay, const MqEvent *event)
{
	uint64_t first = event->tag;
	MqError  error;

	if (event->multiple)
		first = replay->published > WINDOW ? replay->published - WINDOW + 1 : 1;
	for (uint64_t tag = first; tag <= event->tag && tag <= replay->published; tag++)
	{
		uint64_t *delivery_tag = &replay->delivery_tags[tag % WINDOW];

		if (*delivery_tag == 0)
			continue;
		if (mq_ack(replay->session, *delivery_tag, false, &error) != MQ_OK)
			return complain(replay, "%s", error.text);
		*delivery_tag = 0;
		replay->confirmed++;
	}
	return true;
}

static bool
take_event(Replay *replay, const MqEvent *event)
{
	switch (event->kind)
	{
	case MQ_EVENT_DELIVER:
		/* More than were wanted come with the prefetch; they go back when we leave. */
		return replay->published == replay->wanted || send_back(replay, event);
	case MQ_EVENT_ACK:
		return take_confirm(replay, event);
	case MQ_EVENT_NACK:
		return complain(replay, "queue %s refuses messages: full?", replay->config->queue);
	case MQ_EVENT_RETURN:
	case MQ_EVENT_CHANNEL_CLOSED:
	case MQ_EVENT_LOST:
		return complain(replay, "%s", event->text);
	case MQ_EVENT_CANCEL:
		return complain(replay, "queue %s is gone", replay->dead);
	case MQ_EVENT_BLOCKED:
		printf("the broker is blocked, waiting: %s\n", event->text);
		return true;
	case MQ_EVENT_OPEN:
	case MQ_EVENT_REPLY:
	case MQ_EVENT_UNBLOCKED:
		return true;
	}
	return true;
}

/* Large bodies go one at a time: the output buffer must have room before the next one is read. */
static bool
wait_for_room(Replay *replay)
{
	int64_t end_us = mq_clock_us() + CONFIRM_LIMIT_US;

	while (mq_session_unsent_bytes(replay->session) > 0 && !mq_session_is_closed(replay->session) &&
	       !mq_session_is_blocked(replay->session))
	{
		if (mq_clock_us() >= end_us)
			return complain(replay, "the broker does not read");
		await_socket(mq_session_fd(replay->session), STREAM_WANT_WRITE, end_us);
		mq_session_flush(replay->session);
		if (mq_session_unsent_bytes(replay->session) > 0)
			mq_session_step(replay->session, mq_clock_us());
	}
	return true;
}

static bool
replay_all(Replay *replay)
{
	MqEvent event;

	while (replay->confirmed < replay->wanted)
	{
		bool    unconfirmed = replay->published > replay->confirmed;
		int64_t limit_us = unconfirmed ? CONFIRM_LIMIT_US : IDLE_LIMIT_US;

		if (!wait_for_room(replay))
			return false;
		if (await_event(replay->session, &event, limit_us))
		{
			if (!take_event(replay, &event))
				return false;
		}
		else if (!mq_session_is_blocked(replay->session))
			return complain(replay, unconfirmed ? "no confirm for 60 s"
			                                    : "no further message came for 10 s: another "
			                                      "consumer may have taken them");
	}
	return true;
}

/* The answer comes behind everything that was acknowledged: a socket that is closed with deliveries
 * unread would take the last acknowledgements with it. */
static bool
end(Replay *replay)
{
	MqEvent event;
	MqError error;

	if (mq_cancel(replay->session, mq_bytes_of(REPLAY_TAG), &error) != MQ_OK)
		return complain(replay, "%s", error.text);
	return wait_reply(replay, MQ_BASIC_CANCEL_OK, &event);
}

static void
set_now(Replay *replay)
{
	time_t    now = time(NULL);
	struct tm utc;

	gmtime_r(&now, &utc);
	strftime(replay->now, sizeof(replay->now), "%Y-%m-%dT%H:%M:%SZ", &utc);
}

int
replay_run(const WorkerConfig *config)
{
	MqSessionOptions options = {.name = "outbox-worker --replay-dead",
	                            .max_body_bytes = MAX_BODY_BYTES,
	                            .output_limit_bytes = MAX_BODY_BYTES};
	Replay           replay = {.config = config, .session = mq_session_new(&options)};
	bool             fine;

	set_now(&replay);
	snprintf(replay.dead, sizeof(replay.dead), "%s" MQ_DEAD_SUFFIX, config->queue);
	fine = replay.session != NULL ? connect_broker(&replay) && look_at_queues(&replay)
	                              : complain(&replay, "out of memory");
	if (fine && replay.wanted > 0)
		fine = begin(&replay) && replay_all(&replay) && end(&replay);
	printf("%llu of %llu messages sent from %s to %s\n", (unsigned long long) replay.confirmed,
	       (unsigned long long) replay.wanted, replay.dead, config->queue);
	if (!fine)
		fprintf(stderr, "outbox-worker: %s\n", replay.problem);
	if (replay.session != NULL)
	{
		mq_session_close(replay.session);
		mq_session_free(replay.session);
	}
	return fine ? 0 : 1;
}
