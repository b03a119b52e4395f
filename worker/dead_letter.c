/*
 * dead_letter.c
 *    See dead_letter.h.
 */
#include "worker/dead_letter.h"

#include "wire/session.h"
#include "wire/stream.h"
#include "wire/topology.h"
#include "worker/invalidation.h"
#include "worker/reconnect.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define CONFIRM_LIMIT_US ((int64_t) 30000000)
#define IDLE_LIMIT_US ((int64_t) 60000000)
#define FIRST_NACK_PAUSE_US ((int64_t) 100000)
#define LONGEST_NACK_PAUSE_US ((int64_t) 5000000)

typedef enum LettersState
{
	LETTERS_IDLE,       /* no connection, nothing to send; next: CONNECTING */
	LETTERS_WAITING,    /* for the next try; next: CONNECTING */
	LETTERS_CONNECTING, /* next: DECLARING, SELECTING, WAITING */
	LETTERS_DECLARING,  /* next: SELECTING, WAITING */
	LETTERS_SELECTING,  /* confirm.select is sent; next: OPEN, WAITING */
	LETTERS_OPEN        /* next: WAITING, IDLE */
} LettersState;

typedef struct Letter
{
	TagRef   ref;
	MqBuffer raw_properties;
	MqBuffer body;
	char     error[INVALIDATION_ERROR_BYTES];
	uint64_t tag;       /* of the confirm to come; 0: not in flight */
	bool     confirmed; /* for dead_letters_next */
	bool     refused;   /* the broker will not take it: held */
} Letter;

struct DeadLetters
{
	const WorkerConfig *config;
	LettersState        state;
	MqSession          *session;
	Topology            topology;
	char                queue[256];
	Reconnect           reconnect;

	Letter  letters[DEAD_LETTERS_MAX_COUNT];
	size_t  count;
	size_t  held_bytes;
	size_t  in_flight;
	bool    one_at_a_time; /* one of them makes the broker close the channel */
	int64_t confirm_due_us;
	int64_t idle_due_us;
	int64_t send_due_us; /* not before: the queue is full */
	Backoff nack_pause;
	char    problem[512];
};

DeadLetters *
dead_letters_new(const WorkerConfig *config, uint64_t seed)
{
	DeadLetters     *letters = calloc(1, sizeof(*letters));
	char             name[128];
	MqSessionOptions options = {.name = name, .max_body_bytes = 1024 * 1024};

	if (letters == NULL)
		return NULL;
	/* What comes back (basic.return) is skipped if it is large: it is still held here. */
	snprintf(name, sizeof(name), "outbox-worker %.95s dead letters", config->name);
	letters->config = config;
	letters->session = mq_session_new(&options);
	reconnect_init(&letters->reconnect, config->amqp_url_count, seed);
	backoff_init(&letters->nack_pause, FIRST_NACK_PAUSE_US, LONGEST_NACK_PAUSE_US, seed);
	strcpy(letters->topology.queue, config->queue);
	strcpy(letters->topology.exchange, config->exchange);
	letters->topology.type = config->queue_type;
	snprintf(letters->queue, sizeof(letters->queue), "%s" MQ_DEAD_SUFFIX, config->queue);
	if (letters->session != NULL)
		return letters;
	free(letters);
	return NULL;
}

static size_t
letter_bytes(const Letter *letter)
{
	return letter->body.size + letter->raw_properties.size;
}

static void
letter_free(Letter *letter)
{
	mq_buffer_free(&letter->raw_properties);
	mq_buffer_free(&letter->body);
}

/* Takes the i-th out; the order of the others stays. */
static void
letters_remove(DeadLetters *letters, size_t i)
{
	letters->held_bytes -= letter_bytes(&letters->letters[i]);
	if (letters->letters[i].tag != 0)
		letters->in_flight--;
	letter_free(&letters->letters[i]);
	letters->count--;
	memmove(&letters->letters[i], &letters->letters[i + 1], (letters->count - i) * sizeof(Letter));
}

void
dead_letters_forget(DeadLetters *letters)
{
	/* Confirms of what is in flight find no one any more, which is fine. */
	while (letters->count > 0)
		letters_remove(letters, letters->count - 1);
	letters->one_at_a_time = false;
	letters->problem[0] = '\0';
}

