/*
 * consumer.h
 *    What workers report of themselves: shared memory behind outbox.consumer.
 */
#ifndef OUTBOX_CONSUMER_H
#define OUTBOX_CONSUMER_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* For shmem.c: how much to ask for, and to make it ready (under AddinShmemInitLock). tranche: of the
 * lock in it. */
Size consumer_shmem_size(void);
void consumer_shmem_startup(int tranche);

/* It reports each second. */
#define CONSUMER_SILENT_S 10

/* Those in the same condition, and one of them. */
typedef struct ConsumerGroup
{
	int         count;
	TimestampTz since;
	char        name[256];
	char        state[64];
	char        last_error[512];
} ConsumerGroup;

typedef struct ConsumersSeen
{
	ConsumerGroup consuming;
	ConsumerGroup waiting;   /* they report, and do not consume; the longest is named */
	ConsumerGroup silent;    /* no report for CONSUMER_SILENT_S; the one heard last is named */
	ConsumerGroup ended;     /* their last report was "stopping" */
	TimestampTz   canary_at; /* the newest that any of them saw; 0: none */
	double        canary_delay_ms;
} ConsumersSeen;

/* How this database's workers are. */
void consumers_look(TimestampTz now, ConsumersSeen *seen);

#endif
