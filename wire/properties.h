/*
 * properties.h
 *    A content header's properties as they came, read without decoding them.
 *
 * What arrives was written by anybody who may publish. Nested tables are skipped by their length,
 * so there is no recursion and no allocation; every length is checked against the bytes that are
 * there. AMQP 0-9-1 specification, sections 4.2.5 and 4.2.6.1.
 */
#ifndef MQ_PROPERTIES_H
#define MQ_PROPERTIES_H

#include "bytes.h"
#include "error.h"
#include "message.h"

#include <stdbool.h>
#include <stdint.h>

/* Property flags, in the order in which the values follow. */
#define PROPERTY_CONTENT_TYPE 0x8000u
#define PROPERTY_CONTENT_ENCODING 0x4000u
#define PROPERTY_HEADERS 0x2000u
#define PROPERTY_MESSAGE_ID 0x0080u
#define PROPERTY_USER_ID 0x0010u

/* Is it well formed as far as the top level goes? */
bool properties_valid(MqBytes raw);

/* A property that is a string, or the inside of the headers table (without its length). data NULL:
 * absent or malformed. flag: one of PROPERTY_*. */
MqBytes properties_get(MqBytes raw, unsigned flag);

/* A header that is an integer of any width. */
bool properties_header_int64(MqBytes raw, const char *name, int64_t *value);

/* Appends raw to out, its header `name` replaced or added as a long string, user_id left out.
 * MQ_OK, MQ_INVALID (raw is malformed) or MQ_NOMEM. */
MqResult properties_with_header(MqBytes raw, const char *name, MqBytes value, MqBuffer *out);

#endif