void
dead_letters_free(DeadLetters *letters)
{
	if (letters == NULL)
		return;
	dead_letters_forget(letters);
	mq_session_close(letters->session);
	mq_session_free(letters->session);
	free(letters);
}

bool
dead_letters_add(DeadLetters *letters, TagRef ref, MqBytes raw_properties, MqBytes body,
                 const char *error)
{
	Letter letter = {.ref = ref};

	assert(letters->count < DEAD_LETTERS_MAX_COUNT);
	snprintf(letter.error, sizeof(letter.error), "%s", error);
	if (mq_buffer_append(&letter.raw_properties, raw_properties.data, raw_properties.size) !=
	        MQ_OK ||
	    mq_buffer_append(&letter.body, body.data, body.size) != MQ_OK)
	{
		letter_free(&letter);
		return false;
	}
	letters->letters[letters->count++] = letter;
	letters->held_bytes += letter_bytes(&letter);
	return true;
}

/* Nothing that is in flight counts: it will be sent again. */
static void
letters_unsend(DeadLetters *letters)
{
	for (size_t i = 0; i < letters->count; i++)
		letters->letters[i].tag = 0;
	letters->in_flight = 0;
}

static void
letters_fail(DeadLetters *letters, const char *text, bool refused, int64_t now_us)
{
	mq_session_close(letters->session);
	letters_unsend(letters);
	snprintf(letters->problem, sizeof(letters->problem), "%s", text);
	reconnect_failed(&letters->reconnect, refused, now_us);
	letters->state = LETTERS_WAITING;
}

/* ---- connecting ---- */

static bool
has_work(const DeadLetters *letters)
{
	for (size_t i = 0; i < letters->count; i++)
		if (!letters->letters[i].refused && !letters->letters[i].confirmed)
			return true;
	return false;
}

static void
begin_connecting(DeadLetters *letters, int64_t now_us)
{
	const MqUrl *url = &letters->config->amqp_urls[reconnect_address(&letters->reconnect)];
	MqError      error;

	letters->state = LETTERS_CONNECTING;
	mq_session_set_tls(letters->session, letters->config->amqp_certificates);
	if (mq_session_connect(letters->session, url, now_us, &error) != MQ_OK)
		letters_fail(letters, error.text, false, now_us);
}

static void
begin_confirms(DeadLetters *letters, int64_t now_us)
{
	MqError error;

	letters->state = LETTERS_SELECTING;
	if (mq_confirm_select(letters->session, &error) != MQ_OK)
		letters_fail(letters, error.text, false, now_us);
}

static void
take_topology(DeadLetters *letters, TopologyState state, const MqError *error, int64_t now_us)
{
	switch (state)
	{
	case TOPOLOGY_BUSY:
		break;
	case TOPOLOGY_READY:
		begin_confirms(letters, now_us);
		break;
	case TOPOLOGY_FAILED:
		letters_fail(letters, error->text, reconnect_is_refusal(error->reply_code, true), now_us);
		break;
	}
}

static void
channel_is_open(DeadLetters *letters, int64_t now_us)
{
	MqError error = {0};

	if (letters->config->no_declare)
	{
		begin_confirms(letters, now_us);
		return;
	}
	letters->state = LETTERS_DECLARING;
	take_topology(letters, topology_begin(&letters->topology, letters->session, &error), &error,
	              now_us);
}

/* ---- publishing ---- */

/* The broker closed the channel. If one message alone was in flight, it is the reason. */
static void
channel_is_closed(DeadLetters *letters, const MqEvent *event, int64_t now_us)
{
	bool guilty_known = letters->in_flight == 1;

	for (size_t i = 0; i < letters->count && guilty_known; i++)
		if (letters->letters[i].tag != 0)
			letters->letters[i].refused = true;
	letters->one_at_a_time = letters->in_flight > 1 || letters->one_at_a_time;
	letters_fail(letters, event->text, false, now_us);
}

