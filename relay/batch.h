/*
 * batch.h
 *    Events to messages: keys of many transactions gathered without duplicates, other events one
 *    message each.
 *
 * The form of the messages is the public contract (docs/wire-format.md). Core: libc only; properties
 * are encoded by a function handed in. Memory: one message's keys, at most BATCH_MAX_BODY_BYTES.
 */
#ifndef OUTBOX_BATCH_H
#define OUTBOX_BATCH_H

#include "relay/unconfirmed.h"
#include "wire/message.h"

#include <stdbool.h>
#include <stdint.h>

#define BATCH_MAX_BODY_BYTES (1024 * 1024)
#define BATCH_MAX_KEYS 10000

/* One event of the outbox, all text in UTF-8, everything borrowed. */
typedef struct RelayEvent
{
	int64_t        id;
	int64_t        created_at_us; /* since 1970 */
	uint32_t       attempts; /* more than 0: it was set aside, and somebody has it tried again */
	bool           is_invalidation;
	const MqBytes *keys, *patterns; /* of an invalidation */
	size_t         key_count, pattern_count;
	MqBytes        traceparent;           /* of an invalidation; data NULL: none */
	MqBytes        exchange, routing_key; /* of a message, as the four below */
	MqProperties   properties;            /* the caller's: ours are added */
	MqBytes        body;
} RelayEvent;

/* Takes a finished message; its texts are borrowed until it returns. */
typedef MqResult (*BatchSink)(void *context, const OutMessage *message);

/* Encodes properties behind what raw holds. */
typedef MqResult (*BatchEncode)(void *context, const MqProperties *properties, MqBuffer *raw,
                                MqError *error);

typedef struct BatchOptions
{
	char        instance[64];          /* uuid */
	MqBytes     database;              /* name in UTF-8; must outlive the batch */
	MqBytes     exchange, routing_key; /* where invalidations go; must outlive the batch */
	size_t      max_keys;              /* 1 to BATCH_MAX_KEYS */
	BatchEncode encode;
	BatchSink   sink;
	void       *context; /* of both */
} BatchOptions;

typedef struct Batch Batch;

/* NULL: out of memory. */
Batch *batch_new(const BatchOptions *options);
void   batch_free(Batch *batch);

/* A window begins. lsn: as pg_lsn text, copied. */
void batch_begin(Batch *batch, uint64_t window, const char *lsn);

/* Adds one event; finished messages go to the sink. MQ_OK, or what sink or encode failed with: out
 * of memory; MQ_INVALID for headers that do not fit a frame, where the event made no message. */
MqResult batch_add(Batch *batch, const RelayEvent *event, MqError *error);

/* The window ends: what was gathered goes to the sink. */
MqResult batch_end(Batch *batch, MqError *error);

/* Keys left out since the last call because their message had them already. */
uint64_t batch_take_coalesced(Batch *batch);

#endif
