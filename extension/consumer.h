/*
 * consumer.h
 *    What workers report of themselves: shared memory behind outbox.consumer.
 */
#ifndef OUTBOX_CONSUMER_H
#define OUTBOX_CONSUMER_H

#include "postgres.h"

/* For shmem.c: how much to ask for, and to make it ready (under AddinShmemInitLock). tranche: of the
 * lock in it. */
Size consumer_shmem_size(void);
void consumer_shmem_startup(int tranche);

#endif
