/*
 * launcher.c
 *    Starts relays and starts them again.
 *
 * At server start (after recovery, so on a standby at its promotion) every connectable database
 * that is no template gets a relay as a probe, one after the other: whether the extension is there
 * can only be seen from inside. A relay that finds none frees its slot and ends. Later on slots
 * come from commits of CREATE EXTENSION (shmem_want).
 *
 * Sleeps without a time limit unless a start is due; woken by its latch: slots that are wanted,
 * relays that end, reloads. Connected to no database, so that it stands in nobody's way.
 */
#include "postgres.h"

#include "relay/launcher.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "extension/shmem.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "relay/databases.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "wire/stream.h"

#define NO_WORKER_RETRY_US INT64CONST(10000000) /* max_worker_processes is used up */
#define HOLDER_LOOK_US                                                                             \
	INT64CONST(1000000) /* does the backend that keeps a relay away still live? */
#define NEVER_US PG_INT64_MAX

/* What this launcher started, by slot. */
static BackgroundWorkerHandle *handles[OUTBOX_MAX_DATABASES];

/* By slot: the last try to start its relay found no free worker slot. */
static bool starved[OUTBOX_MAX_DATABASES];

/* Databases that are still to be probed. */
static List       *unprobed = NIL;
static OutboxSlot *probing = NULL;

void
relay_init(void)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = 5,
		.bgw_library_name = "pg_outbox",
		.bgw_function_name = "outbox_launcher_main",
		.bgw_name = "pg_outbox launcher",
		.bgw_type = "pg_outbox launcher",
	};

	databases_init();
	if (!IsBinaryUpgrade)
		RegisterBackgroundWorker(&worker);
}

/* Calls keep for each database that a relay could connect to. */
static List *
list_databases(void)
{
	MemoryContext caller = CurrentMemoryContext;
	List         *databases = NIL;
	Relation      relation;
	TableScanDesc scan;
	HeapTuple     tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		if (database->datallowconn && !database->datistemplate)
		{
			MemoryContext transaction = MemoryContextSwitchTo(caller);

			databases = lappend_oid(databases, database->oid);
			MemoryContextSwitchTo(transaction);
		}
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	return databases;
}

static void
look_at_all_databases(void)
{
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

	list_free(unprobed);
	unprobed = list_databases();
	MemoryContextSwitchTo(caller);
}

static bool
is_running(int slot_number)
{
	pid_t           pid;
	BgwHandleStatus status;

	if (handles[slot_number] == NULL)
		return false;
	status = GetBackgroundWorkerPid(handles[slot_number], &pid);
	if (status == BGWH_STARTED || status == BGWH_NOT_YET_STARTED)
		return true;
	pfree(handles[slot_number]);
	handles[slot_number] = NULL;
	return false;
}

/* Whoever kept relays away and died without saying so keeps them away no more. */
static void
drop_dead_holder(OutboxSlot *slot)
{
	LWLockAcquire(&outbox_shared->lock, LW_EXCLUSIVE);
	if (slot->holder_pid != 0 && BackendPidGetProc(slot->holder_pid) == NULL)
		slot->holder_pid = 0;
	LWLockRelease(&outbox_shared->lock);
}

/* The database of a slot whose relay is to be started now; InvalidOid: none is. *due_us becomes the
 * time at which a start becomes due, if that is earlier. */
static Oid
start_is_due(int slot_number, int64 now_us, int64 *due_us)
{
	OutboxSlot *slot = &outbox_shared->slots[slot_number];
	Oid         database = InvalidOid;
	int64       at_us;

	LWLockAcquire(&outbox_shared->lock, LW_SHARED);
	at_us = slot->start_after_us;
	/* A holder that is terminated says nothing. */
	if (slot->holder_pid != 0)
		at_us = Max(at_us, now_us + HOLDER_LOOK_US);
	if (!slot->wanted)
		starved[slot_number] = false;
	else if (OidIsValid(slot->database) && slot->relay_pid == 0)
	{
		if (at_us <= now_us)
			database = slot->database;
		else
			*due_us = Min(*due_us, at_us);
	}
	LWLockRelease(&outbox_shared->lock);
	return database;
}

static bool
any_is_starved(void)
{
	for (int i = 0; i < OUTBOX_MAX_DATABASES; i++)
	{
		if (starved[i])
			return true;
	}
	return false;
}

/* The log has it once for as long as it lasts; the view of each database, too. */
static void
start_failed(int slot_number, int64 now_us, int64 *due_us)
{
	OutboxSlot *slot = &outbox_shared->slots[slot_number];

	if (!any_is_starved())
		ereport(LOG, errmsg("could not start an outbox relay"),
		        errdetail("No background worker slot is free."),
		        errhint("Raise max_worker_processes. Events are recorded and wait."));
	if (!starved[slot_number])
	{
		LWLockAcquire(&slot->text_lock, LW_EXCLUSIVE);
		strlcpy(slot->last_error,
		        "no background worker slot is free for the relay: raise max_worker_processes",
		        sizeof(slot->last_error));
		slot->last_error_at = GetCurrentTimestamp();
		LWLockRelease(&slot->text_lock);
	}
	starved[slot_number] = true;
	LWLockAcquire(&outbox_shared->lock, LW_EXCLUSIVE);
	slot->start_after_us = now_us + NO_WORKER_RETRY_US;
	LWLockRelease(&outbox_shared->lock);
	*due_us = Min(*due_us, now_us + NO_WORKER_RETRY_US);
}

