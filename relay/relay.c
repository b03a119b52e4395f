/*
 * relay.c
 *    The background worker: joins source (store.c), core (publisher.c) and transport (broker.c).
 *
 * One loop with one wait, on the latch and the broker's socket. Nothing in it blocks: the socket is
 * never waited for in any other place, and no transaction, snapshot or lock is held at the wait.
 *
 * An ERROR (disk full, out of memory, an outbox table changed by hand) ends the process; the
 * launcher starts a new one after a second, and it begins at the saved position: sockets and
 * memory go with the process, so nothing is leaked and nothing is half done.
 */
#include "postgres.h"

#include "relay/relay.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "extension/compat.h"
#include "extension/event.h"
#include "extension/settings.h"
#include "extension/shmem.h"
#include "extension/version.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "relay/attach.h"
#include "relay/broker.h"
#include "relay/canary.h"
#include "relay/pace.h"
#include "relay/reload.h"
#include "relay/report_destinations.h"
#include "relay/reporting.h"
#include "relay/rotate.h"
#include "relay/store.h"
#include "relay/store_parked.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"
#include "wire/stream.h"

#define SECOND_US INT64CONST(1000000)
#define LOOK_US (60 * SECOND_US) /* the safety net: a look without being woken, at sizes too */
#define SAVE_US (SECOND_US / 2)  /* between two savings of the position */
#define ROTATE_IDLE_US (10 * SECOND_US)  /* drained for so long: one rotation */
#define ROTATE_CHECK_US (10 * SECOND_US) /* under load: is the current table large? */
#define ROTATE_MOST_US (300 * SECOND_US) /* under load: rotate after so long in any case */
#define ROTATE_RETRY_US (30 * SECOND_US)
#define PARKED_LOAD_US SECOND_US /* between two counts of the parked events */

typedef struct Relay
{
	OutboxSlot *slot;
	Store      *store;
	Broker     *broker;
	Publisher  *publisher;

	int64_t look_at_us;
	bool    woken;         /* somebody has, or may have, committed since the last look */
	bool    may_look;      /* the present has not been looked at yet */
	int64_t opened_at_us;  /* the last window */
	size_t  window_events; /* read of it so far */
	int64_t saved_at_us;
	int64_t confirmed_at_us; /* the last window */
	int64_t rotated_at_us;
	int64_t rotate_check_at_us; /* not before */
	bool    rotation_pending;   /* something may be left to empty */
	bool    rotation_asked;     /* by outbox.rotate() */
	bool    parked_changed;     /* by hand */
	int64_t parked_loaded_at_us;

	Canary   canary;
	uint64_t rotated_events, rotated_canaries; /* counted at the last rotation */
	char     exchange[256], routing_key[256];  /* where invalidations go; UTF-8 */

	/* wait_published: the request that the next look will answer, and the one being answered */
	uint64 request;        /* 0: none */
	uint64 request_window; /* served once this window is confirmed */
} Relay;

/* ---- source ----------------------------------------------------------------------------------- */

static bool
source_open_window(void *context, uint64_t *number, const char **lsn)
{
	Relay *relay = context;
	uint64 requested;
	bool   found;

	if (!relay->may_look)
		return false;
	/* In a crowd nobody needs to tell that there is more, at the cost of a signal: the relay looks again
	 * by itself, until the crowd has gone. Else whoever is too late for this snapshot wakes it. */
	if (pace_is_crowd(relay->window_events))
		relay->woken = true;
	else
		shmem_want_wake(relay->slot);
	/* Read before the snapshot is taken: what was committed before the request is in it. */
	requested = pg_atomic_read_u64(&relay->slot->requested);
	found = store_open_window(relay->store, number, lsn);
	relay->may_look = !store_is_at_present(relay->store);
	relay->opened_at_us = mq_clock_us();
	relay->window_events = 0;
	/* A window that ends at a tick may leave out what the request is about. */
	if (relay->request == 0 && store_is_at_present(relay->store) &&
	    requested > pg_atomic_read_u64(&relay->slot->served))
	{
		relay->request = requested;
		relay->request_window = store_last_window(relay->store);
	}
	if (store_is_at_present(relay->store))
		canary_looked(&relay->canary, store_last_window(relay->store));
	return found;
}

static size_t
source_read(void *context, const RelayEvent **events)
{
	Relay *relay = context;
	size_t count = store_read(relay->store, events);

	relay->window_events += count;
	return count;
}

