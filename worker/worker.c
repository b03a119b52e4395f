/*
 * worker.c
 *    See worker.h.
 *
 * The loop is plain poll(2): a handful of descriptors, a deadline that is computed anyway, and no library
 * between a reader and the order in which things happen. epoll or libuv would pay with thousands of
 * connections.
 */
#include "worker/worker.h"

#include "wire/stream.h"
#include "worker/caches.h"
#include "worker/consumer.h"
#include "worker/dead_letter.h"
#include "worker/intake.h"
#include "worker/onlookers.h"
#include "worker/polled.h"
#include "worker/secrets.h"
#include "worker/trouble.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define CREATED_AT_HEADER "x-outbox-created-at" /* microseconds since 1970 */
#define POLLED (4 + CACHE_MAX_FDS)              /* descriptors */
#define MAX_WAITING_BYTES ((size_t) 256 * 1024) /* of keys: twice what is in flight, and in cache */
#define MAX_KEPT_BYTES                                                                             \
	((size_t) 4 * 1024 * 1024)       /* while Redis is away: more must be read to cancel */
#define MAX_DELIVERIES_PER_TURN 1024 /* then Redis has its turn */
#define MAX_BYTES_PER_TURN ((size_t) 32 * 1024) /* of bodies: about what Redis does meanwhile */
#define GIVE_BACK_US ((int64_t) 60000000)       /* Redis is away for so long */
#define STOP_PARTLY_US ((int64_t) 55000000)     /* a part of it: no more is taken then */
#define STEADY_US ((int64_t) 2000000)           /* and back for so long, to consume again */
#define UNKEPT_LOOK_US ((int64_t) 1000000)
#define UNKEPT_LOG_US ((int64_t) 60000000) /* one line in so long */

typedef enum WorkerState
{
	STATE_STARTING,
	STATE_CONSUMING,
	STATE_WAITING_FOR_BROKER,
	STATE_WAITING_FOR_REDIS,
	STATE_STOPPING
} WorkerState;

static const char *const state_names[] = {"starting", "consuming", "waiting for broker",
                                          "waiting for redis", "stopping"};

typedef struct Worker
{
	WorkerConfig *config;
	int           signal_fd;
	WorkerState   state;
	Consumer     *consumer;
	Caches       *caches;
	DeadLetters  *dead_letters;

	int64_t now_us; /* of this turn */
	Trouble broker_trouble, redis_trouble;
	int64_t redis_away_since_us; /* 0: it is usable */
	int64_t redis_back_since_us;
	bool    gave_back; /* in this absence of Redis */
	int     stop_requests;
	int64_t stop_due_us;
	bool    failed;

	Intake    intake;
	Onlookers onlookers;
	Side      broker_side, redis_side;
	Histogram delay;
	int64_t   canary_delay_us, canary_at_us; /* of the last one; 0: none yet */
	char      last_error[512];
	int64_t   ask_queue_due_us;

	uint64_t messages, dead_lettered;
	bool     scan_refused, letters_stuck; /* as told to the log */
	uint64_t keys_unkept, patterns_unkept;
	int64_t  unkept_due_us;
} Worker;

/* ---- telling ---- */

static void
worker_fail(Worker *worker, const char *reason)
{
	log_line(LEVEL_ERROR, "failed", "reason", reason, NULL);
	worker->failed = true;
}

static void
side_failed(Worker *worker, Trouble *trouble, const char *reason)
{
	snprintf(worker->last_error, sizeof(worker->last_error), "%s", reason);
	trouble_set(trouble, reason, worker->now_us);
}

static WorkerState
present_state(const Worker *worker)
{
	if (worker->stop_requests > 0)
		return STATE_STOPPING;
	if (worker->broker_trouble.present)
		return STATE_WAITING_FOR_BROKER;
	if (worker->redis_trouble.present)
		return STATE_WAITING_FOR_REDIS;
	if (consumer_state(worker->consumer) == CONSUMER_CONSUMING)
		return STATE_CONSUMING;
	return worker->state;
}

