/*
 * payload.h
 *    How large a message may be: outbox.max_payload.
 */
#ifndef OUTBOX_PAYLOAD_H
#define OUTBOX_PAYLOAD_H

#include "postgres.h"

/* ERROR where the payload is larger; size: as it goes out. */
void payload_check_size(size_t size);

/* The same for jsonb (detoasted), whose numbers may be far shorter than their text. */
void payload_check_jsonb(Datum payload);

#endif
