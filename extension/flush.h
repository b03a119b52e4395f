/*
 * flush.h
 *    Pending entries as rows of the outbox.
 */
#ifndef OUTBOX_FLUSH_H
#define OUTBOX_FLUSH_H

#include "postgres.h"

/* Writes the pending entries from `from` to `to` (exclusive) in the current subtransaction: keys
 * and patterns first, in rows of at most 256 kB, then messages in their order, a row each. The
 * journal is left as it is. ERROR where the extension is missing. */
void flush_write(uint64 from, uint64 to);

/* Writes all entries: the last that this transaction writes, see event_writer_tick. false: the
 * extension was dropped. */
bool flush_last(void);

#endif
