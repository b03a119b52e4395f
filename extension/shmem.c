/*
 * shmem.c
 *    The shared slots: finding, making and freeing them, and the latches behind them.
 *
 * Every change of a slot's owner fields happens under one LWLock, which is taken at starts, stops
 * and commits that recorded something, for a moment each. A latch read under it may belong to a
 * process that has just ended: setting it is harmless.
 */
#include "postgres.h"

#include "extension/shmem.h"

#include "extension/consumer.h"
#include "extension/event.h"
#include "extension/ids.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

OutboxShared *outbox_shared = NULL;

static shmem_startup_hook_type previous_startup_hook = NULL;
static shmem_request_hook_type previous_request_hook = NULL;

/* This database's slot as last seen by this backend; NULL: there was none when so many had been
 * taken. */
static OutboxSlot *my_slot = NULL;
static uint32      my_taken = 0;

static void
shmem_request(void)
{
	if (previous_request_hook != NULL)
		previous_request_hook();
	RequestAddinShmemSpace(sizeof(OutboxShared));
	RequestAddinShmemSpace(consumer_shmem_size());
	RequestAddinShmemSpace(ids_shmem_size());
}

static void
slot_init(OutboxSlot *slot, int tranche)
{
	pg_atomic_init_u32(&slot->current_table, 0);
	pg_atomic_init_u32(&slot->state, RELAY_NOT_RUNNING);
	pg_atomic_init_u32(&slot->commands, 0);
	pg_atomic_init_u32(&slot->wake_wanted, 0);
	for (int i = 0; i < RELAY_COUNTERS; i++)
		pg_atomic_init_u64(&slot->counters[i], 0);
	pg_atomic_init_u64(&slot->requested, 0);
	pg_atomic_init_u64(&slot->served, 0);
	ConditionVariableInit(&slot->served_changed);
	LWLockInitialize(&slot->text_lock, tranche);
}

static void
shmem_startup(void)
{
	bool found;
	int  tranche;

	if (previous_startup_hook != NULL)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	outbox_shared = ShmemInitStruct("pg_outbox", sizeof(OutboxShared), &found);
	if (!found)
	{
		memset(outbox_shared, 0, sizeof(OutboxShared));
		tranche = LWLockNewTrancheId();
		LWLockInitialize(&outbox_shared->lock, tranche);
		pg_atomic_init_u32(&outbox_shared->taken, 1);
		outbox_shared->tranche = tranche;
		pg_atomic_init_u32(&outbox_shared->reloads, 0);
		for (int i = 0; i < OUTBOX_MAX_DATABASES; i++)
			slot_init(&outbox_shared->slots[i], tranche);
	}
	consumer_shmem_startup(outbox_shared->tranche);
	ids_shmem_startup(outbox_shared->tranche);
	LWLockRelease(AddinShmemInitLock);
	LWLockRegisterTranche(outbox_shared->tranche, "pg_outbox");
}

void
shmem_init(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = shmem_request;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}

/* Under the lock. */
static OutboxSlot *
find_slot(Oid database)
{
	for (int i = 0; i < OUTBOX_MAX_DATABASES; i++)
	{
		if (outbox_shared->slots[i].database == database)
			return &outbox_shared->slots[i];
	}
	return NULL;
}

OutboxSlot *
shmem_find(Oid database)
{
	OutboxSlot *slot;

	if (outbox_shared == NULL)
		return NULL;
	LWLockAcquire(&outbox_shared->lock, LW_SHARED);
	slot = find_slot(database);
	LWLockRelease(&outbox_shared->lock);
	return slot;
}

/* A free slot made ready for a database. Under the lock, exclusive. */
static OutboxSlot *
take_slot(Oid database)
{
	OutboxSlot *slot = find_slot(InvalidOid);

	if (slot == NULL)
		return NULL;
	slot->wanted = true;
	slot->confirmed = false;
	slot->holder_pid = slot->relay_pid = 0;
	slot->relay_latch = NULL;
	slot->start_after_us = 0;
	slot->broker[0] = slot->last_error[0] = '\0';
	slot->last_error_at = slot->connected_at = slot->last_confirmed_at = slot->stuck_since = 0;
	memset(&slot->queue, 0, sizeof(slot->queue));
	slot->position.valid = false;
	memset(slot->rotation_blocked_since, 0, sizeof(slot->rotation_blocked_since));
	pg_atomic_write_u32(&slot->current_table, 0);
	pg_atomic_write_u32(&slot->state, RELAY_NOT_RUNNING);
	pg_atomic_write_u32(&slot->commands, 0);
	for (int i = 0; i < RELAY_COUNTERS; i++)
		pg_atomic_write_u64(&slot->counters[i], 0);
	slot->database = database;
	slot->number = pg_atomic_add_fetch_u32(&outbox_shared->taken, 1);
	return slot;
}

