/*
 * xact.c
 *    What this session records, and what happens to it when its transaction ends.
 *
 * Rows are written as late as can be: at pre-commit or pre-prepare, when deferred triggers have
 * fired, so that one row holds all keys and ids are almost in the order of commit. An error there
 * aborts the transaction. After commit nothing may fail: one latch is set, memory is forgotten.
 *
 * Spilling. Beyond outbox.max_pending_keys entries or 16 MB, rows are written early. A row must
 * vanish with the subtransaction whose entries it carries, so
 *   - a call writes the section of its own subtransaction only, once that is worth a row;
 *   - the end of a subtransaction writes its section and its parent's, which share one fate from
 *     then on. They leave the journal when the subtransaction has committed: if it fails after all,
 *     its rows are gone and the parent's entries must not be.
 * A loop of EXCEPTION blocks so writes one row in a while, not one for each block. What memory may
 * hold beyond the limit is one small section for each level of nesting.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"

#include "compat.h"
#include "flush.h"
#include "pending.h"
#include "settings.h"
#include "shmem.h"
#include "version.h"
#include "xact.h"

#define MAX_PENDING_BYTES (16 * 1024 * 1024)
#define SPILL_KEYS 512 /* a section worth a row, over the limit */
#define SPILL_BYTES (256 * 1024)

/* Of the running transaction. */
static bool written;   /* rows were written: the relay has something to read */
static bool flushed;   /* pre-commit is over: what comes now is written at once */
static bool installed; /* CREATE EXTENSION pg_outbox */
static bool changed;   /* DROP EXTENSION pg_outbox, outbox.adopt() */
static bool parked;    /* dead letters were discarded or are to be tried again */

/* Written at the end of a subtransaction that has not committed yet; 0: none. */
static int    ending_level;
static uint64 ending_from;
static uint64 ending_to;

static bool
over_limit(void)
{
	return pending_count() >= (uint64) setting_max_pending_keys ||
	       pending_bytes() >= MAX_PENDING_BYTES;
}

static bool
worth_a_row(uint64 from)
{
	size_t bytes = 0;

	if (pending_count() - from >= (uint64) Min(SPILL_KEYS, setting_max_pending_keys))
		return true;
	for (uint64 i = from; i < pending_count() && bytes < SPILL_BYTES; i++)
		bytes += pending_entry(i)->bytes;
	return bytes >= SPILL_BYTES;
}

static void
write_entries(uint64 from, uint64 to)
{
	if (from == to)
		return;
	flush_write(from, to);
	written = true;
}

/* After something was added. */
static void
spill(void)
{
	uint64 from;

	if (!flushed && !over_limit())
		return;
	from = pending_section_start(GetCurrentTransactionNestLevel());
	if (!flushed && !worth_a_row(from))
		return;
	write_entries(from, pending_count());
	pending_remove(from, pending_count());
	if (flushed)
		shmem_prepare_wake();
}

bool
xact_may_record(const char *call)
{
	if (!setting_enabled)
		return false;
	PreventCommandDuringRecovery(call);
	PreventCommandIfReadOnly(call);
	PreventCommandIfParallelMode(call);
	version_check();
	return true;
}

void
xact_record_key(const char *key, int length)
{
	pending_add(PENDING_KEY, key, length);
	spill();
}

void
xact_record_pattern(const char *pattern, int length)
{
	pending_add(PENDING_PATTERN, pattern, length);
	spill();
}

void
xact_record_message(const EventRow *row)
{
	pending_add_message(row);
	spill();
}

uint64
xact_generation(void)
{
	return pending_generation();
}

void
xact_mark_installed(void)
{
	installed = true;
}

void
xact_mark_changed(void)
{
	changed = true;
}

void
xact_mark_parked(void)
{
	parked = true;
}

void
xact_mark_written(void)
{
	written = true;
}

/* Where the outbox was dropped meanwhile, its events are dropped with it: as if this transaction
 * had committed just before. */
static void
write_last(void)
{
	if (flush_last())
		written = true;
	else
		ereport(
			WARNING,
			errmsg(
				"events of this transaction were dropped together with the extension \"pg_outbox\""));
}

static void
flush_all(void)
{
	if (pending_count() > 0)
		write_last();
	pending_forget();
	if (written || installed || changed || parked)
		shmem_prepare_wake();
	flushed = true;
}

/* Nothing in here may fail: an ERROR after commit is a PANIC. */
static void
wake_others(void)
{
	if (written)
		shmem_wake_relay();
	if (changed)
		shmem_command_relay(OUTBOX_COMMAND_RESTART);
	if (parked)
		shmem_command_relay(OUTBOX_COMMAND_PARKED);
	if (installed || changed)
		shmem_wake_launcher();
}

static void
forget_all(void)
{
	pending_forget();
	written = flushed = installed = changed = parked = false;
	ending_level = 0;
}

static void
xact_ended(XactEvent event, void *arg)
{
	switch (event)
	{
	case XACT_EVENT_PRE_COMMIT:
	case XACT_EVENT_PRE_PREPARE:
		flush_all();
		break;
	case XACT_EVENT_COMMIT:
		wake_others();
		forget_all();
		break;
	case XACT_EVENT_PREPARE:
	case XACT_EVENT_ABORT:
	/* parallel workers record nothing: xact_may_record sees to it */
	case XACT_EVENT_PARALLEL_PRE_COMMIT:
	case XACT_EVENT_PARALLEL_COMMIT:
	case XACT_EVENT_PARALLEL_ABORT:
		forget_all();
		break;
	}
}

static void
subxact_ending(int nest_level)
{
	if (ending_level != 0 || pending_count() == 0 || !over_limit())
		return;
	ending_from = pending_section_start(nest_level - 1);
	ending_to = pending_count();
	if (ending_from == ending_to)
		return;
	write_entries(ending_from, ending_to);
	ending_level = nest_level;
}

static void
subxact_committed(int nest_level)
{
	if (ending_level == nest_level)
	{
		pending_remove(ending_from, ending_to);
		ending_level = 0;
	}
	pending_subcommit(nest_level);
}

static void
subxact_aborted(int nest_level)
{
	if (ending_level == nest_level)
		ending_level = 0;
	pending_subabort(nest_level);
}

static void
subxact_ended(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	switch (event)
	{
	case SUBXACT_EVENT_START_SUB:
		break;
	case SUBXACT_EVENT_PRE_COMMIT_SUB:
		subxact_ending(GetCurrentTransactionNestLevel());
		break;
	case SUBXACT_EVENT_COMMIT_SUB:
		subxact_committed(GetCurrentTransactionNestLevel());
		break;
	case SUBXACT_EVENT_ABORT_SUB:
		subxact_aborted(GetCurrentTransactionNestLevel());
		break;
	}
}

void
xact_init(void)
{
	RegisterXactCallback(xact_ended, NULL);
	RegisterSubXactCallback(subxact_ended, NULL);
}
