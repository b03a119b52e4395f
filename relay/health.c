/*
 * health.c
 *    What lies behind outbox.health: one row for each check, all of them always, so that an empty answer
 *    never means health.
 *
 * Each check is a function that looks at facts gathered once and writes one row: what is the case, with
 * figures, and what to do. No check waits, but for the queue's figures, and none costs more because
 * more is pending. What a check cannot see (the relay does not run, so nobody asks the broker) is as bad
 * as what hides it. The limits are listed in docs/monitoring.md.
 *
 * Here and not in extension/, because what is pending is counted by the relay's code. Runs in the
 * backend that asks.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "extension/consumer.h"
#include "extension/event.h"
#include "extension/parked_status.h"
#include "extension/queue_status.h"
#include "extension/settings.h"
#include "extension/shmem.h"
#include "extension/version.h"
#include "extension/watched.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "relay/lag.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define BROKER_CRITICAL_S 10
#define LAG_WARNING_S 10
#define LAG_CRITICAL_S 300
#define SIZE_WARNING_BYTES (INT64CONST(1) << 30)
#define SIZE_CRITICAL_BYTES (INT64CONST(10) << 30)
#define ROTATION_WARNING_S 300
#define ROTATION_CRITICAL_S 3600
#define DEAD_CRITICAL 100
#define PARKED_CRITICAL_S 300
#define WORKER_WAITING_CRITICAL_S 10
#define WORKER_LOST_CRITICAL_S 60
#define WORKER_FORGOTTEN_S 600 /* where others do its work */
#define QUEUE_WARNING_MESSAGES 100000
#define CANARY_WARNING_S(interval_s) (3 * (interval_s) + 10)
#define CANARY_CRITICAL_S(interval_s) (10 * (interval_s) + 60)

PG_FUNCTION_INFO_V1(outbox_health_status);

enum
{
	HEALTH_CHECK,
	HEALTH_STATUS,
	HEALTH_DETAIL,
	HEALTH_HINT,
	HEALTH_COLUMNS
};

/* Worse ones are greater. */
typedef enum HealthStatus
{
	HEALTH_OK,
	HEALTH_WARNING,
	HEALTH_CRITICAL
} HealthStatus;

static const char *const status_names[] = {"ok", "warning", "critical"};

/* What the checks look at. */
typedef struct Health
{
	ReturnSetInfo *result;
	OutboxSlot    *slot; /* NULL: none */
	TimestampTz    now;
	bool           standby;

	/* of the slot */
	RelayState  state;
	int         pid;
	char        broker[320];
	char        last_error[512];
	TimestampTz connected_at, stuck_since;
	TimestampTz rotation_blocked_since[EVENT_TABLES];

	HealthStatus  relay, broker_status; /* as found by the first two checks */
	ConsumersSeen workers;
} Health;

/* ---- words ------------------------------------------------------------------------------------ */

/* "12 s", "3 min", "5 h", "2 days" */
static const char *
duration(int64 us)
{
	int64 s = us / USECS_PER_SEC;

	if (s < 120)
		return psprintf(INT64_FORMAT " s", s);
	if (s < 120 * 60)
		return psprintf(INT64_FORMAT " min", s / 60);
	if (s < 48 * 3600)
		return psprintf(INT64_FORMAT " h", s / 3600);
	return psprintf(INT64_FORMAT " days", s / 86400);
}

/* Never negative: the clock may be set back. */
static int64
age_us(const Health *health, TimestampTz time)
{
	return Max(health->now - time, 0);
}

static const char *
since(const Health *health, TimestampTz time)
{
	return duration(age_us(health, time));
}

/* "1 event", "2 events" */
static const char *
count_of(int64 count, const char *noun)
{
	return psprintf(INT64_FORMAT " %s%s", count, noun, count == 1 ? "" : "s");
}

static const char *
bytes_text(int64 bytes)
{
	return TextDatumGetCString(DirectFunctionCall1(pg_size_pretty, Int64GetDatum(bytes)));
}

/* ": what is known of it", or nothing. */
static const char *
because(const char *reason)
{
	return reason == NULL || reason[0] == '\0' ? "" : psprintf(": %s", reason);
}