OutboxSlot *
shmem_want(Oid database)
{
	OutboxSlot *slot;

	if (outbox_shared == NULL)
		return NULL;
	LWLockAcquire(&outbox_shared->lock, LW_EXCLUSIVE);
	slot = find_slot(database);
	if (slot == NULL)
		slot = take_slot(database);
	else
	{
		slot->wanted = true;
		slot->start_after_us = 0;
	}
	if (outbox_shared->launcher_latch != NULL)
		SetLatch(outbox_shared->launcher_latch);
	LWLockRelease(&outbox_shared->lock);
	return slot;
}

void
shmem_forget(Oid database)
{
	OutboxSlot *slot;

	if (outbox_shared == NULL)
		return;
	LWLockAcquire(&outbox_shared->lock, LW_EXCLUSIVE);
	slot = find_slot(database);
	if (slot != NULL)
	{
		slot->wanted = false;
		slot->database = InvalidOid;
	}
	LWLockRelease(&outbox_shared->lock);
}

OutboxSlot *
shmem_mine(void)
{
	uint32 taken;

	if (outbox_shared == NULL || !OidIsValid(MyDatabaseId))
		return NULL;
	/* Reading the field without the lock: an Oid is read whole, and a slot that has just changed
	 * hands costs one look-up. */
	if (my_slot != NULL && my_slot->database == MyDatabaseId)
		return my_slot;
	taken = pg_atomic_read_u32(&outbox_shared->taken);
	if (my_slot != NULL || my_taken != taken)
		my_slot = shmem_find(MyDatabaseId);
	my_taken = taken;
	return my_slot;
}

int
shmem_current_table(void)
{
	OutboxSlot *slot = shmem_mine();

	return slot == NULL ? 0 : (int) pg_atomic_read_u32(&slot->current_table);
}

void
shmem_prepare_wake(void)
{
	(void) shmem_mine();
}

/* The latch is fetched and set under the lock, so that its owner cannot end in between and a
 * stranger inherit it unseen. */
static void
set_relay_latch(OutboxSlot *slot)
{
	LWLockAcquire(&outbox_shared->lock, LW_SHARED);
	if (slot->relay_latch != NULL)
		SetLatch(slot->relay_latch);
	LWLockRelease(&outbox_shared->lock);
}

void
shmem_wake_relay(void)
{
	OutboxSlot *slot = shmem_mine();

	if (slot == NULL)
		return;
	pg_memory_barrier(); /* between what the relay is to see and the look for its wish */
	if (pg_atomic_read_u32(&slot->wake_wanted) != 0 &&
	    pg_atomic_exchange_u32(&slot->wake_wanted, 0) != 0)
		set_relay_latch(slot);
}

void
shmem_want_wake(OutboxSlot *slot)
{
	(void) pg_atomic_exchange_u32(&slot->wake_wanted, 1); /* a full barrier */
}

void
shmem_command_relay(uint32 command)
{
	OutboxSlot *slot = shmem_mine();

	if (slot == NULL)
		return;
	pg_atomic_fetch_or_u32(&slot->commands, command);
	set_relay_latch(slot);
}

void
shmem_wake_launcher(void)
{
	(void) shmem_want(MyDatabaseId);
}

const char *
relay_state_name(RelayState state)
{
	switch (state)
	{
	case RELAY_NOT_RUNNING:
		return "not running";
	case RELAY_STARTING:
		return "starting";
	case RELAY_CONNECTING:
		return "connecting";
	case RELAY_IDLE:
		return "idle";
	case RELAY_PUBLISHING:
		return "publishing";
	case RELAY_BLOCKED:
		return "blocked";
	case RELAY_PAUSED:
		return "paused";
	case RELAY_COPIED:
		return "copied";
	case RELAY_WAITING:
		return "waiting to reconnect";
	}
	return "not running";
}