static void
log_state(const Worker *worker)
{
	const char *name = state_names[worker->state];

	switch (worker->state)
	{
	case STATE_STARTING:
	case STATE_CONSUMING:
		log_line(LEVEL_INFO, name, "queue", worker->config->queue, "broker",
		         consumer_broker(worker->consumer), "redis", caches_name(worker->caches), NULL);
		break;
	case STATE_WAITING_FOR_BROKER:
		log_line(LEVEL_WARNING, name, "broker", consumer_broker(worker->consumer), "reason",
		         worker->broker_trouble.reason, NULL);
		break;
	case STATE_WAITING_FOR_REDIS:
		log_line(LEVEL_WARNING, name, "redis", caches_name(worker->caches), "reason",
		         worker->redis_trouble.reason, NULL);
		break;
	case STATE_STOPPING:
		log_line(LEVEL_INFO, name, NULL);
		break;
	}
}

/* The only place that changes the state. */
static void
update_state(Worker *worker)
{
	WorkerState state = present_state(worker);
	Trouble    *trouble = state == STATE_WAITING_FOR_BROKER  ? &worker->broker_trouble
	                      : state == STATE_WAITING_FOR_REDIS ? &worker->redis_trouble
	                                                         : NULL;

	if (state == worker->state && (trouble == NULL || !trouble->is_news))
		return;
	worker->state = state;
	log_state(worker);
	if (trouble != NULL)
		trouble_told(trouble, worker->now_us);
}

/* Troubles beside the states: work of one kind that does not go on. */
static void
tell_side_troubles(Worker *worker)
{
	const char *scan = caches_scan_problem(worker->caches);
	const char *letters = dead_letters_problem(worker->dead_letters);

	if ((scan[0] != '\0') != worker->scan_refused)
	{
		worker->scan_refused = !worker->scan_refused;
		log_line(worker->scan_refused ? LEVEL_WARNING : LEVEL_INFO,
		         worker->scan_refused ? "patterns wait" : "patterns go on", "reason", scan, NULL);
	}
	if ((letters[0] != '\0') != worker->letters_stuck)
	{
		worker->letters_stuck = !worker->letters_stuck;
		log_line(worker->letters_stuck ? LEVEL_WARNING : LEVEL_INFO,
		         worker->letters_stuck ? "dead letters wait" : "dead letters go on", "reason",
		         letters, NULL);
	}
}

/* More was deleted than is kept for a fail-over. */
static void
tell_unkept(Worker *worker)
{
	const DeletionCounters *counters;
	char                    keys[24], patterns[24];

	if (worker->now_us < worker->unkept_due_us)
		return;
	worker->unkept_due_us = worker->now_us + UNKEPT_LOOK_US;
	counters = caches_counters(worker->caches);
	if (counters->keys_unkept == worker->keys_unkept &&
	    counters->patterns_unkept == worker->patterns_unkept)
		return;
	snprintf(keys, sizeof(keys), "%llu",
	         (unsigned long long) (counters->keys_unkept - worker->keys_unkept));
	snprintf(patterns, sizeof(patterns), "%llu",
	         (unsigned long long) (counters->patterns_unkept - worker->patterns_unkept));
	log_line(LEVEL_WARNING, "not kept for a fail-over", "keys", keys, "patterns", patterns, NULL);
	worker->keys_unkept = counters->keys_unkept;
	worker->patterns_unkept = counters->patterns_unkept;
	worker->unkept_due_us = worker->now_us + UNKEPT_LOG_US;
}

/* ---- Redis ---- */

static bool
redis_is_usable(const Worker *worker)
{
	return caches_health(worker->caches) == CACHE_WORKS;
}

/* What the cache tells of itself, against what was known of it. */
static void
mind_redis(Worker *worker)
{
	const char *problem = caches_problem(worker->caches);

	if (problem[0] != '\0' && strcmp(problem, worker->redis_trouble.reason) != 0)
		side_failed(worker, &worker->redis_trouble, problem);
	else if (problem[0] != '\0')
		trouble_set(&worker->redis_trouble, problem, worker->now_us);
	if (!redis_is_usable(worker))
	{
		worker->redis_back_since_us = 0;
		if (worker->redis_away_since_us == 0)
			worker->redis_away_since_us = worker->now_us;
	}
	else if (worker->redis_away_since_us != 0)
	{
		worker->redis_trouble = (Trouble){0};
		worker->redis_away_since_us = 0;
		worker->redis_back_since_us = worker->now_us;
	}
}

