/*
 * session_private.h
 *    The state of a session, shared by session.c (its life), login.c, frames.c (what arrives) and
 *    requests.c (what it asks for).
 */
#ifndef MQ_SESSION_PRIVATE_H
#define MQ_SESSION_PRIVATE_H

#include "codec.h"
#include "session.h"
#include "stream.h"

#define CHANNEL 1 /* one channel for each connection */

typedef enum SessionPhase
{
	SESSION_CLOSED,          /* next: CONNECTING */
	SESSION_CONNECTING,      /* next: STARTING; any phase: CLOSED when lost */
	SESSION_STARTING,        /* protocol header sent, waits for connection.start; next: TUNING */
	SESSION_TUNING,          /* waits for connection.tune; next: OPENING */
	SESSION_OPENING,         /* waits for connection.open-ok; next: CHANNEL_OPENING */
	SESSION_CHANNEL_OPENING, /* waits for channel.open-ok; next: OPEN */
	SESSION_OPEN,            /* next: NO_CHANNEL */
	SESSION_NO_CHANNEL       /* the broker closed the channel; next: CHANNEL_OPENING */
} SessionPhase;

/* A delivery or return whose content is still arriving. */
typedef struct Content
{
	bool        active;
	bool        header_seen;
	MqEventKind kind;
	uint64_t    tag;
	bool        redelivered;
	int         reply_code;
	char        exchange[256], routing_key[256];
	MqBuffer    raw;
	MqBuffer    body;
	uint64_t    announced_bytes, received_bytes;
} Content;

struct MqSession
{
	Stream          *stream;
	SessionPhase     phase;
	MqSessionOptions options;
	char             name[128];
	MqUrl            url;
	TlsContext      *tls;  /* borrowed; NULL: plain text only */
	amqp_pool_t      pool; /* of one decoded or encoded method */

	MqBuffer input;
	size_t   input_used; /* bytes of input that are decoded */
	MqBuffer scratch;    /* what is being encoded */

	uint32_t frame_max;
	int64_t  heartbeat_us; /* 0: off */
	int64_t  last_sent_us; /* at most one step late */
	int64_t  last_received_us;
	int64_t  login_limit_at_us;
	int64_t  request_since_us; /* when the oldest unanswered request was noticed; 0: none */
	int      requests;         /* unanswered */
	bool     sent_something;   /* since the last step */
	bool     reading;
	bool     blocked;

	uint64_t next_tag;
	Content  content;
	char     text[512]; /* of the present event */
	bool     lost;      /* MQ_EVENT_LOST is due once the input is decoded */
	MqError  lost_error;
};

/* Hands what stands in scratch over to the stream, whole or not at all. */
MqResult session_put(MqSession *session, MqError *error);

/* Appends one method to the stream. */
MqResult session_put_method(MqSession *session, uint16_t channel, amqp_method_number_t id,
                            void *method, MqError *error);

/* Remembers why the connection ends and closes the socket. The first reason counts. */
void session_lose(MqSession *session, int reply_code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The only place that changes the phase. */
void session_enter(MqSession *session, SessionPhase phase);

/* The socket is open: says which protocol we speak. */
void login_begin(MqSession *session);

/* connection.start, connection.tune. */
void login_on_start(MqSession *session, const amqp_connection_start_t *start);
void login_on_tune(MqSession *session, const amqp_connection_tune_t *tune);

/* Asks for the channel. */
MqResult login_open_channel(MqSession *session, MqError *error);

#endif
