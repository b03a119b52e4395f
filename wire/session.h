/*
 * session.h
 *    One AMQP 0-9-1 connection with one channel, as a state machine over a Stream.
 *
 * rabbitmq-c serves as codec only: methods, properties and tables are encoded and decoded by it;
 * frames are cut and the bytes moved here, so nothing can block, abort() or swallow a signal.
 *
 * Loop of an owner:
 *
 *     poll(mq_session_fd, mq_session_wants, until mq_session_due_us)
 *     mq_session_step(session, now_us);
 *     while (mq_session_next(session, &event)) ...
 *
 * After MQ_EVENT_OPEN (logged in, channel open) requests may be sent; each answer comes as
 * MQ_EVENT_REPLY with the method's id. MQ_EVENT_LOST is the last event of a connection: the socket
 * is closed, the owner waits and connects again. MQ_EVENT_CHANNEL_CLOSED: the broker closed the
 * channel (404, 406, ...); mq_channel_reopen, then MQ_EVENT_OPEN again. Delivery tags of both
 * directions begin anew then.
 *
 * Limits: login 10 s, an unanswered request 30 s (not while blocked
 * or not reading), silence of two heartbeats.
 * The broker is not trusted: frame sizes, names and bodies are checked against bounds.
 */
#ifndef MQ_SESSION_H
#define MQ_SESSION_H

#include "bytes.h"
#include "error.h"
#include "message.h"
#include "tls.h"
#include "url.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct MqSession MqSession;

typedef struct MqSessionOptions
{
	const char *name;               /* connection_name shown in the management UI; copied */
	size_t      output_limit_bytes; /* see stream_put; 0: 4 MB */
	size_t      max_body_bytes;     /* larger bodies of deliveries are skipped, see body_skipped */
} MqSessionOptions;

typedef enum MqEventKind
{
	MQ_EVENT_OPEN,    /* logged in, channel open */
	MQ_EVENT_REPLY,   /* answer to a request: method */
	MQ_EVENT_ACK,     /* basic.ack of the broker: tag, multiple */
	MQ_EVENT_NACK,    /* basic.nack of the broker: tag, multiple */
	MQ_EVENT_RETURN,  /* reply_code, text, exchange, routing_key, headers; comes before its ack */
	MQ_EVENT_DELIVER, /* tag, redelivered, exchange, routing_key, headers, body */
	MQ_EVENT_CANCEL,  /* the broker cancelled our consumer (queue deleted, leader lost) */
	MQ_EVENT_BLOCKED, /* resource alarm: text; publish nothing */
	MQ_EVENT_UNBLOCKED,
	MQ_EVENT_CHANNEL_CLOSED, /* reply_code, text */
	MQ_EVENT_LOST            /* reply_code where the broker gave one, text */
} MqEventKind;

/* Valid until the next call with the same session. */
typedef struct MqEvent
{
	MqEventKind kind;
	uint32_t method; /* REPLY: one of MQ_*_OK; CHANNEL_CLOSED: what the broker would not do, or 0 */
	uint64_t tag;
	bool     multiple;
	bool     redelivered;
	bool     body_skipped; /* DELIVER: larger than max_body_bytes, body is empty */
	uint64_t body_bytes;   /* DELIVER: announced size */
	int      reply_code;
	const char *text; /* NUL-terminated, printable */
	MqBytes     exchange, routing_key;
	MqBytes     body;
	MqBytes     raw_properties; /* as received: what mq_publish_raw and mq_event_* take */
	uint32_t    message_count;  /* REPLY to a queue declaration: those that are ready */
	uint32_t    consumer_count; /* the same */
} MqEvent;

/* Ids of the methods that matter to callers (AMQP 0-9-1 class and method). */
#define MQ_QUEUE_DECLARE 0x0032000AU
#define MQ_QUEUE_DECLARE_OK 0x0032000BU
#define MQ_QUEUE_BIND_OK 0x00320015U
#define MQ_EXCHANGE_DECLARE_OK 0x0028000BU
#define MQ_BASIC_QOS_OK 0x003C000BU
#define MQ_BASIC_CONSUME_OK 0x003C0015U
#define MQ_BASIC_CANCEL_OK 0x003C001FU
#define MQ_CONFIRM_SELECT_OK 0x0055000BU

/* NULL: out of memory. */
MqSession *mq_session_new(const MqSessionOptions *options);
void       mq_session_free(MqSession *session);

/* Certificates for amqps:// URLs (borrowed); without them such a URL is MQ_INVALID. Counts from the
 * next mq_session_connect on. */
void mq_session_set_tls(MqSession *session, TlsContext *context);

