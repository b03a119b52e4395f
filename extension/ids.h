/*
 * ids.h
 *    Ids of events, in the order in which they are drawn, whoever draws them.
 */
#ifndef OUTBOX_IDS_H
#define OUTBOX_IDS_H

#include "postgres.h"

/* An id that is greater than all drawn before, in any session of this database, and never drawn
 * again. sequence: outbox.event_id_seq, of which the caller has locked a table; now and then it is
 * locked too. Works in a READ ONLY transaction; where it fails, a transaction that is made writable
 * here, or its savepoint, is over. */
int64 ids_draw(Oid sequence);

/* Shared memory: how much, and making it. */
Size ids_shmem_size(void);
void ids_shmem_startup(int tranche);

#endif