static void
message_done(Worker *worker, TagRef ref)
{
	consumer_done(worker->consumer, ref);
	worker->messages++;
	if (ref.is_canary)
	{
		int64_t delay_us = wall_clock_us() - ref.created_at_us;

		worker->canary_delay_us = delay_us > 0 ? delay_us : 0;
		worker->canary_at_us = worker->now_us;
	}
	else if (ref.created_at_us > 0)
		histogram_add(&worker->delay, wall_clock_us() - ref.created_at_us);
}

static void
tell_deleted(void *context, MqBytes key)
{
	Worker *worker = context;

	intake_log_deleted(&worker->intake, key, worker->now_us);
}

/* Returns whether anything happened. */
static bool
redis_turn(Worker *worker)
{
	bool   busy = caches_step(worker->caches, worker->now_us);
	TagRef ref;

	mind_redis(worker);
	while (caches_next_done(worker->caches, &ref))
		message_done(worker, ref);
	consumer_ack(worker->consumer);
	return busy;
}

/* ---- the broker ---- */

static bool
is_hungry(const Worker *worker)
{
	size_t limit = redis_is_usable(worker) ? MAX_WAITING_BYTES : MAX_KEPT_BYTES;

	return caches_waiting_bytes(worker->caches) < limit &&
	       !dead_letters_is_full(worker->dead_letters);
}

static void
forget_deliveries(Worker *worker)
{
	caches_forget(worker->caches);
	dead_letters_forget(worker->dead_letters);
}

static bool
wants_to_consume(const Worker *worker)
{
	if (worker->stop_requests > 0)
		return false;
	if (worker->config->dry_run)
		return true;
	switch (caches_health(worker->caches))
	{
	case CACHE_AWAY:
		return false;
	case CACHE_PARTLY: /* what can be deleted is, within the prefetch */
		return !worker->gave_back && worker->now_us < worker->redis_away_since_us + STOP_PARTLY_US;
	case CACHE_WORKS:
		break;
	}
	if (worker->gave_back && worker->now_us < worker->redis_back_since_us + STEADY_US)
		return false;
	return true;
}

/* A channel alone does not prove that we may consume. */
static void
mind_broker_trouble(Worker *worker)
{
	ConsumerState state = consumer_state(worker->consumer);

	if (state == CONSUMER_CONSUMING || (state == CONSUMER_PAUSED && !wants_to_consume(worker)))
		worker->broker_trouble = (Trouble){0};
}

static void
take_delivery(Worker *worker, TagRef ref, const MqEvent *message)
{
	if (!mq_event_header_int64(message, CREATED_AT_HEADER, &ref.created_at_us))
		ref.created_at_us = 0;
	if (!intake_take(&worker->intake, ref, message, worker->now_us))
		worker_fail(worker, "out of memory");
}

/* Returns whether anything happened. */
static bool
consumer_turn(Worker *worker)
{
	ConsumerEvent event;
	int           taken = 0;
	size_t        taken_bytes = 0;

	consumer_set_reading(worker->consumer, is_hungry(worker));
	consumer_step(worker->consumer, worker->now_us);
	while (taken < MAX_DELIVERIES_PER_TURN && taken_bytes < MAX_BYTES_PER_TURN && !worker->failed &&
	       (is_hungry(worker) || consumer_is_cut(worker->consumer)) &&
	       consumer_next(worker->consumer, worker->now_us, &event))
	{
		taken++;
		switch (event.kind)
		{
		case CONSUMER_EVENT_DELIVERY:
			taken_bytes += event.message->body.size;
			take_delivery(worker, event.ref, event.message);
			break;
		case CONSUMER_EVENT_LOST:
			forget_deliveries(worker);
			side_failed(worker, &worker->broker_trouble, event.text);
			break;
		}
	}
	mind_broker_trouble(worker);
	return taken > 0;
}

