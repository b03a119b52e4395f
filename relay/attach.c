/*
 * attach.c
 *    Taking and leaving a slot.
 *
 * A relay that ends by an ERROR is started again after RESTART_AFTER_MS; one that left on purpose
 * at once, or never.
 */
#include "postgres.h"

#include "relay/attach.h"

#include "miscadmin.h"
#include "relay/reporting.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#define RESTART_AFTER_MS 1000

static OutboxSlot *attached = NULL;
static Oid         attached_database;
static bool        left_on_purpose = false;

static void
detach(int code, Datum arg)
{
	(void) code;
	(void) arg;
	LWLockAcquire(&outbox_shared->lock, LW_EXCLUSIVE);
	if (attached->relay_pid == MyProcPid)
	{
		attached->relay_pid = 0;
		attached->relay_latch = NULL;
		attached->start_after = left_on_purpose
									? 0
									: TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
																  RESTART_AFTER_MS);
		pg_atomic_write_u32(&attached->state, RELAY_NOT_RUNNING);
	}
	if (outbox_shared->launcher_latch != NULL)
		SetLatch(outbox_shared->launcher_latch);
	LWLockRelease(&outbox_shared->lock);
}

OutboxSlot *
attach_relay(Oid database)
{
	OutboxSlot *slot = shmem_find(database);
	bool        mine = false;

	if (slot != NULL)
	{
		LWLockAcquire(&outbox_shared->lock, LW_EXCLUSIVE);
		mine = slot->database == database && slot->relay_pid == 0 && slot->holder_pid == 0;
		if (mine)
		{
			slot->relay_pid = MyProcPid;
			slot->relay_latch = MyLatch;
			pg_atomic_write_u32(&slot->state, RELAY_STARTING);
		}
		LWLockRelease(&outbox_shared->lock);
	}
	if (!mine)
		proc_exit(0);
	attached = slot;
	attached_database = database;
	before_shmem_exit(detach, (Datum) 0);
	return slot;
}

void
confirm_slot(OutboxSlot *slot)
{
	LWLockAcquire(&outbox_shared->lock, LW_EXCLUSIVE);
	slot->confirmed = true;
	if (outbox_shared->launcher_latch != NULL)
		SetLatch(outbox_shared->launcher_latch);
	LWLockRelease(&outbox_shared->lock);
}

void
leave_for_restart(const char *reason)
{
	if (reason != NULL)
		ereport(LOG, errmsg("%s", reason));
	left_on_purpose = true;
	proc_exit(0);
}

void
leave_for_good(void)
{
	left_on_purpose = true;
	shmem_forget(attached_database);
	proc_exit(0);
}

void
leave_unwanted(OutboxSlot *slot, const char *reason)
{
	report_state(slot, RELAY_NOT_RUNNING, reason);
	LWLockAcquire(&outbox_shared->lock, LW_EXCLUSIVE);
	slot->wanted = false;
	slot->confirmed = true;
	LWLockRelease(&outbox_shared->lock);
	left_on_purpose = true;
	proc_exit(0);
}
