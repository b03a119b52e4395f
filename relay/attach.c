/*
 * attach.c
 *    Taking and leaving a slot.
 *
 * A relay that ends by an ERROR is started again after RESTART_AFTER_US; one that left on purpose
 * at once, or never.
 */
#include "postgres.h"

#include "relay/attach.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "relay/reporting.h"
#include "storage/ipc.h"
#include "wire/stream.h"

#define RESTART_AFTER_US INT64CONST(1000000)

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
		attached->start_after_us = left_on_purpose ? 0 : mq_clock_us() + RESTART_AFTER_US;
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
	uint32      number;

	memcpy(&number, MyBgworkerEntry->bgw_extra, sizeof(number));
	if (slot != NULL)
	{
		LWLockAcquire(&outbox_shared->lock, LW_EXCLUSIVE);
		mine = slot->database == database && slot->number == number && slot->relay_pid == 0 &&
		       slot->holder_pid == 0;
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

/* The reason why the last relay left, which has connected to nothing since? */
static bool
is_known(OutboxSlot *slot, const char *reason)
{
	bool known;

	LWLockAcquire(&slot->text_lock, LW_SHARED);
	known = strcmp(slot->last_error, reason) == 0 && slot->connected_at <= slot->last_error_at;
	LWLockRelease(&slot->text_lock);
	return known;
}

void
notice_reload(OutboxSlot *slot)
{
	uint32 reloads = pg_atomic_read_u32(&outbox_shared->reloads);

	if (reloads == slot->reloads)
		return;
	slot->reloads = reloads;
	ConfigReloadPending = true;
}

void
leave_unwanted(OutboxSlot *slot, const char *reason)
{
	report_state(slot, RELAY_NOT_RUNNING, is_known(slot, reason) ? NULL : reason);
	LWLockAcquire(&outbox_shared->lock, LW_EXCLUSIVE);
	/* A reload that came meanwhile may be the cure: the next relay is to see it. */
	if (!ConfigReloadPending && pg_atomic_read_u32(&outbox_shared->reloads) == slot->reloads)
		slot->wanted = false;
	slot->confirmed = true;
	LWLockRelease(&outbox_shared->lock);
	left_on_purpose = true;
	proc_exit(0);
}