static bool
dead_letters_turn(Worker *worker)
{
	TagRef ref;
	bool   busy = false;

	dead_letters_step(worker->dead_letters, worker->now_us);
	while (dead_letters_next(worker->dead_letters, worker->now_us, &ref))
	{
		consumer_done(worker->consumer, ref);
		worker->messages++;
		worker->dead_lettered++;
		busy = true;
	}
	consumer_ack(worker->consumer);
	return busy;
}

/* ---- what depends on both sides ---- */

/* --dry-run keeps them anyway. */
static bool
is_absence_minded(const Worker *worker)
{
	return worker->redis_away_since_us != 0 && consumer_outstanding(worker->consumer) > 0 &&
	       !worker->config->dry_run;
}

/* Deliveries are not kept for ever: the broker closes the channel of a consumer that keeps one
 * for half an hour. One nack, not a loop: a quorum queue counts returns. */
static void
mind_absence(Worker *worker)
{
	if (!is_absence_minded(worker) || worker->now_us < worker->redis_away_since_us + GIVE_BACK_US)
		return;
	log_line(LEVEL_INFO, "deliveries returned to the queue", "reason", worker->redis_trouble.reason,
	         NULL);
	consumer_give_back(worker->consumer);
	forget_deliveries(worker);
	worker->gave_back = true;
}

static void
take_stop_request(Worker *worker)
{
	if (worker->stop_requests++ > 0)
		return;
	worker->stop_due_us = worker->now_us + worker->config->stop_timeout_us;
	caches_hurry(worker->caches);
}

/* SIGHUP: passwords and certificates, for connections to come. */
static void
reload_secrets(Worker *worker)
{
	WorkerConfig *config = worker->config;
	char          error[CONFIG_ERROR_BYTES];

	if (!secrets_read(config, error))
	{
		log_line(LEVEL_WARNING, "reload failed", "reason", error, NULL);
		return;
	}
	log_line(LEVEL_INFO, "reloaded", NULL);
	caches_renew(worker->caches, config->redis_urls, config->redis_certificates);
	consumer_hurry(worker->consumer);
}

static void
take_signals(Worker *worker)
{
	struct signalfd_siginfo info;

	while (read(worker->signal_fd, &info, sizeof(info)) == (ssize_t) sizeof(info))
	{
		if (info.ssi_signo == SIGHUP)
			reload_secrets(worker);
		else
			take_stop_request(worker);
	}
}

/* Nothing is in flight, or nothing can be done about it: what is left stays in the queue. */
static bool
may_leave(const Worker *worker)
{
	if (worker->failed)
		return true;
	if (worker->stop_requests == 0)
		return false;
	if (worker->stop_requests > 1 || worker->now_us >= worker->stop_due_us ||
	    worker->config->dry_run)
		return true;
	if (consumer_outstanding(worker->consumer) > 0 &&
	    (redis_is_usable(worker) || dead_letters_count(worker->dead_letters) > 0))
		return false;
	if (caches_has_second(worker->caches))
		return false;
	return consumer_is_quiet(worker->consumer);
}

/* ---- seen from outside ---- */

/* Why it does not consume; empty: it does. */
static const char *
unready_reason(const Worker *worker)
{
	if (worker->broker_trouble.present)
		return worker->broker_trouble.reason;
	if (worker->redis_trouble.present)
		return worker->redis_trouble.reason;
	if (worker->stop_requests > 0)
		return "stopping";
	if (dead_letters_is_full(worker->dead_letters))
		return dead_letters_problem(worker->dead_letters)[0] != '\0'
		           ? dead_letters_problem(worker->dead_letters)
		           : "dead letters wait for their confirm";
	if (consumer_state(worker->consumer) != CONSUMER_CONSUMING)
		return worker->gave_back ? "waiting for Redis to be steady" : "not consuming yet";
	return redis_is_usable(worker) ? "" : "not connected to Redis yet";
}