static HealthStatus
by_limits(int64 value, int64 warning, int64 critical)
{
	if (value >= critical)
		return HEALTH_CRITICAL;
	return value >= warning ? HEALTH_WARNING : HEALTH_OK;
}

static HealthStatus
worse(HealthStatus a, HealthStatus b)
{
	return Max(a, b);
}

/* One row. hint: NULL where there is nothing to do. */
static void put(Health *health, const char *check, HealthStatus status, const char *hint,
                const char *format, ...) __attribute__((format(printf, 5, 6)));

static void
put(Health *health, const char *check, HealthStatus status, const char *hint, const char *format,
    ...)
{
	Datum   values[HEALTH_COLUMNS];
	bool    nulls[HEALTH_COLUMNS] = {false};
	char    detail[2048];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(detail, sizeof(detail), format, arguments);
	va_end(arguments);
	values[HEALTH_CHECK] = CStringGetTextDatum(check);
	values[HEALTH_STATUS] = CStringGetTextDatum(status_names[status]);
	values[HEALTH_DETAIL] = CStringGetTextDatum(detail);
	nulls[HEALTH_HINT] = hint == NULL;
	values[HEALTH_HINT] = hint == NULL ? (Datum) 0 : CStringGetTextDatum(hint);
	tuplestore_putvalues(health->result->setResult, health->result->setDesc, values, nulls);
}

/* ---- relay and broker ------------------------------------------------------------------------- */

static bool
runs_elsewhere(void)
{
	return setting_run_on[0] != '\0' && strcmp(setting_run_on, cluster_name) != 0;
}

/* No relay, and it is not on a standby. */
static HealthStatus
check_absent_relay(Health *health)
{
	if (outbox_shared == NULL)
		put(health, "relay", HEALTH_CRITICAL,
		    "Add pg_outbox to shared_preload_libraries and restart the server. What is recorded "
		    "until then is published then.",
		    "no relay runs: pg_outbox is not in shared_preload_libraries");
	else if (runs_elsewhere())
	{
		put(health, "relay", HEALTH_WARNING,
		    "That is right for a clone. Otherwise set outbox.run_on to this server's cluster_name, "
		    "or to nothing, and reload.",
		    "no relay runs here: outbox.run_on is \"%s\", cluster_name is \"%s\"", setting_run_on,
		    cluster_name);
		return HEALTH_WARNING;
	}
	else
		put(health, "relay", HEALTH_CRITICAL,
		    "See the server's log. A relay is started again by itself as soon as max_worker_processes "
		    "leaves room, or after a reload where a setting was wrong; outbox.restart_relay() has "
		    "it tried at once.",
		    "no relay runs%s", because(health->last_error));
	return HEALTH_CRITICAL;
}

static HealthStatus
check_relay(Health *health)
{
	if (health->standby)
	{
		put(health, "relay", HEALTH_OK, NULL,
		    "this server is a standby: the primary's relay publishes");
		return HEALTH_OK;
	}
	switch (health->state)
	{
	case RELAY_NOT_RUNNING:
		return check_absent_relay(health);
	case RELAY_PAUSED:
		put(health, "relay", HEALTH_WARNING, "SELECT outbox.resume();",
		    "the relay is paused%s; events wait", because(health->last_error));
		return HEALTH_WARNING;
	case RELAY_COPIED:
		put(health, "relay", HEALTH_CRITICAL,
		    "Where this database shall be one of its own: SELECT outbox.adopt(), which forgets what "
		    "was recorded before. After pg_upgrade: SELECT outbox.adopt_with_events().",
		    "the relay publishes nothing%s", because(health->last_error));
		return HEALTH_CRITICAL;
	case RELAY_STARTING:
	case RELAY_CONNECTING:
	case RELAY_IDLE:
	case RELAY_PUBLISHING:
	case RELAY_BLOCKED:
	case RELAY_WAITING:
		break;
	}
	put(health, "relay", HEALTH_OK, NULL, "the relay runs as process %d; its state is \"%s\"",
	    health->pid, relay_state_name(health->state));
	return HEALTH_OK;
}

static const char *
connection_hint(const char *error)
{
	if (strstr(error, "ACCESS_REFUSED") != NULL)
		return "Check the user and the password of outbox.amqp_url, outbox.amqp_password_file, and "
			   "that the user may use the vhost; then reload.";
	if (strstr(error, "certificate") != NULL)
		return "Check outbox.amqp_ca_file and the broker's certificate.";
	return "Check that the broker runs and that outbox.amqp_url names it. The relay goes on trying; "
		   "commits do not wait.";
}

