/*
 * tls.h
 *    TLS as a codec: ciphertext in, ciphertext out, by OpenSSL over memory. Sockets are stream.c's.
 *
 * TLS 1.2 or newer; the peer's certificate chain and its host name (or IP address) are verified
 * always: there is no switch to turn that off.
 */
#ifndef MQ_TLS_H
#define MQ_TLS_H

#include "error.h"
#include "message.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Certificates of one kind of peer; may serve many connections, one after the other or at once. */
typedef struct TlsContext TlsContext;

/* One connection. */
typedef struct TlsChannel TlsChannel;

/* Reads the files (PEM). ca: whom to trust; NULL or empty: the system's authorities. cert, key: what
 * to show the peer; NULL or empty: nothing; the key may stand in the certificate's file. NULL:
 * *error names the file. */
TlsContext *tls_context_new(const char *ca, const char *cert, const char *key, MqError *error);

/* Channels made from it live on. */
void tls_context_free(TlsContext *context);

/* host: the name or numeric address that the peer's certificate must be for. NULL: out of memory. */
TlsChannel *tls_channel_new(TlsContext *context, const char *host);
void        tls_channel_free(TlsChannel *channel);

/* Takes what the socket gave. MQ_OK or MQ_NOMEM. */
MqResult tls_feed(TlsChannel *channel, const void *data, size_t size);

/* Appends what the socket is to get. MQ_OK or MQ_NOMEM. */
MqResult tls_drain(TlsChannel *channel, MqBuffer *out);

/* Moves the handshake on. MQ_OK: done; MQ_FULL: needs more from the peer (drain first); MQ_LOST:
 * *error says why (expired, unknown authority, another host, ...). */
MqResult tls_handshake(TlsChannel *channel, MqError *error);

/* Plain text of what was fed. > 0: so many bytes; 0: feed more; -1: closed or broken, *error. */
ssize_t tls_read(TlsChannel *channel, void *buffer, size_t size, MqError *error);

/* Encrypts all of data; drain then. MQ_OK or MQ_LOST. */
MqResult tls_write(TlsChannel *channel, const void *data, size_t size, MqError *error);

/* Is there plain text, or ciphertext that may become some, which the socket knows nothing of? */
bool tls_has_pending(const TlsChannel *channel);

#endif
