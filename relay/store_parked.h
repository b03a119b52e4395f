/*
 * store_parked.h
 *    The relay's half of outbox.parked: setting events aside, reading them back, settling them.
 *
 * Calls that are not said to be part of a transaction run in one of their own. Names and reasons are
 * UTF-8; the table has the database's encoding. Waits for nobody: a row that a backend is about to
 * delete counts as there, and one that cannot be deleted at once stays, to be published once more.
 */
#ifndef OUTBOX_STORE_PARKED_H
#define OUTBOX_STORE_PARKED_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "relay/publisher.h"

typedef struct ParkedWriter ParkedWriter;

/* Part of a transaction with an active snapshot; opens the table. */
ParkedWriter *parked_writer_begin(void);

/* Sets the event of an outbox row aside. false: its id is there already. */
bool parked_writer_add(ParkedWriter *writer, TupleTableSlot *event, const ParkRange *range);

void parked_writer_end(ParkedWriter *writer);

/* PublisherSource.read_parked, but for the LSN. Events are allocated in `context`. */
size_t parked_read(MqBytes exchange, MqBytes routing_key, int64_t after, size_t limit,
                   MemoryContext context, const RelayEvent **events, bool *held);

/* PublisherSource.settle, is_parked, next_parked. */
void parked_settle(const ChunkEvent *events, size_t count, const char *reason);
bool parked_is(MqBytes exchange, MqBytes routing_key);
bool parked_next(bool begun, char *exchange, char *routing_key, int64_t *count);

/* Invalidations go where the settings say now, also those that were parked under others; but for those
 * that a backend is about to delete. */
void parked_retarget(MqBytes exchange, MqBytes routing_key);

/* Tells the publisher of all parked events: those parked first by name, as many as it takes. */
void parked_load(Publisher *publisher, int64_t now_us);

#endif
