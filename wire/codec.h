/*
 * codec.h
 *    AMQP frames into a buffer: methods, properties and tables encoded by rabbitmq-c.
 *    Private to wire/.
 */
#ifndef MQ_CODEC_H
#define MQ_CODEC_H

#include "error.h"
#include "message.h"

#include <stdint.h>

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#else
#include <amqp.h>
#include <amqp_framing.h>
#endif

#define FRAME_HEADER_BYTES 7   /* type, channel, size */
#define FRAME_OVERHEAD_BYTES 8 /* with the end octet */
#define FRAME_MAX_BYTES 131072 /* what we ask for; RabbitMQ's default */
#define FRAME_MIN_BYTES 4096   /* no broker may ask for less: AMQP 0-9-1, frame-min-size */

/* Appends a method frame. method: an amqp_..._t of that id. MQ_OK, MQ_INVALID or MQ_NOMEM. */
MqResult codec_append_method(MqBuffer *out, uint16_t channel, amqp_method_number_t id, void *method,
                             MqError *error);

/* Appends the content header and body frames of a message whose properties are encoded in raw.
 * frame_max: as negotiated. */
MqResult codec_append_content(MqBuffer *out, uint16_t channel, uint32_t frame_max, MqBytes raw,
                              MqBytes body, MqError *error);

/* Encodes properties (flags and values) behind what out holds. pool: for the tables. */
MqResult codec_append_properties(MqBuffer *out, amqp_pool_t *pool, const MqProperties *properties,
                                 MqError *error);

/* Appends a heartbeat frame. */
MqResult codec_append_heartbeat(MqBuffer *out);

/* Fields as rabbitmq-c's table, its entries in pool, its strings borrowed. */
MqResult codec_table(amqp_pool_t *pool, const MqField *fields, size_t count, amqp_table_t *table,
                     MqError *error);

static inline amqp_bytes_t
codec_bytes(MqBytes bytes)
{
	return (amqp_bytes_t){.len = bytes.size, .bytes = (void *) (uintptr_t) bytes.data};
}

#endif
