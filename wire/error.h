/*
 * error.h
 *    What went wrong, as a code for the program and a text for people.
 *
 * The wire library neither logs nor exits nor throws: it fills one of these, and the relay or the
 * worker decides what to do about it.
 */
#ifndef MQ_ERROR_H
#define MQ_ERROR_H

typedef enum MqResult
{
	MQ_OK,
	MQ_FULL, /* the output buffer is full: nothing was sent, try again after the socket took some */
	MQ_LOST, /* the connection is gone: connect anew and send everything unconfirmed again */
	MQ_REFUSED, /* the peer answered and said no; its words are in the text */
	MQ_INVALID, /* the caller's input cannot be expressed on the wire; trying again will not help */
	MQ_NOMEM    /* malloc failed */
} MqResult;

typedef struct MqError
{
	MqResult code;
	int      reply_code; /* AMQP reply code (404, 403, ...) where the peer gave one, else 0 */
	char     text[512];  /* one line, lower case, no full stop; never a password */
} MqError;

/* Fills *error (which may be NULL) and returns code, so that callers write
 * `return mq_error_set(error, MQ_LOST, "...")`. Longer texts are cut, control characters of the
 * peer become '?'. */
MqResult mq_error_set(MqError *error, MqResult code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
