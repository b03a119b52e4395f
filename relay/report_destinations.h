/*
 * report_destinations.h
 *    What the relay shows of its destinations: rows behind outbox.destination, and one log line for each
 *    change.
 */
#ifndef OUTBOX_REPORT_DESTINATIONS_H
#define OUTBOX_REPORT_DESTINATIONS_H

#include "postgres.h"

#include "extension/shmem.h"
#include "relay/publisher.h"

/* Before the others: finds or makes the shared rows. */
void report_destinations_begin(OutboxSlot *slot);

/* Copies what changed, a few times a second at most. Gives when it wants to be called again. */
int64_t report_destinations(OutboxSlot *slot, const Publisher *publisher, int64_t now_us);

/* Copies it now: somebody waits for it. */
void report_destinations_now(OutboxSlot *slot, const Publisher *publisher, int64_t now_us);

/* PublisherSource.tell: into the log. */
void report_news(PublisherNews news, MqBytes exchange, MqBytes routing_key, const char *text);

#endif