static void
source_confirmed(void *context, uint64_t number)
{
	Relay *relay = context;

	store_confirmed(relay->store, number);
	relay->confirmed_at_us = mq_clock_us();
	relay->rotation_pending = true;
}

static void
source_park(void *context, ParkRange *ranges, size_t count)
{
	store_park(((Relay *) context)->store, ranges, count);
}

static size_t
source_read_parked(void *context, MqBytes exchange, MqBytes routing_key, int64_t after,
                   size_t limit, const RelayEvent **events, const char **lsn, bool *held)
{
	return store_read_parked(((Relay *) context)->store, exchange, routing_key, after, limit,
	                         events, lsn, held);
}

static void
source_settle(void *context, const ChunkEvent *events, size_t count, const char *reason)
{
	(void) context;
	parked_settle(events, count, reason);
}

static bool
source_is_parked(void *context, MqBytes exchange, MqBytes routing_key)
{
	(void) context;
	return parked_is(exchange, routing_key);
}

static bool
source_next_parked(void *context, bool begun, char *exchange, char *routing_key, int64_t *count)
{
	(void) context;
	return parked_next(begun, exchange, routing_key, count);
}

static void
source_tell(void *context, PublisherNews news, MqBytes exchange, MqBytes routing_key,
            const char *text)
{
	(void) context;
	report_news(news, exchange, routing_key, text);
}

/* ---- starting --------------------------------------------------------------------------------- */

/* ALTER DATABASE ... SET applies to this process too: what could bite it is set here. */
static void
pin_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"synchronous_commit", "off"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"session_replication_role", "origin"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"row_security", "off"},
		{"jit", "off"},
		{"enable_seqscan", "off"}, /* outbox.parked: no statistics may mislead */
	};

	for (size_t i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	compat_pin_settings();
}

/* The password file's first line replaces the password of every URL. */
static void
read_password_file(Relay *relay, BrokerOptions *options)
{
	char  line[sizeof(options->urls[0].password)];
	FILE *file;
	char *read;

	if (setting_amqp_password_file[0] == '\0')
		return;
	file = AllocateFile(setting_amqp_password_file, "r");
	if (file == NULL)
		leave_unwanted(relay->slot, psprintf("could not open outbox.amqp_password_file \"%s\": %m",
		                                     setting_amqp_password_file));
	read = fgets(line, sizeof(line), file);
	FreeFile(file);
	if (read != NULL)
		line[strcspn(line, "\r\n")] = '\0';
	if (read == NULL || line[0] == '\0')
		leave_unwanted(relay->slot, psprintf("outbox.amqp_password_file \"%s\" is empty",
		                                     setting_amqp_password_file));
	for (int i = 0; i < options->url_count; i++)
		strlcpy(options->urls[i].password, line, sizeof(options->urls[i].password));
	explicit_bzero(line, sizeof(line));
}

/* Where any URL asks for TLS. */
static void
read_certificates(Relay *relay, BrokerOptions *options)
{
	bool    tls = false;
	MqError error;

	for (int i = 0; i < options->url_count; i++)
		tls = tls || options->urls[i].tls;
	if (!tls)
		return;
	options->tls = tls_context_new(setting_amqp_ca_file, setting_amqp_cert_file,
	                               setting_amqp_key_file, &error);
	if (options->tls == NULL)
		leave_unwanted(relay->slot, error.text);
}

/* Text in UTF-8 that lives as long as the process. */
static const char *
keep_utf8(const char *text)
{
	char *converted = pg_server_to_any(text, (int) strlen(text), PG_UTF8);

	return MemoryContextStrdup(TopMemoryContext, converted);
}

/* What cannot work is said once, and tried again at the next reload. */
static void
read_options(Relay *relay, BrokerOptions *broker, BatchOptions *batch)
{
	MqError     error = {0};
	const char *queue, *exchange, *database;

	*broker = (BrokerOptions){
		.quorum = setting_queue_type == QUEUE_QUORUM,
		.declare = setting_declare_topology,
	};
	if (mq_url_parse_list(setting_amqp_url, broker->urls, &broker->url_count, &error) != MQ_OK)
		leave_unwanted(relay->slot, error.text);
	read_password_file(relay, broker);
	read_certificates(relay, broker);
	StartTransactionCommand();
	database = keep_utf8(get_database_name(MyDatabaseId));
	queue = keep_utf8(setting_queue);
	exchange = keep_utf8(setting_invalidation_exchange);
	CommitTransactionCommand();
	strlcpy(broker->queue, queue, sizeof(broker->queue));
	strlcpy(broker->exchange, exchange, sizeof(broker->exchange));
	snprintf(broker->name, sizeof(broker->name), "pg_outbox relay of %s", database);
	*batch = (BatchOptions){
		.database = mq_bytes_of(database),
		.exchange = mq_bytes_of(exchange),
		.routing_key = mq_bytes_of(exchange[0] == '\0' ? queue : ""),
		.max_keys = (size_t) setting_max_keys_per_message,
		.encode = broker_encode,
	};
}

