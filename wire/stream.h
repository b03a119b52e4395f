/*
 * stream.h
 *    Bytes to and from one peer, without ever blocking: TCP or unix socket, with or without TLS.
 *
 * The owner polls stream_fd() for what stream_wants() says, or until stream_due_us(), then calls
 * stream_step(). Names are resolved by getaddrinfo_a(3), whose helper thread blocks all signals;
 * addresses are tried in turn. Every wait has a limit: resolving and connecting together take at
 * most the time limit given. Output is one bounded buffer, written when the socket takes it.
 *
 * States: CLOSED -> RESOLVING -> CONNECTING -> HANDSHAKE -> OPEN -> CLOSED; those in the middle are
 * skipped where there is nothing to resolve or to wait for, or no TLS.
 *
 * No locking: one thread. Time is handed in: microseconds of a monotonic clock (mq_clock_us).
 */
#ifndef MQ_STREAM_H
#define MQ_STREAM_H

#include "error.h"
#include "tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define STREAM_NEVER INT64_MAX /* "no time limit runs" */

#define STREAM_WANT_READ 1u
#define STREAM_WANT_WRITE 2u

typedef enum StreamState
{
	STREAM_CLOSED,
	STREAM_RESOLVING,
	STREAM_CONNECTING,
	STREAM_HANDSHAKE, /* TLS */
	STREAM_OPEN
} StreamState;

typedef struct Stream Stream;

/* Now on CLOCK_MONOTONIC in microseconds: what callers hand in as now_us. */
int64_t mq_clock_us(void);

/* output_limit_bytes: what stream_put may buffer. NULL: out of memory. */
Stream *stream_new(size_t output_limit_bytes);

/* Closes and frees. A name look-up that cannot be cancelled is left to end by itself. */
void stream_free(Stream *stream);

/* Connections to come speak TLS with these certificates (borrowed: must outlive the next connects),
 * or plain text again with NULL. The peer's certificate must be for the host that is connected to.
 * The stream must be closed. */
void stream_set_tls(Stream *stream, TlsContext *context);

/* Starts connecting to host (a name or a numeric address) and port; the stream must be closed.
 * limit_us: for resolving, connecting and the TLS handshake together. MQ_OK: under way, see stream_state; MQ_LOST or
 * MQ_NOMEM: *error says why. */
MqResult stream_connect(Stream *stream, const char *host, uint16_t port, int64_t now_us,
                        int64_t limit_us, MqError *error);

/* The same for a unix socket at path. */
MqResult stream_connect_unix(Stream *stream, const char *path, int64_t now_us, int64_t limit_us,
                             MqError *error);

/* Moves resolving and connecting on and writes out what is buffered, as far as goes without
 * waiting. MQ_OK, or MQ_LOST with the stream closed. */
MqResult stream_step(Stream *stream, int64_t now_us, MqError *error);

/* Reads up to size bytes. > 0: so many; 0: none at present; -1: lost (the stream is closed). */
ssize_t stream_read(Stream *stream, void *buffer, size_t size, MqError *error);

/* Room left in the output buffer, in bytes. */
size_t stream_room(const Stream *stream);

/* Bytes buffered and not yet taken by the socket. */
size_t stream_unsent(const Stream *stream);

/* Appends to the output (copied); sent at the next stream_step. MQ_OK, MQ_FULL (nothing was
 * appended) or MQ_NOMEM. The limit is soft for one piece: it may be passed by the piece that
 * finds the buffer empty, so that any message can be sent. */
MqResult stream_put(Stream *stream, const void *data, size_t size);

/* Has bytes for stream_read that do not make the socket readable (TLS): read before waiting. */
bool stream_has_pending(const Stream *stream);

StreamState stream_state(const Stream *stream);

/* The socket to poll; -1 while there is none (closed, resolving). */
int stream_fd(const Stream *stream);

/* STREAM_WANT_READ and/or STREAM_WANT_WRITE. */
unsigned stream_wants(const Stream *stream);

/* When stream_step must be called at the latest; STREAM_NEVER: only when the socket is ready. */
int64_t stream_due_us(const Stream *stream);

/* Closes the socket and forgets what is buffered, both ways. */
void stream_close(Stream *stream);

#endif
