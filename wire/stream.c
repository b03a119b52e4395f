/*
 * stream.c
 *    A non-blocking stream socket with a bounded output buffer.
 *
 * With TLS the output buffer holds ciphertext: what stream_put takes is encrypted at once, so no
 * buffer of OpenSSL's has to be kept still, and the socket is read and written in one place.
 *
 * Name look-ups run in getaddrinfo_a(3)'s thread and are looked at every RESOLVE_LOOK_US; one that
 * is given up and cannot be cancelled keeps its memory (struct Lookup) until it ends: it is then
 * freed by the next look-up of the same stream, and never by more than one at a time.
 */
#include "wire/stream.h"

#include "wire/message.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define RESOLVE_LOOK_US 5000
#define TLS_READ_BYTES (16 * 1024)     /* ciphertext at a time: about one record */
#define KEEP_BUFFER_BYTES (256 * 1024) /* a larger output buffer is given back once empty */

/* What getaddrinfo_a reads and writes while it works: must stay where it is until it is done. */
typedef struct Lookup
{
	struct gaicb    request;
	struct gaicb   *list[1];
	struct addrinfo hints;
	char            host[256];
	char            service[8];
} Lookup;

struct Stream
{
	StreamState state;
	int         fd;
	int64_t     limit_at_us; /* while connecting */
	int64_t     look_at_us;  /* while resolving */

	Lookup          *lookup;
	Lookup          *abandoned; /* could not be cancelled */
	struct addrinfo *addresses; /* being tried; freed when open */
	struct addrinfo *address;
	char             peer[300]; /* for error texts */

	TlsContext *tls_context; /* borrowed; NULL: plain text */
	TlsChannel *tls;
	char        host[256]; /* whose certificate is expected */

	MqBuffer output;
	size_t   output_sent; /* bytes at the start of output that are gone */
	size_t   output_limit_bytes;
};

int64_t
mq_clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

Stream *
stream_new(size_t output_limit_bytes)
{
	Stream *stream = calloc(1, sizeof(*stream));

	if (stream == NULL)
		return NULL;
	stream->fd = -1;
	stream->output_limit_bytes = output_limit_bytes;
	return stream;
}

/* Frees a look-up that has ended, or that could be cancelled; false: it still runs. */
static bool
lookup_free(Lookup *lookup)
{
	if (lookup == NULL)
		return true;
	if (gai_error(&lookup->request) == EAI_INPROGRESS &&
	    gai_cancel(&lookup->request) == EAI_NOTCANCELED)
		return false;
	if (lookup->request.ar_result != NULL)
		freeaddrinfo(lookup->request.ar_result);
	free(lookup);
	return true;
}

static void
lookup_abandon(Stream *stream)
{
	if (!lookup_free(stream->lookup))
		stream->abandoned = stream->lookup;
	stream->lookup = NULL;
}

static void
addresses_free(Stream *stream)
{
	if (stream->addresses != NULL)
		freeaddrinfo(stream->addresses);
	stream->addresses = NULL;
	stream->address = NULL;
}

void
stream_close(Stream *stream)
{
	if (stream->fd >= 0)
		close(stream->fd);
	stream->fd = -1;
	lookup_abandon(stream);
	addresses_free(stream);
	tls_channel_free(stream->tls);
	stream->tls = NULL;
	stream->state = STREAM_CLOSED;
	mq_buffer_free(&stream->output);
	stream->output_sent = 0;
}

void
stream_free(Stream *stream)
{
	if (stream == NULL)
		return;
	stream_close(stream);
	lookup_free(stream->abandoned); /* one that still runs is left to the end of the process */
	free(stream);
}

/* Closes and reports: every loss of a connection passes here. */
static MqResult
stream_lose(Stream *stream, MqError *error, const char *what, const char *why)
{
	mq_error_set(error, MQ_LOST, "%s %s: %s", what, stream->peer, why);
	stream_close(stream);
	return MQ_LOST;
}