static void
relay_start(Relay *relay)
{
	PublisherSource source = {
		.context = relay,
		.open_window = source_open_window,
		.read = source_read,
		.confirmed = source_confirmed,
		.park = source_park,
		.read_parked = source_read_parked,
		.settle = source_settle,
		.is_parked = source_is_parked,
		.next_parked = source_next_parked,
		.tell = source_tell,
	};
	PublisherTransport transport;
	BrokerOptions     *broker = palloc(sizeof(*broker));
	BatchOptions       batch;
	uint64             seed;

	read_options(relay, broker, &batch);
	strlcpy(batch.instance, store_instance(relay->store), sizeof(batch.instance));
	if (!pg_strong_random(&seed, sizeof(seed)))
		seed = (uint64) MyProcPid;
	relay->broker = broker_new(broker);
	explicit_bzero(broker, sizeof(*broker));
	pfree(broker);
	if (relay->broker == NULL)
		ereport(ERROR, errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"));
	transport = broker_transport(relay->broker);
	relay->publisher = publisher_new(&source, &transport, &batch, NULL, seed);
	if (relay->publisher == NULL)
		ereport(ERROR, errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"));
	broker_set_publisher(relay->broker, relay->publisher);
	parked_retarget(batch.exchange, batch.routing_key);
	parked_load(relay->publisher, mq_clock_us());
	report_destinations_begin(relay->slot);
	relay->rotation_pending = true;
	relay->confirmed_at_us = relay->rotated_at_us = mq_clock_us();
	canary_begin(&relay->canary);
	snprintf(relay->exchange, sizeof(relay->exchange), "%.*s", (int) batch.exchange.size,
	         batch.exchange.data);
	snprintf(relay->routing_key, sizeof(relay->routing_key), "%.*s", (int) batch.routing_key.size,
	         batch.routing_key.data);
}

/* ---- the turns of the loop -------------------------------------------------------------------- */

/* Where a reload changed what was read at the start, a new process reads it anew. Messages under
 * way are sent again by it, under the same ids. */
static void
reload(void)
{
	if (reload_settings())
		leave_for_restart("outbox relay takes over changed settings");
}

static void
obey_commands(Relay *relay)
{
	uint32 commands = pg_atomic_exchange_u32(&relay->slot->commands, 0);

	if (commands & OUTBOX_COMMAND_RESTART)
		leave_for_restart(NULL);
	if (commands & OUTBOX_COMMAND_PARKED)
		relay->parked_changed = true;
	if (commands & OUTBOX_COMMAND_ROTATE)
		relay->rotation_asked = true;
	if ((commands & OUTBOX_COMMAND_QUEUE) && relay->broker != NULL)
		broker_ask_queue(relay->broker);
}

/* Somebody discarded parked events, or wants them tried: they are counted anew, but not for each
 * single one of many. */
static int64_t
parked_due_us(const Relay *relay)
{
	return relay->parked_changed ? relay->parked_loaded_at_us + PARKED_LOAD_US : STREAM_NEVER;
}

static void
load_parked(Relay *relay, int64_t now_us)
{
	parked_load(relay->publisher, now_us);
	relay->parked_loaded_at_us = now_us;
	relay->parked_changed = false;
}

static int64_t
save_due_us(const Relay *relay)
{
	return store_is_dirty(relay->store) ? relay->saved_at_us + SAVE_US : STREAM_NEVER;
}

static void
save(Relay *relay, int64_t now_us)
{
	store_save_position(relay->store);
	relay->saved_at_us = now_us;
}

/* Something may have been committed; the safety net's time begins anew. */
static void
look(Relay *relay)
{
	relay->woken = false;
	relay->may_look = true;
	publisher_look(relay->publisher);
	relay->look_at_us = mq_clock_us() + LOOK_US;
}

/* Woken, it looks at once, but in a crowd. */
static int64_t
wake_due_us(const Relay *relay)
{
	bool confirmed;

	if (!relay->woken)
		return STREAM_NEVER;
	if (!pace_is_crowd(relay->window_events))
		return 0;
	confirmed = publisher_confirmed_window(relay->publisher) >= store_last_window(relay->store);
	return relay->opened_at_us + pace_pause_us(relay->window_events, confirmed);
}

/* Answers wait_published once the window that its look ended with is confirmed. */
static void
serve_request(Relay *relay, int64_t now_us)
{
	if (relay->request == 0 || publisher_confirmed_window(relay->publisher) < relay->request_window)
		return;
	if (store_is_dirty(relay->store))
		save(relay, now_us);
	report_destinations_now(relay->slot, relay->publisher, now_us);
	pg_atomic_write_u64(&relay->slot->served, relay->request);
	ConditionVariableBroadcast(&relay->slot->served_changed);
	if (pg_atomic_read_u64(&relay->slot->requested) > relay->request)
		look(relay);
	relay->request = 0;
}

/* Is nothing but canaries there to be emptied? These do not have tables emptied every few seconds. */
static bool
rotates_canaries_alone(const Relay *relay)
{
	uint64_t canaries = relay->canary.written - relay->rotated_canaries;

	return canaries > 0 &&
	       publisher_counters(relay->publisher)->events - relay->rotated_events <= canaries;
}

static int64_t
rotation_due_us(const Relay *relay)
{
	int64_t due = relay->confirmed_at_us + ROTATE_IDLE_US;

	if (relay->rotation_asked)
		return 0;
	if (!relay->rotation_pending)
		return STREAM_NEVER;
	if (rotates_canaries_alone(relay))
		due = relay->rotated_at_us + ROTATE_MOST_US;
	if (!publisher_is_drained(relay->publisher))
		due = relay->rotate_check_at_us;
	return Max(due, relay->rotate_check_at_us);
}

static void
rotate_if_due(Relay *relay, int64_t now_us)
{
	RotateResult result;

	relay->rotate_check_at_us = now_us + ROTATE_CHECK_US;
	if (!relay->rotation_asked && !publisher_is_drained(relay->publisher) &&
	    now_us < relay->rotated_at_us + ROTATE_MOST_US && !rotate_is_due(relay->slot))
		return;
	result = rotate(relay->store, relay->slot);
	relay->rotated_at_us = now_us;
	relay->rotated_events = publisher_counters(relay->publisher)->events;
	relay->rotated_canaries = relay->canary.written;
	relay->rotation_asked = false;
	if (result == ROTATE_LATER)
		relay->rotate_check_at_us = now_us + ROTATE_RETRY_US;
	else if (publisher_is_drained(relay->publisher))
		relay->rotation_pending = false;
}

/* The only wait. Gives whether the latch was set. */
static bool
wait_until(const Relay *relay, int64_t due_us)
{
	int      fd = broker_fd(relay->broker);
	unsigned wants = broker_wants(relay->broker);
	int      events = WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH;
	int64_t  left_us = due_us - mq_clock_us();
	long     timeout_ms = left_us <= 0 ? 0 : (long) Min((left_us + 999) / 1000, LOOK_US / 1000);
	int      happened;

	if (fd >= 0 && (wants & STREAM_WANT_READ))
		events |= WL_SOCKET_READABLE;
	if (fd >= 0 && (wants & STREAM_WANT_WRITE))
		events |= WL_SOCKET_WRITEABLE;
	happened = WaitLatchOrSocket(MyLatch, events, fd < 0 ? PGINVALID_SOCKET : fd, timeout_ms,
	                             PG_WAIT_EXTENSION);
	if (happened & WL_LATCH_SET)
		ResetLatch(MyLatch);
	return (happened & WL_LATCH_SET) != 0;
}

static void
check_failure(const Relay *relay)
{
	uint64_t version;

	if (publisher_failed(relay->publisher))
		ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR),
		        errmsg("outbox relay could not make a message"),
		        errdetail("%s", publisher_last_error(relay->publisher, &version)));
}

