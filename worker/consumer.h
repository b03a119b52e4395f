/*
 * consumer.h
 *    The broker's side of the worker: from a queue to deliveries, and acknowledgements back.
 *
 * Connects for ever: to the URLs in turn, declares what is missing, and consumes while it is wanted
 * to. Wanted no more (Redis is away, the worker stops), it cancels its consumer on the same
 * channel: deliveries are kept, and their acknowledgements still count.
 *
 * When the channel is gone, so is every delivery of it: the broker sends them again. The owner
 * hears of it (CONSUMER_EVENT_LOST) and forgets its work; a late consumer_done does no harm.
 */
#ifndef WORKER_CONSUMER_H
#define WORKER_CONSUMER_H

#include "wire/session.h"
#include "worker/config.h"
#include "worker/tags.h"

typedef struct Consumer Consumer;

typedef enum ConsumerState
{
	CONSUMER_WAITING,    /* for the next try; next: CONNECTING */
	CONSUMER_CONNECTING, /* next: DECLARING, PAUSED, WAITING */
	CONSUMER_DECLARING,  /* next: PAUSED, WAITING */
	CONSUMER_PAUSED,     /* the channel is there; next: STARTING, WAITING */
	CONSUMER_STARTING,   /* qos and consume are sent; next: CONSUMING, WAITING */
	CONSUMER_CONSUMING,  /* next: CANCELLING, WAITING */
	CONSUMER_CANCELLING  /* next: PAUSED, WAITING */
} ConsumerState;

typedef enum ConsumerEventKind
{
	CONSUMER_EVENT_DELIVERY,
	CONSUMER_EVENT_LOST /* or could not be reached: text says why; all deliveries are void */
} ConsumerEventKind;

/* Until the next call with this consumer. */
typedef struct ConsumerEvent
{
	ConsumerEventKind kind;
	TagRef            ref;
	const MqEvent    *message; /* DELIVERY */
	const char       *text;    /* LOST */
} ConsumerEvent;

/* config: borrowed for the consumer's life. NULL: out of memory. */
Consumer *consumer_new(const WorkerConfig *config, uint64_t seed);

/* Says goodbye if the socket takes it. */
void consumer_free(Consumer *consumer);

/* Moves bytes, connects when it is time. */
void consumer_step(Consumer *consumer, int64_t now_us);

/* Something changed that may help: tries again at once, if it waits. */
void consumer_hurry(Consumer *consumer);

/* The next event; false: none. */
bool consumer_next(Consumer *consumer, int64_t now_us, ConsumerEvent *event);

/* Whether it should consume; begins or cancels where that is not so. */
void consumer_want(Consumer *consumer, bool wanted, int64_t now_us);

/* Back-pressure: read the socket, or leave it to fill. */
void consumer_set_reading(Consumer *consumer, bool reading);

/* The work of a delivery is done. */
void consumer_done(Consumer *consumer, TagRef ref);

/* Asks how many messages wait in the queue, if it can; consumer_queue_messages tells later. */
bool consumer_can_ask_queue(const Consumer *consumer);
void consumer_ask_queue(Consumer *consumer);

/* Sends the acknowledgements that may be sent. */
void consumer_ack(Consumer *consumer);

/* Returns every delivery to the queue, with one basic.nack. */
void consumer_give_back(Consumer *consumer);

ConsumerState consumer_state(const Consumer *consumer);
size_t        consumer_outstanding(const Consumer *consumer);    /* deliveries */
int64_t       consumer_queue_messages(const Consumer *consumer); /* -1: not known */

/* No channel is open: what consumer_next tells then is no work, so take it whatever the load. */
bool consumer_is_cut(const Consumer *consumer);

/* Everything said has left; nothing more comes unless asked for. */
bool consumer_is_quiet(const Consumer *consumer);

/* "host:port/vhost" of the broker it is connected to, or tries. */
const char *consumer_broker(const Consumer *consumer);

int      consumer_fd(const Consumer *consumer);
unsigned consumer_wants(const Consumer *consumer); /* STREAM_WANT_* */
int64_t  consumer_due_us(const Consumer *consumer);

#endif