static HealthStatus
check_connection(Health *health)
{
	bool         blocked = health->state == RELAY_BLOCKED;
	int64        stuck_us = health->stuck_since == 0 ? 0 : age_us(health, health->stuck_since);
	HealthStatus status = by_limits(stuck_us, 0, BROKER_CRITICAL_S * USECS_PER_SEC);

	if (blocked)
		put(health, "broker", status,
		    "See the broker's alarms, memory or disk: rabbitmq-diagnostics alarms. Publishing goes "
		    "on by itself once they are over.",
		    "%s has blocked publishing for %s%s", health->broker, duration(stuck_us),
		    because(health->last_error));
	else
		put(health, "broker", status, connection_hint(health->last_error),
		    "no connection to %s for %s%s",
		    health->broker[0] == '\0' ? "the broker" : health->broker, duration(stuck_us),
		    because(health->last_error));
	return status;
}

static HealthStatus
check_broker(Health *health)
{
	if (health->standby)
	{
		put(health, "broker", HEALTH_OK, NULL, "this server is a standby: it needs no broker");
		return HEALTH_OK;
	}
	switch (health->state)
	{
	case RELAY_IDLE:
	case RELAY_PUBLISHING:
		put(health, "broker", HEALTH_OK, NULL, "connected to %s for %s", health->broker,
		    since(health, health->connected_at));
		return HEALTH_OK;
	case RELAY_BLOCKED:
	case RELAY_CONNECTING:
	case RELAY_WAITING:
		return check_connection(health);
	case RELAY_STARTING:
	case RELAY_NOT_RUNNING:
	case RELAY_PAUSED:
	case RELAY_COPIED:
		break;
	}
	put(health, "broker", worse(health->relay, HEALTH_WARNING), "See the check \"relay\".",
	    "no connection: the relay's state is \"%s\"", relay_state_name(health->state));
	return worse(health->relay, HEALTH_WARNING);
}

/* ---- the outbox ------------------------------------------------------------------------------- */

static const char *
lag_hint(const Health *health)
{
	if (health->broker_status != HEALTH_OK)
		return "See the checks \"relay\" and \"broker\".";
	return "The broker confirms more slowly than events are recorded, or one transaction recorded "
		   "very many. See whether outbox.relay.confirmed rises.";
}

static void
check_lag(Health *health, const Lag *lag)
{
	int64        lag_us = lag->pending_events == 0 ? 0 : age_us(health, lag->pending_since);
	HealthStatus status =
		by_limits(lag_us, LAG_WARNING_S * USECS_PER_SEC, LAG_CRITICAL_S * USECS_PER_SEC);

	if (lag->pending_events == 0)
		put(health, "lag", HEALTH_OK, NULL, "nothing is pending");
	else
		put(health, "lag", status, status == HEALTH_OK ? NULL : lag_hint(health),
		    "%s%s %s pending, the oldest for %s",
		    lag->pending_events > LAG_EXACT_EVENTS ? "about " : "",
		    count_of(lag->pending_events, "event"), lag->pending_events == 1 ? "is" : "are",
		    duration(lag_us));
}

static void
check_size(Health *health, const Lag *lag)
{
	HealthStatus status = by_limits(lag->outbox_bytes, SIZE_WARNING_BYTES, SIZE_CRITICAL_BYTES);

	put(health, "outbox_size", status,
	    status == HEALTH_OK
	        ? NULL
	        : "It shrinks once everything in it is published and nobody's locks are in "
	          "the way: see the checks \"lag\" and \"rotation\".",
	    "the outbox takes %s", bytes_text(lag->outbox_bytes));
}

/* Asks SQL, which is planned only when there is something to ask. */
static const char *
rotation_blockers(void)
{
	Oid function = LookupFuncName(list_make2(makeString("outbox"), makeString("rotation_blockers")),
	                              0, NULL, false);

	return TextDatumGetCString(OidFunctionCall0(function));
}