/* One turn: gives when the next one is due. */
static int64_t
turn(Relay *relay)
{
	int64_t now_us = mq_clock_us();
	int64_t due_us;

	if (now_us >= parked_due_us(relay))
		load_parked(relay, now_us);
	if (canary_turn(&relay->canary, relay->publisher, mq_bytes_of(relay->exchange),
	                mq_bytes_of(relay->routing_key), now_us))
		look(relay);
	broker_step(relay->broker, now_us);
	due_us = publisher_step(relay->publisher, now_us);
	broker_flush(relay->broker);
	check_failure(relay);
	now_us = mq_clock_us();
	serve_request(relay, now_us);
	if (now_us >= save_due_us(relay))
		save(relay, now_us);
	if (now_us >= rotation_due_us(relay))
		rotate_if_due(relay, now_us);
	report_publisher(relay->slot, relay->publisher, broker_address(relay->broker));
	report_queue(relay->slot, broker_queue(relay->broker));
	due_us = Min(due_us, report_destinations(relay->slot, relay->publisher, now_us));
	due_us = Min(due_us, Min(broker_due_us(relay->broker), parked_due_us(relay)));
	due_us = Min(due_us, Min(save_due_us(relay), rotation_due_us(relay)));
	due_us = Min(due_us, canary_due_us(&relay->canary, relay->publisher));
	return Min(due_us, Min(wake_due_us(relay), relay->look_at_us));
}