static const char *
words_of(const Trouble *trouble)
{
	return trouble->present ? trouble->reason : "";
}

static void
worker_figures(void *context, Figures *figures)
{
	const Worker           *worker = context;
	const DeletionCounters *counters = caches_counters(worker->caches);

	*figures = (Figures){
		.state = state_names[worker->state],
		.reason = unready_reason(worker),
		.last_error = worker->last_error,
		.messages = worker->messages,
		.keys_deleted = counters->keys_deleted,
		.patterns = counters->patterns,
		.dead_lettered = worker->dead_lettered,
		.in_flight = consumer_outstanding(worker->consumer),
		.queue_messages = consumer_queue_messages(worker->consumer),
		.broker = worker->broker_side,
		.redis = worker->redis_side,
		.broker_words = {consumer_broker(worker->consumer), words_of(&worker->broker_trouble)},
		.redis_words = {caches_name(worker->caches), words_of(&worker->redis_trouble)},
		.queue = worker->config->queue,
		.patterns_trouble = caches_scan_problem(worker->caches),
		.letters_trouble = dead_letters_problem(worker->dead_letters),
		.waiting_bytes = caches_waiting_bytes(worker->caches),
		.canary_delay_us = worker->canary_delay_us,
		.canary_age_us = worker->canary_at_us == 0 ? -1 : mq_clock_us() - worker->canary_at_us,
		.delay = &worker->delay,
		.redis_time = &counters->round_trip,
	};
}

static int64_t
ask_queue_due_us(const Worker *worker)
{
	bool wanted = onlookers_want_queue(&worker->onlookers) &&
	              consumer_can_ask_queue(worker->consumer) && worker->stop_requests == 0;

	return wanted ? worker->ask_queue_due_us : STREAM_NEVER;
}

static void
mind_onlookers(Worker *worker)
{
	side_note(&worker->broker_side, consumer_state(worker->consumer) >= CONSUMER_PAUSED);
	side_note(&worker->redis_side, redis_is_usable(worker));
	if (worker->now_us >= ask_queue_due_us(worker))
	{
		consumer_ask_queue(worker->consumer);
		worker->ask_queue_due_us =
			worker->now_us + onlookers_queue_pause_us(&worker->onlookers, worker->now_us);
	}
	onlookers_step(&worker->onlookers, worker->now_us);
}

/* ---- the loop ---- */

static int64_t
earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* When a turn is due, if no descriptor wakes us before. */
static int64_t
next_due_us(const Worker *worker)
{
	int64_t due_us = consumer_due_us(worker->consumer);

	due_us = earlier(due_us, caches_due_us(worker->caches));
	due_us = earlier(due_us, dead_letters_due_us(worker->dead_letters));
	due_us = earlier(due_us, onlookers_due_us(&worker->onlookers, worker->now_us));
	due_us = earlier(due_us, ask_queue_due_us(worker));
	if (worker->stop_requests > 0)
		due_us = earlier(due_us, worker->stop_due_us);
	if (is_absence_minded(worker))
		due_us = earlier(due_us, worker->redis_away_since_us +
		                             (wants_to_consume(worker) ? STOP_PARTLY_US : GIVE_BACK_US));
	if (worker->gave_back && worker->redis_back_since_us != 0)
		due_us = earlier(due_us, worker->redis_back_since_us + STEADY_US);
	return due_us;
}

static void
wait_for_events(Worker *worker, bool busy)
{
	struct pollfd fds[POLLED] = {{.fd = worker->signal_fd, .events = POLLIN}};
	int64_t       due_us = next_due_us(worker);
	int64_t       wait_ms = -1;
	nfds_t        count = 1; /* signals come first */

	count +=
		polled_add(fds + count, consumer_fd(worker->consumer), consumer_wants(worker->consumer));
	count += polled_add(fds + count, dead_letters_fd(worker->dead_letters),
	                    dead_letters_wants(worker->dead_letters));
	count += polled_add(fds + count, onlookers_fd(&worker->onlookers), STREAM_WANT_READ);
	count += caches_poll(worker->caches, fds + count, POLLED - count);
	if (due_us != STREAM_NEVER)
		wait_ms = due_us <= worker->now_us ? 0 : (due_us - worker->now_us + 999) / 1000;
	if (wait_ms > 60000)
		wait_ms = 60000;
	poll(fds, count, busy ? 0 : (int) wait_ms);
	worker->now_us = mq_clock_us();
	if ((fds[0].revents & POLLIN) != 0)
		take_signals(worker);
}