static int
socket_new(int family)
{
	return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* Tries the addresses from stream->address on, until one connects or is on its way. */
static MqResult
connect_next(Stream *stream, MqError *error)
{
	int last_errno = EADDRNOTAVAIL;

	for (; stream->address != NULL; stream->address = stream->address->ai_next)
	{
		int one = 1;

		stream->fd = socket_new(stream->address->ai_family);
		if (stream->fd >= 0)
		{
			setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			if (connect(stream->fd, stream->address->ai_addr, stream->address->ai_addrlen) == 0 ||
			    errno == EINPROGRESS)
			{
				stream->state = STREAM_CONNECTING;
				return MQ_OK;
			}
		}
		last_errno = errno;
		if (stream->fd >= 0)
			close(stream->fd);
		stream->fd = -1;
	}
	return stream_lose(stream, error, "could not connect to", strerror(last_errno));
}

/* The look-up has ended: begins with its first address. */
static MqResult
lookup_done(Stream *stream, int result, MqError *error)
{
	if (result != 0)
		return stream_lose(stream, error, "could not resolve", gai_strerror(result));
	stream->addresses = stream->lookup->request.ar_result;
	stream->address = stream->addresses;
	stream->lookup->request.ar_result = NULL;
	lookup_free(stream->lookup);
	stream->lookup = NULL;
	return connect_next(stream, error);
}

/* Numeric addresses need no look-up: NULL if host is none. */
static struct addrinfo *
numeric_address(const char *host, const char *service)
{
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
	};
	struct addrinfo *result = NULL;

	return getaddrinfo(host, service, &hints, &result) == 0 ? result : NULL;
}

static MqResult
lookup_start(Stream *stream, const char *host, const char *service, int64_t now_us, MqError *error)
{
	Lookup *lookup;
	int     result;

	if (!lookup_free(stream->abandoned))
		return stream_lose(stream, error, "could not resolve", "the last look-up still runs");
	stream->abandoned = NULL;
	lookup = calloc(1, sizeof(*lookup));
	if (lookup == NULL)
		return mq_error_set(error, MQ_NOMEM, "out of memory");
	snprintf(lookup->host, sizeof(lookup->host), "%s", host);
	snprintf(lookup->service, sizeof(lookup->service), "%s", service);
	lookup->hints.ai_family = AF_UNSPEC;
	lookup->hints.ai_socktype = SOCK_STREAM;
	lookup->request.ar_name = lookup->host;
	lookup->request.ar_service = lookup->service;
	lookup->request.ar_request = &lookup->hints;
	lookup->list[0] = &lookup->request;
	result = getaddrinfo_a(GAI_NOWAIT, lookup->list, 1, NULL);
	if (result != 0)
	{
		free(lookup);
		return stream_lose(stream, error, "could not resolve", gai_strerror(result));
	}
	stream->lookup = lookup;
	stream->state = STREAM_RESOLVING;
	stream->look_at_us = now_us + RESOLVE_LOOK_US;
	return MQ_OK;
}

MqResult
stream_connect(Stream *stream, const char *host, uint16_t port, int64_t now_us, int64_t limit_us,
               MqError *error)
{
	char service[8];

	snprintf(service, sizeof(service), "%u", (unsigned) port);
	snprintf(stream->peer, sizeof(stream->peer), "%s:%s", host, service);
	stream->limit_at_us = now_us + limit_us;
	snprintf(stream->host, sizeof(stream->host), "%s", host);
	stream->addresses = numeric_address(host, service);
	if (stream->addresses == NULL)
		return lookup_start(stream, host, service, now_us, error);
	stream->address = stream->addresses;
	return connect_next(stream, error);
}

MqResult
stream_connect_unix(Stream *stream, const char *path, int64_t now_us, int64_t limit_us,
                    MqError *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(stream->peer, sizeof(stream->peer), "%s", path);
	if (strlen(path) >= sizeof(address.sun_path))
		return stream_lose(stream, error, "could not connect to", "path too long");
	strcpy(address.sun_path, path);
	stream->limit_at_us = now_us + limit_us;
	stream->fd = socket_new(AF_UNIX);
	/* EAGAIN: the peer's backlog is full; the caller's backoff tries again. */
	if (stream->fd < 0 || connect(stream->fd, (struct sockaddr *) &address, sizeof(address)) != 0)
		return stream_lose(stream, error, "could not connect to", strerror(errno));
	stream->state = STREAM_OPEN;
	return MQ_OK;
}