static bool
start_relay(int slot_number, Oid database)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_library_name = "pg_outbox",
		.bgw_function_name = "outbox_relay_main",
		.bgw_name = "pg_outbox relay",
		.bgw_type = "pg_outbox relay",
		.bgw_main_arg = ObjectIdGetDatum(database),
		.bgw_notify_pid = MyProcPid,
	};
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
	bool          started;

	LWLockAcquire(&outbox_shared->lock, LW_EXCLUSIVE);
	outbox_shared->slots[slot_number].reloads = pg_atomic_read_u32(&outbox_shared->reloads);
	memcpy(worker.bgw_extra, &outbox_shared->slots[slot_number].number, sizeof(uint32));
	LWLockRelease(&outbox_shared->lock);
	started = RegisterDynamicBackgroundWorker(&worker, &handles[slot_number]);
	MemoryContextSwitchTo(caller);
	return started;
}

/* Is it still there? Whoever dropped it may not have passed our hooks. */
static bool
database_exists(Oid database)
{
	List *databases = list_databases();
	bool  exists = list_member_oid(databases, database);

	list_free(databases);
	return exists;
}

/* Where a relay has ended its worker slot may be what others wait for. */
static void
retry_starved(void)
{
	bool ended = false;

	for (int i = 0; i < OUTBOX_MAX_DATABASES; i++)
		ended = (handles[i] != NULL && !is_running(i)) || ended;
	if (!ended)
		return;
	LWLockAcquire(&outbox_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < OUTBOX_MAX_DATABASES; i++)
	{
		if (starved[i])
			outbox_shared->slots[i].start_after_us = 0;
	}
	LWLockRelease(&outbox_shared->lock);
}

/* Starts what is due. Gives when the next start becomes due; NEVER_US: none will by itself. */
static int64
start_relays(void)
{
	int64 now_us = mq_clock_us();
	int64 due_us = NEVER_US;

	retry_starved();
	for (int i = 0; i < OUTBOX_MAX_DATABASES; i++)
	{
		OutboxSlot *slot = &outbox_shared->slots[i];
		Oid         database;

		if (is_running(i))
			continue;
		drop_dead_holder(slot);
		database = start_is_due(i, now_us, &due_us);
		if (!OidIsValid(database))
			continue;
		if (!database_exists(database))
			shmem_forget(database);
		else if (!start_relay(i, database))
			start_failed(i, now_us, &due_us);
		else
			starved[i] = false;
	}
	return due_us;
}

/* Has the present probe found the extension, or gone? */
static bool
probe_is_over(void)
{
	int  number;
	bool over, later;

	if (probing == NULL)
		return true;
	number = (int) (probing - outbox_shared->slots);
	LWLockAcquire(&outbox_shared->lock, LW_SHARED);
	over = probing->confirmed || !OidIsValid(probing->database);
	later = probing->start_after_us > 0;
	LWLockRelease(&outbox_shared->lock);
	if (over)
		return true;
	/* Ended without finding out: it is started again, and another database may be looked at. */
	return !is_running(number) && later;
}

/* One database after the other, so that a server of a thousand needs one worker for it. */
static void
probe_next(void)
{
	while (unprobed != NIL && probe_is_over())
	{
		Oid database = linitial_oid(unprobed);

		unprobed = list_delete_first(unprobed);
		probing = shmem_want(database);
		if (probing == NULL)
			ereport(LOG, errmsg("an outbox is without a relay"),
			        errdetail("All %d slots are taken.", OUTBOX_MAX_DATABASES));
	}
}

static void
forget_launcher(int code, Datum arg)
{
	(void) code;
	(void) arg;
	LWLockAcquire(&outbox_shared->lock, LW_EXCLUSIVE);
	outbox_shared->launcher_latch = NULL;
	LWLockRelease(&outbox_shared->lock);
}

static void
wait_for_work(int64 due_us)
{
	int  events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
	long timeout_ms = -1;

	if (due_us != NEVER_US)
	{
		events |= WL_TIMEOUT;
		timeout_ms = (long) (Max(due_us - mq_clock_us(), 0) / 1000) + 1;
	}
	(void) WaitLatch(MyLatch, events, timeout_ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
}

/* A relay that was being made when SIGHUP came has not seen it, and has the old settings. */
static void
tell_relays_of_reload(void)
{
	LWLockAcquire(&outbox_shared->lock, LW_EXCLUSIVE);
	pg_atomic_fetch_add_u32(&outbox_shared->reloads, 1);
	for (int i = 0; i < OUTBOX_MAX_DATABASES; i++)
	{
		if (outbox_shared->slots[i].relay_latch != NULL)
			SetLatch(outbox_shared->slots[i].relay_latch);
	}
	LWLockRelease(&outbox_shared->lock);
}

void
outbox_launcher_main(Datum main_arg)
{
	(void) main_arg;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	LWLockAcquire(&outbox_shared->lock, LW_EXCLUSIVE);
	outbox_shared->launcher_latch = MyLatch;
	LWLockRelease(&outbox_shared->lock);
	before_shmem_exit(forget_launcher, (Datum) 0);
	look_at_all_databases();
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			tell_relays_of_reload();
			look_at_all_databases();
		}
		probe_next();
		wait_for_work(start_relays());
	}
}