/* Asked to end: what is confirmed is saved, so that the next relay repeats less. */
static void
leave_if_asked(Relay *relay)
{
	if (!ProcDiePending)
		return;
	if (store_is_dirty(relay->store))
		store_save_position(relay->store);
	broker_free(relay->broker);
	leave_for_restart(NULL);
}

static void
run(Relay *relay)
{
	for (;;)
	{
		int64_t due_us;

		leave_if_asked(relay);
		CHECK_FOR_INTERRUPTS();
		notice_reload(relay->slot);
		if (ConfigReloadPending)
			reload();
		obey_commands(relay);
		if (mq_clock_us() >= relay->look_at_us)
		{
			look(relay);
			relay->rotation_pending = relay->rotation_pending || rotate_has_work(relay->slot);
		}
		else if (mq_clock_us() >= wake_due_us(relay))
			look(relay);
		due_us = turn(relay);
		if (wait_until(relay, due_us))
			relay->woken = true;
	}
}

/* A copy, or somebody who called outbox.pause(): nothing is published until a command has this
 * relay look anew. outbox.adopt() and outbox.resume() send one. */
static void
stand_by(Relay *relay, RelayState state, const char *reason)
{
	report_state(relay->slot, state, reason);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		notice_reload(relay->slot);
		if (ConfigReloadPending)
			reload();
		obey_commands(relay);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOOK_US / 1000,
		                 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

/* Tables of another version may have other columns; ALTER EXTENSION has a new relay started. */
static void
check_version(Relay *relay)
{
	const char *problem;

	StartTransactionCommand();
	problem = version_problem();
	if (problem != NULL)
		problem = MemoryContextStrdup(TopMemoryContext, problem);
	CommitTransactionCommand();
	if (problem != NULL)
		leave_unwanted(relay->slot, problem);
}

static bool
extension_is_there(void)
{
	bool there;

	StartTransactionCommand();
	there = OidIsValid(event_table_oid(0));
	CommitTransactionCommand();
	return there;
}

/* DROP EXTENSION while a position is being saved fails that, and is no failure. */
static void
run_while_wanted(Relay *relay)
{
	PG_TRY();
	{
		run(relay);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(TopMemoryContext);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		if (!extension_is_there())
			leave_for_good();
		ReThrowError(error);
	}
	PG_END_TRY();
}

void
outbox_relay_main(Datum main_arg)
{
	Oid         database = DatumGetObjectId(main_arg);
	Relay      *relay;
	const char *reason = NULL;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	relay = MemoryContextAllocZero(TopMemoryContext, sizeof(*relay));
	relay->slot = attach_relay(database);
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	pin_settings();
	reload_remember();
	if (!extension_is_there())
		leave_for_good();
	if (setting_run_on[0] != '\0' && strcmp(setting_run_on, cluster_name) != 0)
		leave_unwanted(relay->slot, "outbox.run_on names another cluster_name than this server's");
	check_version(relay);
	switch (store_open(relay->slot, &relay->store, &reason))
	{
	case STORE_MISSING:
		leave_for_good();
		break;
	case STORE_COPIED:
		confirm_slot(relay->slot);
		stand_by(relay, RELAY_COPIED, reason);
		break;
	case STORE_PAUSED:
		confirm_slot(relay->slot);
		stand_by(relay, RELAY_PAUSED, reason);
		break;
	case STORE_OPENED:
		confirm_slot(relay->slot);
		relay_start(relay);
		run_while_wanted(relay);
		break;
	}
}