static void
check_rotation(Health *health)
{
	int         table = -1;
	const char *who;
	int64       blocked_us;

	for (int i = 0; i < EVENT_TABLES; i++)
	{
		TimestampTz blocked = health->rotation_blocked_since[i];

		if (blocked != 0 && (table < 0 || blocked < health->rotation_blocked_since[table]))
			table = i;
	}
	if (table < 0)
	{
		put(health, "rotation", HEALTH_OK, NULL, "no table of the outbox waits to be emptied");
		return;
	}
	who = rotation_blockers();
	blocked_us = age_us(health, health->rotation_blocked_since[table]);
	put(health, "rotation",
	    by_limits(blocked_us, ROTATION_WARNING_S * USECS_PER_SEC,
	              ROTATION_CRITICAL_S * USECS_PER_SEC),
	    "End that transaction: pg_terminate_backend() for a process, ROLLBACK PREPARED or COMMIT PREPARED "
	    "for a prepared one. See outbox.rotation. Publishing goes on meanwhile.",
	    "outbox.event_%d has waited for %s to be emptied: locks are held by %s", table + 1,
	    duration(blocked_us), who[0] == '\0' ? "nobody any more" : who);
}

static void
check_dead_letters(Health *health, const ParkedStatus *parked)
{
	if (parked->dead == 0)
	{
		put(health, "dead_letters", HEALTH_OK, NULL, "no event was given up");
		return;
	}
	put(health, "dead_letters", by_limits(parked->dead, 1, DEAD_CRITICAL),
	    "See outbox.dead_letter WHERE state = 'dead'. Once the cause is mended, "
	    "outbox.retry_dead_letter(event_id); or outbox.discard_dead_letter(event_id).",
	    "%s%s given up, one of them to %s%s", count_of(parked->dead, "event"),
	    parked->dead == PARKED_COUNTED_MAX ? " or more were"
	    : parked->dead == 1                ? " was"
	                                       : " were",
	    parked->dead_name, because(parked->dead_error));
}

static void
check_destinations(Health *health, const ParkedStatus *parked)
{
	if (parked->destinations == 0)
	{
		put(health, "destinations", HEALTH_OK, NULL, "no destination is parked");
		return;
	}
	put(health, "destinations",
	    by_limits(age_us(health, parked->since), 0, PARKED_CRITICAL_S * USECS_PER_SEC),
	    "They are tried again by themselves, others go on. NO_ROUTE, NOT_FOUND: declare the queue, "
	    "binding or exchange. Nacked: the queue may be full. ACCESS_REFUSED: grant the permission. "
	    "See outbox.destination.",
	    "%s %s parked with %s, %s for %s%s", count_of(parked->destinations, "destination"),
	    parked->destinations == 1 ? "is" : "are", count_of(parked->events, "event"),
	    parked->name == NULL ? "the longest" : parked->name, since(health, parked->since),
	    because(parked->error));
}

/* ---- the other end ---------------------------------------------------------------------------- */

static const char *const gone_hint =
	"Start it again, or see its log for \"report waits\". One that is gone for good: SELECT "
	"outbox.forget_consumer(name).";

/* None reports any more. */
static void
check_lost_workers(Health *health)
{
	const ConsumersSeen *seen = &health->workers;
	const ConsumerGroup *last = &seen->silent;

	if (last->count == 0 || (seen->ended.count > 0 && seen->ended.since > last->since))
		last = &seen->ended;
	put(health, "workers",
	    by_limits(age_us(health, last->since), 0, WORKER_LOST_CRITICAL_S * USECS_PER_SEC),
	    gone_hint, "no worker reports any more; the last one, \"%s\", %s %s ago", last->name,
	    last == &seen->ended ? "was stopped" : "fell silent", since(health, last->since));
}