/* In this order a delivery becomes an UNLINK, and an answer an acknowledgement, in one turn. */
static bool
turn(Worker *worker)
{
	bool busy = redis_turn(worker);

	busy |= consumer_turn(worker);
	caches_send(worker->caches, worker->now_us);
	busy |= dead_letters_turn(worker);
	mind_absence(worker);
	if (wants_to_consume(worker))
		worker->gave_back = false;
	consumer_want(worker->consumer, wants_to_consume(worker), worker->now_us);
	update_state(worker);
	tell_side_troubles(worker);
	tell_unkept(worker);
	mind_onlookers(worker);
	return busy;
}

static bool
open_onlookers(Worker *worker)
{
	FigureSource source = {.context = worker, .figures = worker_figures};
	char         reason[200];

	if (onlookers_open(&worker->onlookers, worker->config, source, worker->now_us, reason,
	                   sizeof(reason)))
		return true;
	worker_fail(worker, reason);
	return false;
}

static bool
worker_open(Worker *worker)
{
	uint64_t     seed = (uint64_t) getpid() << 32 ^ (uint64_t) mq_clock_us();
	CacheOptions options = {.certificates = worker->config->redis_certificates,
	                        .key_prefix = worker->config->key_prefix,
	                        .second_delete_us = worker->config->second_delete_us,
	                        .seed = seed + 1,
	                        .context = worker,
	                        .deleted = log_enabled(LEVEL_DEBUG) ? tell_deleted : NULL};

	worker->now_us = mq_clock_us();
	worker->redis_away_since_us = worker->now_us;
	worker->consumer = consumer_new(worker->config, seed);
	worker->caches =
		caches_new(&options, worker->config->redis_urls, worker->config->redis_url_count);
	worker->dead_letters = dead_letters_new(worker->config, seed + 2);
	if (worker->consumer == NULL || worker->caches == NULL || worker->dead_letters == NULL)
	{
		worker_fail(worker, "out of memory");
		return false;
	}
	worker->intake = (Intake){
		.config = worker->config, .caches = worker->caches, .dead_letters = worker->dead_letters};
	return open_onlookers(worker);
}

static void
worker_close(Worker *worker)
{
	if (worker->intake.config != NULL)
		onlookers_close(&worker->onlookers);
	if (worker->dead_letters != NULL)
		dead_letters_free(worker->dead_letters);
	consumer_free(worker->consumer);
	intake_free(&worker->intake);
	caches_free(worker->caches);
}

static void
log_stopped(const Worker *worker)
{
	const DeletionCounters *counters = caches_counters(worker->caches);
	char                    messages[24], keys[24], dead[24];

	snprintf(messages, sizeof(messages), "%llu", (unsigned long long) worker->messages);
	snprintf(keys, sizeof(keys), "%llu", (unsigned long long) counters->keys_deleted);
	snprintf(dead, sizeof(dead), "%llu", (unsigned long long) worker->dead_lettered);
	log_line(LEVEL_INFO, "stopped", "messages", messages, "keys_deleted", keys, "dead_lettered",
	         dead, NULL);
}

int
worker_run(WorkerConfig *config, int signal_fd)
{
	Worker worker = {.config = config, .signal_fd = signal_fd};

	if (worker_open(&worker))
	{
		log_state(&worker);
		for (bool busy = turn(&worker); !may_leave(&worker); busy = turn(&worker))
			wait_for_events(&worker, busy);
		log_stopped(&worker);
	}
	worker_close(&worker);
	return worker.failed ? 1 : 0;
}