static void
letter_send(DeadLetters *letters, Letter *letter, int64_t now_us)
{
	MqError  error;
	MqResult result;

	result = mq_publish_raw(letters->session, mq_bytes_of(""), mq_bytes_of(letters->queue),
	                        mq_bytes(letter->raw_properties.data, letter->raw_properties.size),
	                        DEAD_LETTERS_ERROR_HEADER, mq_bytes_of(letter->error),
	                        mq_bytes(letter->body.data, letter->body.size), &letter->tag, &error);
	switch (result)
	{
	case MQ_OK:
		letters->in_flight++;
		letters->confirm_due_us = now_us + CONFIRM_LIMIT_US;
		break;
	case MQ_FULL:
		letter->tag = 0;
		break;
	case MQ_INVALID:
	case MQ_REFUSED:
		letter->tag = 0;
		letter->refused = true;
		snprintf(letters->problem, sizeof(letters->problem), "%s", error.text);
		break;
	case MQ_LOST:
	case MQ_NOMEM:
		letter->tag = 0;
		letters_fail(letters, error.text, false, now_us);
		break;
	}
}

static void
send_waiting(DeadLetters *letters, int64_t now_us)
{
	for (size_t i = 0; i < letters->count; i++)
	{
		Letter *letter = &letters->letters[i];

		if (letters->state != LETTERS_OPEN || mq_session_is_blocked(letters->session) ||
		    (letters->one_at_a_time && letters->in_flight > 0))
			return;
		if (letter->tag == 0 && !letter->refused && !letter->confirmed)
			letter_send(letters, letter, now_us);
	}
}

/* Takes the letters that a confirm is for out of flight. accepted: they are safe. */
static void
answered(DeadLetters *letters, const MqEvent *event, bool accepted)
{
	for (size_t i = 0; i < letters->count; i++)
	{
		Letter *letter = &letters->letters[i];

		if (letter->tag == 0 ||
		    (letter->tag != event->tag && !(event->multiple && letter->tag < event->tag)))
			continue;
		letter->tag = 0;
		letter->confirmed = accepted;
		letters->in_flight--;
	}
}

static void
confirmed(DeadLetters *letters, const MqEvent *event, int64_t now_us)
{
	answered(letters, event, true);
	letters->confirm_due_us = now_us + CONFIRM_LIMIT_US;
	reconnect_lasted(&letters->reconnect, INT64_MAX);
	backoff_reset(&letters->nack_pause);
	/* Only then: of a queue that is nearly full some get through each time. */
	if (!has_work(letters))
		letters->problem[0] = '\0';
}

/* Full, most likely. The connection stays: confirms of others may be on their way, and a nack
 * overtakes them. */
static void
refused(DeadLetters *letters, const MqEvent *event, int64_t now_us)
{
	answered(letters, event, false);
	if (now_us >= letters->send_due_us)
		letters->send_due_us = now_us + backoff_next_us(&letters->nack_pause);
	snprintf(letters->problem, sizeof(letters->problem), "queue %s refuses messages: full?",
	         letters->queue);
}

static void
take_event(DeadLetters *letters, const MqEvent *event, int64_t now_us)
{
	MqError error = {0};

	switch (event->kind)
	{
	case MQ_EVENT_LOST:
		letters_fail(letters, event->text, reconnect_is_refusal(event->reply_code, false), now_us);
		return;
	case MQ_EVENT_ACK:
		confirmed(letters, event, now_us);
		return;
	case MQ_EVENT_NACK:
		refused(letters, event, now_us);
		return;
	case MQ_EVENT_RETURN:
		/* Before its ack, which must not count. The next connection looks after the queues. */
		letters_fail(letters, event->text, false, now_us);
		return;
	case MQ_EVENT_BLOCKED:
		snprintf(letters->problem, sizeof(letters->problem), "the broker is blocked: %s",
		         event->text);
		return;
	case MQ_EVENT_DELIVER:
	case MQ_EVENT_CANCEL:
	case MQ_EVENT_UNBLOCKED:
		return;
	case MQ_EVENT_OPEN:
	case MQ_EVENT_REPLY:
	case MQ_EVENT_CHANNEL_CLOSED:
		break;
	}
	if (letters->state == LETTERS_DECLARING)
	{
		TopologyState state = topology_event(&letters->topology, letters->session, event, &error);

		take_topology(letters, state, &error, now_us);
	}
	else if (event->kind == MQ_EVENT_CHANNEL_CLOSED)
		channel_is_closed(letters, event, now_us);
	else if (event->kind == MQ_EVENT_OPEN && letters->state == LETTERS_CONNECTING)
		channel_is_open(letters, now_us);
	else if (event->kind == MQ_EVENT_REPLY && event->method == MQ_CONFIRM_SELECT_OK)
	{
		letters->state = LETTERS_OPEN;
		reconnect_reached(&letters->reconnect);
	}
}