/* The socket is connected: open, or TLS first. */
static MqResult
connected(Stream *stream, MqError *error)
{
	addresses_free(stream);
	stream->state = STREAM_OPEN;
	if (stream->tls_context == NULL)
		return MQ_OK;
	stream->tls = tls_channel_new(stream->tls_context, stream->host);
	if (stream->tls == NULL)
		return stream_lose(stream, error, "could not begin TLS with", "out of memory");
	stream->state = STREAM_HANDSHAKE;
	return MQ_OK;
}

/* Has the connect under way come to an end? Asks the socket, since poll may not have. */
static MqResult
connect_look(Stream *stream, MqError *error)
{
	struct sockaddr_storage peer;
	socklen_t               size = sizeof(peer);
	int                     so_error = 0;
	socklen_t               so_size = sizeof(so_error);

	getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &so_error, &so_size);
	if (so_error == 0)
	{
		if (getpeername(stream->fd, (struct sockaddr *) &peer, &size) == 0)
			return connected(stream, error);
		return MQ_OK;
	}
	close(stream->fd);
	stream->fd = -1;
	stream->address = stream->address->ai_next;
	if (stream->address != NULL)
		return connect_next(stream, error);
	return stream_lose(stream, error, "could not connect to", strerror(so_error));
}

static MqResult
flush_output(Stream *stream, MqError *error)
{
	while (stream->output_sent < stream->output.size)
	{
		ssize_t sent = send(stream->fd, stream->output.data + stream->output_sent,
		                    stream->output.size - stream->output_sent, MSG_NOSIGNAL);

		if (sent < 0)
		{
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN || errno == EWOULDBLOCK)
				return MQ_OK;
			return stream_lose(stream, error, "lost the connection to", strerror(errno));
		}
		stream->output_sent += (size_t) sent;
	}
	stream->output.size = 0;
	stream->output_sent = 0;
	if (stream->output.capacity > KEEP_BUFFER_BYTES)
		mq_buffer_free(&stream->output);
	return MQ_OK;
}

/* Reads what the socket has into buffer. > 0, 0: nothing at present, -1: lost. */
static ssize_t
receive(Stream *stream, void *buffer, size_t size, MqError *error)
{
	ssize_t received;

	do
		received = recv(stream->fd, buffer, size, 0);
	while (received < 0 && errno == EINTR);
	if (received > 0)
		return received;
	if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 0;
	stream_lose(stream, error, "lost the connection to",
	            received == 0 ? "closed by the peer" : strerror(errno));
	return -1;
}

/* More ciphertext for TLS. Like receive. */
static ssize_t
feed_tls(Stream *stream, MqError *error)
{
	char    ciphertext[TLS_READ_BYTES];
	ssize_t received = receive(stream, ciphertext, sizeof(ciphertext), error);

	if (received > 0 && tls_feed(stream->tls, ciphertext, (size_t) received) != MQ_OK)
	{
		stream_lose(stream, error, "lost the connection to", "out of memory");
		return -1;
	}
	return received;
}

/* TLS failed in the way that *error says. */
static MqResult
lose_by_tls(Stream *stream, MqError *error)
{
	MqError why = *error;

	return stream_lose(stream, error, "lost the connection to", why.text);
}

static MqResult
step_handshake(Stream *stream, MqError *error)
{
	MqError  local = {0};
	MqResult result;

	error = error == NULL ? &local : error;
	for (;;)
	{
		ssize_t fed;

		result = tls_handshake(stream->tls, error);
		/* Also an alert that says why we refuse. */
		if (tls_drain(stream->tls, &stream->output) != MQ_OK)
			return stream_lose(stream, error, "lost the connection to", "out of memory");
		if (result == MQ_LOST)
		{
			(void) flush_output(stream, NULL);
			return stream->state == STREAM_CLOSED ? MQ_LOST : lose_by_tls(stream, error);
		}
		if (result == MQ_OK)
		{
			stream->state = STREAM_OPEN;
			return MQ_OK;
		}
		if (flush_output(stream, error) != MQ_OK)
			return MQ_LOST;
		fed = feed_tls(stream, error);
		if (fed <= 0)
			return fed == 0 ? MQ_OK : MQ_LOST;
	}
}