static void
check_workers(Health *health)
{
	const ConsumersSeen *seen = &health->workers;
	int                  live = seen->consuming.count + seen->waiting.count;
	bool                 silent = seen->silent.count > 0 &&
	              age_us(health, seen->silent.since) < WORKER_FORGOTTEN_S * USECS_PER_SEC;

	if (live + seen->silent.count + seen->ended.count == 0)
		put(health, "workers", HEALTH_OK, NULL,
		    "no worker reports here: outbox-worker does with --report-to");
	else if (live == 0)
		check_lost_workers(health);
	else if (seen->waiting.count > 0)
		put(health, "workers",
		    seen->consuming.count == 0 &&
		            age_us(health, seen->waiting.since) >= WORKER_WAITING_CRITICAL_S * USECS_PER_SEC
		        ? HEALTH_CRITICAL
		        : HEALTH_WARNING,
		    "Messages stay in the queue meanwhile. See that worker's log, and whether Redis answers.",
		    "%d of %s %s not consuming; \"%s\" has been %s for %s%s", seen->waiting.count,
		    count_of(live, "worker"), seen->waiting.count == 1 ? "is" : "are", seen->waiting.name,
		    seen->waiting.state, since(health, seen->waiting.since),
		    because(seen->waiting.last_error));
	else if (silent)
		put(health, "workers", HEALTH_WARNING, gone_hint,
		    "%s %s consuming, but \"%s\" fell silent %s ago", count_of(live, "worker"),
		    live == 1 ? "is" : "are", seen->silent.name, since(health, seen->silent.since));
	else
		put(health, "workers", HEALTH_OK, NULL, "%s %s consuming", count_of(live, "worker"),
		    live == 1 ? "is" : "are");
}

static void
check_known_queue(Health *health, const SharedQueue *queue)
{
	HealthStatus status = HEALTH_OK;
	const char  *hint = NULL;

	if (queue->consumers == 0)
	{
		status = queue->messages > 0 ? HEALTH_CRITICAL : HEALTH_WARNING;
		hint = "Start outbox-worker; with --queue where the queue has another name.";
	}
	else if (queue->messages >= QUEUE_WARNING_MESSAGES)
	{
		status = HEALTH_WARNING;
		hint =
			"Its workers are slow or stuck: see their logs, and outbox.consumer; more of them may "
			"share a queue.";
	}
	put(health, "queue", status, hint, "queue \"%s\" has %s and %s ready, %s ago", setting_queue,
	    count_of(queue->consumers, "consumer"), count_of(queue->messages, "message"),
	    since(health, queue->looked_at));
}

static void
check_queue(Health *health)
{
	SharedQueue queue;

	if (health->standby)
	{
		put(health, "queue", HEALTH_OK, NULL, "this server is a standby: it asks no broker");
		return;
	}
	switch (queue_look(health->slot, &queue))
	{
	case QUEUE_KNOWN:
		check_known_queue(health, &queue);
		break;
	case QUEUE_REFUSED:
		put(health, "queue",
		    strstr(queue.problem, "NOT_FOUND") != NULL ? HEALTH_CRITICAL : HEALTH_WARNING,
		    "Declare the queue, or see outbox.queue, outbox.amqp_url (the vhost) and the user's "
		    "permissions.",
		    "the broker would not tell of queue \"%s\", %s ago: %s", setting_queue,
		    since(health, queue.looked_at), queue.problem);
		break;
	case QUEUE_FOREIGN:
		put(health, "queue", HEALTH_OK, NULL,
		    "not looked at: invalidations go to exchange \"%s\", and outbox.declare_topology is off",
		    setting_invalidation_exchange);
		break;
	case QUEUE_UNKNOWN:
		put(health, "queue", worse(health->broker_status, HEALTH_WARNING),
		    "See the checks \"relay\" and \"broker\".", "nothing is known of queue \"%s\": %s",
		    setting_queue,
		    health->broker_status == HEALTH_OK ? "the broker has not answered yet"
		                                       : "the relay is not connected");
		break;
	}
}

static void
check_canary(Health *health)
{
	const ConsumersSeen *seen = &health->workers;
	int64                interval_s = setting_canary_interval;
	int64                canary_age_us = age_us(health, seen->canary_at);
	HealthStatus         status;

	if (interval_s == 0)
	{
		put(health, "canary", HEALTH_OK, NULL, "off: outbox.canary_interval is 0");
		return;
	}
	if (health->standby)
	{
		put(health, "canary", HEALTH_OK, NULL, "this server is a standby: it sends none");
		return;
	}
	if (seen->canary_at == 0)
	{
		put(health, "canary", HEALTH_WARNING,
		    "It is seen by outbox-worker with --report-to. See the checks \"broker\", \"queue\" and "
		    "\"workers\".",
		    "no worker has reported a canary yet; one is sent every " INT64_FORMAT " s",
		    interval_s);
		return;
	}
	status = worse(
		by_limits(canary_age_us, CANARY_WARNING_S(interval_s) * USECS_PER_SEC,
	              CANARY_CRITICAL_S(interval_s) * USECS_PER_SEC),
		by_limits((int64) seen->canary_delay_ms, LAG_WARNING_S * 1000, LAG_CRITICAL_S * 1000));
	put(health, "canary", status,
	    status == HEALTH_OK ? NULL : "See the checks \"broker\", \"queue\" and \"workers\".",
	    "the last canary took %.1f ms from the outbox to Redis, %s ago", seen->canary_delay_ms,
	    duration(canary_age_us));
}