/* Connects when there is work, closes when there was none for a while. */
static void
mind_connection(DeadLetters *letters, int64_t now_us)
{
	bool work = has_work(letters);

	if (work)
		letters->idle_due_us = now_us + IDLE_LIMIT_US;
	switch (letters->state)
	{
	case LETTERS_IDLE:
		if (work)
			begin_connecting(letters, now_us);
		break;
	case LETTERS_WAITING:
		if (!work)
			letters->state = LETTERS_IDLE;
		else if (now_us >= reconnect_due_us(&letters->reconnect))
			begin_connecting(letters, now_us);
		break;
	case LETTERS_OPEN:
		if (mq_session_is_blocked(letters->session) || letters->in_flight == 0)
			letters->confirm_due_us = now_us + CONFIRM_LIMIT_US;
		if (now_us >= letters->confirm_due_us)
			letters_fail(letters, "no confirm for 30 s", false, now_us);
		else if (!work && letters->in_flight == 0 && now_us >= letters->idle_due_us)
		{
			mq_session_close(letters->session);
			letters->state = LETTERS_IDLE;
		}
		break;
	case LETTERS_CONNECTING:
	case LETTERS_DECLARING:
	case LETTERS_SELECTING:
		break;
	}
}

void
dead_letters_step(DeadLetters *letters, int64_t now_us)
{
	mind_connection(letters, now_us);
	mq_session_step(letters->session, now_us);
}

bool
dead_letters_next(DeadLetters *letters, int64_t now_us, TagRef *ref)
{
	MqEvent event;

	while (mq_session_next(letters->session, &event))
		take_event(letters, &event, now_us);
	if (letters->state == LETTERS_OPEN && now_us >= letters->send_due_us)
		send_waiting(letters, now_us);
	for (size_t i = 0; i < letters->count; i++)
	{
		if (!letters->letters[i].confirmed)
			continue;
		*ref = letters->letters[i].ref;
		letters_remove(letters, i);
		return true;
	}
	return false;
}

size_t
dead_letters_count(const DeadLetters *letters)
{
	return letters->count;
}

bool
dead_letters_is_full(const DeadLetters *letters)
{
	return letters->count == DEAD_LETTERS_MAX_COUNT ||
	       letters->held_bytes >= DEAD_LETTERS_MAX_BYTES;
}

const char *
dead_letters_problem(const DeadLetters *letters)
{
	return letters->count > 0 ? letters->problem : "";
}

int
dead_letters_fd(const DeadLetters *letters)
{
	return mq_session_fd(letters->session);
}

unsigned
dead_letters_wants(const DeadLetters *letters)
{
	return mq_session_wants(letters->session);
}

int64_t
dead_letters_due_us(const DeadLetters *letters)
{
	switch (letters->state)
	{
	case LETTERS_IDLE:
		return has_work(letters) ? 0 : STREAM_NEVER;
	case LETTERS_WAITING:
		return reconnect_due_us(&letters->reconnect);
	case LETTERS_OPEN:
	{
		int64_t own_us = letters->in_flight > 0 ? letters->confirm_due_us : letters->idle_due_us;
		int64_t session_us = mq_session_due_us(letters->session);

		if (has_work(letters) && letters->in_flight == 0 && letters->send_due_us < own_us &&
		    !mq_session_is_blocked(letters->session))
			own_us = letters->send_due_us;
		return own_us < session_us ? own_us : session_us;
	}
	case LETTERS_CONNECTING:
	case LETTERS_DECLARING:
	case LETTERS_SELECTING:
		break;
	}
	return mq_session_due_us(letters->session);
}
