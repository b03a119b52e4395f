/*
 * reporting.h
 *    What the relay shows: its slot in shared memory, and one log line for each change.
 */
#ifndef OUTBOX_REPORTING_H
#define OUTBOX_REPORTING_H

#include "postgres.h"

#include "extension/shmem.h"
#include "relay/broker.h"
#include "relay/publisher.h"

/* Copies the publisher's state, counters and last error to the slot. Called each turn of the loop;
 * cheap where nothing changed. broker: where it is connected or tries to. */
void report_publisher(OutboxSlot *slot, const Publisher *publisher, const char *broker);

/* What the broker said of the queue, where that is new: wakes those who asked. Each turn, cheap. */
void report_queue(OutboxSlot *slot, BrokerQueue queue);

/* A state that the publisher knows nothing of, with its reason (may be NULL). Logged. */
void report_state(OutboxSlot *slot, RelayState state, const char *reason);

#endif
