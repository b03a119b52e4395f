/*
 * queue_status.c
 *    What lies behind outbox.queue: how long the queue of the invalidations is, and who consumes it.
 *
 * Only the relay talks to the broker, and it asks only when a monitor wants to know: so an idle relay
 * that nobody watches sleeps on. Whoever finds the figures older than QUEUE_FRESH_S has it ask and waits
 * for the answer; while an answer is overdue nobody waits for it a second time.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "queue_status.h"
#include "settings.h"
#include "status.h"

#define ANSWER_LIMIT_MS 250
#define REFUSED_FRESH_S 30 /* a look that fails costs the relay its channel */

PG_FUNCTION_INFO_V1(outbox_queue_status);

enum
{
	STATUS_QUEUE,
	STATUS_MESSAGES,
	STATUS_CONSUMERS,
	STATUS_LOOKED_AT,
	STATUS_PROBLEM,
	STATUS_COLUMNS
};

static void
copy_queue(OutboxSlot *slot, SharedQueue *queue)
{
	LWLockAcquire(&slot->text_lock, LW_SHARED);
	*queue = slot->queue;
	LWLockRelease(&slot->text_lock);
}

static bool
is_fresh(const SharedQueue *queue, TimestampTz now)
{
	int64 fresh_s = queue->problem[0] == '\0' ? QUEUE_FRESH_S : REFUSED_FRESH_S;
	int64 age_us = now - queue->looked_at;

	/* Of the future: the clock was set back. */
	return age_us > -USECS_PER_SEC && age_us < fresh_s * USECS_PER_SEC;
}

/* Can the relay ask? A broker that blocks publishing reads nothing from us. */
static bool
is_connected(OutboxSlot *slot)
{
	switch ((RelayState) pg_atomic_read_u32(&slot->state))
	{
	case RELAY_IDLE:
	case RELAY_PUBLISHING:
		return true;
	case RELAY_NOT_RUNNING:
	case RELAY_STARTING:
	case RELAY_CONNECTING:
	case RELAY_BLOCKED:
	case RELAY_PAUSED:
	case RELAY_COPIED:
	case RELAY_WAITING:
		break;
	}
	return false;
}

/* Until there is a newer answer, or the time is over. */
static void
wait_for_answer(OutboxSlot *slot, TimestampTz before, SharedQueue *queue)
{
	TimestampTz until = GetCurrentTimestamp() + ANSWER_LIMIT_MS * INT64CONST(1000);
	long        left_ms = ANSWER_LIMIT_MS;

	ConditionVariablePrepareToSleep(&slot->served_changed);
	copy_queue(slot, queue);
	while (queue->looked_at == before && left_ms > 0 && left_ms <= ANSWER_LIMIT_MS)
	{
		(void) ConditionVariableTimedSleep(&slot->served_changed, left_ms, PG_WAIT_EXTENSION);
		copy_queue(slot, queue);
		left_ms = (long) ((until - GetCurrentTimestamp()) / 1000);
	}
	ConditionVariableCancelSleep();
}

/* Has the relay ask. */
static void
ask(OutboxSlot *slot, TimestampTz now, SharedQueue *queue)
{
	bool overdue = queue->asked_at > queue->looked_at && now >= queue->asked_at &&
	               now - queue->asked_at > ANSWER_LIMIT_MS * INT64CONST(1000);

	LWLockAcquire(&slot->text_lock, LW_EXCLUSIVE);
	slot->queue.asked_at = now;
	LWLockRelease(&slot->text_lock);
	shmem_command_relay(OUTBOX_COMMAND_QUEUE);
	if (!overdue)
		wait_for_answer(slot, queue->looked_at, queue);
}

QueueKnowledge
queue_look(OutboxSlot *slot, SharedQueue *queue)
{
	TimestampTz now = GetCurrentTimestamp();

	memset(queue, 0, sizeof(*queue));
	if (setting_invalidation_exchange[0] != '\0' && !setting_declare_topology)
		return QUEUE_FOREIGN;
	if (slot == NULL || !is_connected(slot))
		return QUEUE_UNKNOWN;
	copy_queue(slot, queue);
	if (!is_fresh(queue, now))
		ask(slot, now, queue);
	if (!is_fresh(queue, GetCurrentTimestamp()))
		return QUEUE_UNKNOWN;
	return queue->problem[0] == '\0' ? QUEUE_KNOWN : QUEUE_REFUSED;
}

Datum
outbox_queue_status(PG_FUNCTION_ARGS)
{
	TupleDesc      type = status_row_type(fcinfo);
	Datum          values[STATUS_COLUMNS] = {0};
	bool           nulls[STATUS_COLUMNS] = {false};
	SharedQueue    queue;
	QueueKnowledge known = queue_look(shmem_mine(), &queue);

	values[STATUS_QUEUE] = CStringGetTextDatum(setting_queue);
	nulls[STATUS_MESSAGES] = nulls[STATUS_CONSUMERS] = known != QUEUE_KNOWN;
	values[STATUS_MESSAGES] = Int64GetDatum(queue.messages);
	values[STATUS_CONSUMERS] = Int64GetDatum(queue.consumers);
	status_set_time(values, nulls, STATUS_LOOKED_AT, queue.looked_at);
	nulls[STATUS_PROBLEM] = known != QUEUE_REFUSED;
	values[STATUS_PROBLEM] = CStringGetTextDatum(queue.problem);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(type, values, nulls)));
}