MqResult
stream_step(Stream *stream, int64_t now_us, MqError *error)
{
	MqResult result = MQ_OK;

	if (stream->state == STREAM_RESOLVING && now_us >= stream->look_at_us)
	{
		int status = gai_error(&stream->lookup->request);

		stream->look_at_us = now_us + RESOLVE_LOOK_US;
		if (status != EAI_INPROGRESS)
			result = lookup_done(stream, status, error);
	}
	if (stream->state == STREAM_CONNECTING)
		result = connect_look(stream, error);
	if (stream->state == STREAM_HANDSHAKE)
		result = step_handshake(stream, error);
	if (stream->state == STREAM_OPEN)
		result = flush_output(stream, error);
	if (stream->state != STREAM_CLOSED && stream->state != STREAM_OPEN &&
	    now_us >= stream->limit_at_us)
		result = stream_lose(stream, error, "could not connect to",
		                     stream->state == STREAM_HANDSHAKE
		                         ? "no answer to TLS: does it speak it there?"
		                         : "timed out");
	return result;
}

/* Plain text out of TLS, fed from the socket as long as it takes to get some. */
static ssize_t
read_tls(Stream *stream, void *buffer, size_t size, MqError *error)
{
	MqError local = {0};

	error = error == NULL ? &local : error;
	for (;;)
	{
		ssize_t got = tls_read(stream->tls, buffer, size, error);

		if (got < 0)
			lose_by_tls(stream, error);
		if (got != 0)
			return got;
		/* Answers to the peer's key updates. */
		if (tls_drain(stream->tls, &stream->output) != MQ_OK)
		{
			stream_lose(stream, error, "lost the connection to", "out of memory");
			return -1;
		}
		got = feed_tls(stream, error);
		if (got <= 0)
			return got;
	}
}

ssize_t
stream_read(Stream *stream, void *buffer, size_t size, MqError *error)
{
	if (stream->state != STREAM_OPEN)
		return 0;
	return stream->tls == NULL ? receive(stream, buffer, size, error)
	                           : read_tls(stream, buffer, size, error);
}

bool
stream_has_pending(const Stream *stream)
{
	return stream->state == STREAM_OPEN && stream->tls != NULL && tls_has_pending(stream->tls);
}

size_t
stream_unsent(const Stream *stream)
{
	return stream->output.size - stream->output_sent;
}

size_t
stream_room(const Stream *stream)
{
	size_t unsent = stream_unsent(stream);

	return unsent >= stream->output_limit_bytes ? 0 : stream->output_limit_bytes - unsent;
}

/* Moves what is unsent to the front once more than half of the buffer is behind it. */
static void
compact_output(Stream *stream)
{
	if (stream->output_sent <= stream->output.size / 2)
		return;
	stream->output.size -= stream->output_sent;
	memmove(stream->output.data, stream->output.data + stream->output_sent, stream->output.size);
	stream->output_sent = 0;
}

MqResult
stream_put(Stream *stream, const void *data, size_t size)
{
	if (stream_unsent(stream) > 0 && size > stream_room(stream))
		return MQ_FULL;
	compact_output(stream);
	if (stream->tls == NULL)
		return mq_buffer_append(&stream->output, data, size);
	/* A failure here shows as a loss at the next step or read. */
	if (tls_write(stream->tls, data, size, NULL) != MQ_OK)
		return MQ_NOMEM;
	return tls_drain(stream->tls, &stream->output);
}

void
stream_set_tls(Stream *stream, TlsContext *context)
{
	stream->tls_context = context;
}

StreamState
stream_state(const Stream *stream)
{
	return stream->state;
}

int
stream_fd(const Stream *stream)
{
	return stream->fd;
}

unsigned
stream_wants(const Stream *stream)
{
	switch (stream->state)
	{
	case STREAM_CLOSED:
	case STREAM_RESOLVING:
		return 0;
	case STREAM_CONNECTING:
		return STREAM_WANT_WRITE;
	case STREAM_HANDSHAKE:
	case STREAM_OPEN:
		return STREAM_WANT_READ | (stream_unsent(stream) > 0 ? STREAM_WANT_WRITE : 0);
	}
	return 0;
}

int64_t
stream_due_us(const Stream *stream)
{
	switch (stream->state)
	{
	case STREAM_RESOLVING:
		return stream->look_at_us < stream->limit_at_us ? stream->look_at_us : stream->limit_at_us;
	case STREAM_CONNECTING:
	case STREAM_HANDSHAKE:
		return stream->limit_at_us;
	case STREAM_CLOSED:
	case STREAM_OPEN:
		return STREAM_NEVER;
	}
	return STREAM_NEVER;
}