/* Begins to connect and log in; the session must be closed. MQ_OK: under way. Otherwise nothing
 * is open and *error says why (no MQ_EVENT_LOST follows). */
MqResult mq_session_connect(MqSession *session, const MqUrl *url, int64_t now_us, MqError *error);

/* Moves bytes: connecting, output, input, heartbeats, time limits. Never blocks. What happened
 * comes out of mq_session_next. */
void mq_session_step(MqSession *session, int64_t now_us);

/* Only writes out what is buffered, as far as goes without waiting: a message need not wait for the
 * next step. A loss shows at that step. */
void mq_session_flush(MqSession *session);

/* Takes the next event; false: none is waiting. */
bool mq_session_next(MqSession *session, MqEvent *event);

bool     mq_session_is_open(const MqSession *session);   /* logged in, channel open */
bool     mq_session_is_closed(const MqSession *session); /* no connection, none under way */
bool     mq_session_is_blocked(const MqSession *session);
int      mq_session_fd(const MqSession *session);    /* -1: none */
unsigned mq_session_wants(const MqSession *session); /* STREAM_WANT_* */
int64_t  mq_session_due_us(const MqSession *session);
size_t   mq_session_unsent_bytes(const MqSession *session);

/* Stops or resumes reading the socket: back-pressure of a consumer. Heartbeats of the broker that
 * wait unread do not count as silence meanwhile. */
void mq_session_set_reading(MqSession *session, bool reading);

/* Says connection.close if that fits into the socket at once, and closes. No event follows. */
void mq_session_close(MqSession *session);

/* Every function below appends to the output: MQ_OK; MQ_FULL (only mq_publish and
 * mq_publish_raw; nothing was appended); MQ_INVALID (cannot be encoded: *error says what);
 * MQ_LOST (no channel is open); MQ_NOMEM. Names over 255 bytes are MQ_INVALID. */

/* Publishes with `mandatory`. *tag (may be NULL): its delivery tag where confirms are on: 1, 2, ...
 * on each channel. */
MqResult mq_publish(MqSession *session, const MqMessage *message, uint64_t *tag, MqError *error);

/* Encodes properties for mq_publish_encoded, behind what raw holds. MQ_OK, MQ_INVALID, MQ_NOMEM. */
MqResult mq_properties_encode(const MqProperties *properties, MqBuffer *raw, MqError *error);

/* Publishes with properties that are encoded already: what is sent again is not encoded again. */
MqResult mq_publish_encoded(MqSession *session, MqBytes exchange, MqBytes routing_key,
                            MqBytes raw_properties, MqBytes body, uint64_t *tag, MqError *error);

/* Publishes a body again with properties as received and one more string header (an older one of
 * that name is replaced; user_id is left out, the broker would refuse a foreign one); mandatory. */
MqResult mq_publish_raw(MqSession *session, MqBytes exchange, MqBytes routing_key,
                        MqBytes raw_properties, const char *header_name, MqBytes header_value,
                        MqBytes body, uint64_t *tag, MqError *error);

MqResult mq_confirm_select(MqSession *session, MqError *error);
MqResult mq_qos(MqSession *session, uint16_t prefetch, MqError *error);
MqResult mq_consume(MqSession *session, MqBytes queue, MqBytes consumer_tag, MqError *error);
MqResult mq_cancel(MqSession *session, MqBytes consumer_tag, MqError *error);
MqResult mq_ack(MqSession *session, uint64_t tag, bool multiple, MqError *error);
MqResult mq_nack(MqSession *session, uint64_t tag, bool multiple, bool requeue, MqError *error);

/* passive: only look whether it is there; 404 closes the channel. arguments: x-... of the queue.
 * Declared durable. */
MqResult mq_queue_declare(MqSession *session, MqBytes queue, bool passive, const MqField *arguments,
                          size_t argument_count, MqError *error);
MqResult mq_queue_bind(MqSession *session, MqBytes queue, MqBytes exchange, MqError *error);

/* A durable fanout exchange. */
MqResult mq_exchange_declare(MqSession *session, MqBytes exchange, bool passive, MqError *error);

/* After MQ_EVENT_CHANNEL_CLOSED. MQ_EVENT_OPEN follows. */
MqResult mq_channel_reopen(MqSession *session, MqError *error);

/* Properties of a delivered or returned message. Absent: data NULL, or false. */
MqBytes mq_event_content_encoding(const MqEvent *event);
MqBytes mq_event_message_id(const MqEvent *event);
bool    mq_event_header_int64(const MqEvent *event, const char *name, int64_t *value);

#endif