/* ---- the installation ------------------------------------------------------------------------- */

static void
check_watched(Health *health)
{
	WatchedSummary watched = watched_look();

	if (watched.problems == 0)
		put(health, "watched", HEALTH_OK, NULL, "%s %s watched", count_of(watched.tables, "table"),
		    watched.tables == 1 ? "is" : "are");
	else
		put(health, "watched", watched.writes_fail ? HEALTH_CRITICAL : HEALTH_WARNING,
		    watched.writes_fail
		        ? "Writes to that table fail. Call outbox.watch() for it again, with templates that fit."
		        : "Changes may go unnoticed. Call outbox.watch() for it again, or enable its triggers. See "
		          "outbox.watched.",
		    "%d of %s %s a problem: %s: %s", watched.problems,
		    count_of(watched.tables, "watched table"), watched.problems == 1 ? "has" : "have",
		    watched.first_table, watched.first_problem);
}

static void
check_version(Health *health)
{
	const char *installed = version_installed();
	const char *problem = version_problem();

	if (problem != NULL)
		put(health, "version", HEALTH_CRITICAL,
		    "Run ALTER EXTENSION pg_outbox UPDATE in this database; if the extension is the newer one, "
		    "restart the server so that it loads the new library.",
		    "%s: that is version %s", problem, OUTBOX_VERSION);
	else if (installed != NULL && strcmp(installed, OUTBOX_VERSION) != 0)
		put(health, "version", HEALTH_WARNING,
		    "Run ALTER EXTENSION pg_outbox UPDATE in this database.",
		    "the library is version %s, the extension in this database %s", OUTBOX_VERSION,
		    installed);
	else
		put(health, "version", HEALTH_OK, NULL, "library and extension are version %s",
		    OUTBOX_VERSION);
}

/* ---- all of them ------------------------------------------------------------------------------ */

static void
gather(Health *health)
{
	OutboxSlot *slot = health->slot;

	health->now = GetCurrentTimestamp();
	health->standby = RecoveryInProgress();
	consumers_look(health->now, &health->workers);
	if (slot == NULL)
		return;
	health->state = (RelayState) pg_atomic_read_u32(&slot->state);
	LWLockAcquire(&outbox_shared->lock, LW_SHARED);
	health->pid = slot->relay_pid;
	LWLockRelease(&outbox_shared->lock);
	LWLockAcquire(&slot->text_lock, LW_SHARED);
	strlcpy(health->broker, slot->broker, sizeof(health->broker));
	strlcpy(health->last_error, slot->last_error, sizeof(health->last_error));
	health->connected_at = slot->connected_at;
	health->stuck_since = slot->stuck_since;
	memcpy(health->rotation_blocked_since, slot->rotation_blocked_since,
	       sizeof(health->rotation_blocked_since));
	LWLockRelease(&slot->text_lock);
}

Datum
outbox_health_status(PG_FUNCTION_ARGS)
{
	Health      *health = palloc0(sizeof(Health));
	ParkedStatus parked;
	Lag          lag;

	InitMaterializedSRF(fcinfo, 0);
	health->result = (ReturnSetInfo *) fcinfo->resultinfo;
	health->slot = shmem_mine();
	gather(health);
	lag_look(health->slot, &lag);
	parked_look(health->slot, &parked);
	health->relay = check_relay(health);
	health->broker_status = check_broker(health);
	check_lag(health, &lag);
	check_size(health, &lag);
	check_rotation(health);
	check_dead_letters(health, &parked);
	check_destinations(health, &parked);
	check_queue(health);
	check_workers(health);
	check_canary(health);
	check_watched(health);
	check_version(health);
	PG_RETURN_VOID();
}
