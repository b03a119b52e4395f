/*
 * headers.h
 *    The headers and properties of a message: checked at the call, so that none is refused later.
 *
 * Both are jsonb. Headers become an AMQP table: integers int64, other numbers double, then
 * booleans, strings, nested tables and arrays.
 */
#ifndef OUTBOX_HEADERS_H
#define OUTBOX_HEADERS_H

#include "postgres.h"

/* The member of stored properties that carries the content type of outbox.publish_bytes; callers
 * cannot give it themselves. */
#define PROPERTY_CONTENT_TYPE "content_type"

/* ERROR unless the jsonb (detoasted) can be the headers of a message. */
void headers_check(Datum headers);

/* ERROR unless the jsonb (detoasted) holds known properties with values that AMQP takes. */
void properties_check(Datum properties);

/* The headers with outbox.traceparent added, unless that is empty or they have one. 0: none. */
Datum headers_with_traceparent(Datum headers);

/* The properties with the content type added; either may be missing (0, NULL). 0: none. */
Datum properties_with_content_type(Datum properties, const char *content_type);

#endif
