/*
 * broker.h
 *    What the programs of this folder ask of RabbitMQ, on 127.0.0.1 and BENCH_AMQP_PORT. One channel, 1.
 *    Errors end the program.
 */
#ifndef BENCH_BROKER_H
#define BENCH_BROKER_H

#include <amqp.h>
#include <stdbool.h>
#include <stdint.h>

#define BROKER_QUEUE "cache-invalidation"

amqp_connection_state_t broker_connect(void);
void                    broker_close(amqp_connection_state_t broker);
void                    broker_check(amqp_connection_state_t broker, const char *what);

void    broker_declare(amqp_connection_state_t broker, const char *queue);
int64_t broker_length(amqp_connection_state_t broker, const char *queue);
void    broker_purge(amqp_connection_state_t broker, const char *queue);

/* Prefetch: how many may be unacknowledged. */
void broker_consume(amqp_connection_state_t broker, const char *queue, int prefetch, bool no_ack);

/* Waits for the next message; the caller destroys it. */
void broker_take(amqp_connection_state_t broker, amqp_envelope_t *message);

/* From now on what is published is confirmed. */
void broker_confirms(amqp_connection_state_t broker);

/* To BROKER_QUEUE: durable, mandatory, as the relay publishes. */
void broker_publish(amqp_connection_state_t broker, const char *body, size_t size);

/* The next confirm: up to which tag, if `multiple`, or of which. False: none within this time. */
bool broker_confirm(amqp_connection_state_t broker, int64_t wait_us, uint64_t *tag, bool *multiple);

/* Waits until so many more messages are confirmed; tags are counted from `first`. */
void broker_confirm_all(amqp_connection_state_t broker, uint64_t first, int count);

#endif
