/*
 * http.c
 *    See http.h.
 */
#include "worker/http.h"

#include "wire/stream.h"
#include "worker/metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define MAX_CONNECTIONS 16
#define SILENCE_LIMIT_S 10
#define CONNECTION_BYTES ((size_t) 16 * 1024)

#define PLAIN_TEXT "text/plain; charset=utf-8"
#define METRICS_TEXT "text/plain; version=0.0.4; charset=utf-8"

struct Http
{
	struct MHD_Daemon *daemon;
	HttpSource         source;
	int                epoll_fd;
};

static enum MHD_Result
answer(struct MHD_Connection *connection, unsigned status, const char *type, MqBytes page)
{
	/* Copied; libmicrohttpd does not write to it. */
	struct MHD_Response *response = MHD_create_response_from_buffer(
		page.size, (void *) (uintptr_t) page.data, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result result;

	if (response == NULL)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result
answer_text(struct MHD_Connection *connection, unsigned status, const char *text)
{
	return answer(connection, status, PLAIN_TEXT, mq_bytes_of(text));
}

static enum MHD_Result
answer_metrics(struct MHD_Connection *connection, const Figures *figures)
{
	MqBuffer        page = {0};
	enum MHD_Result result = MHD_NO;

	if (metrics_print(figures, &page) == MQ_OK)
		result = answer(connection, MHD_HTTP_OK, METRICS_TEXT, mq_bytes(page.data, page.size));
	mq_buffer_free(&page);
	return result;
}

static enum MHD_Result
answer_ready(struct MHD_Connection *connection, const Figures *figures)
{
	char text[1200];

	if (figures->reason[0] == '\0')
		return answer_text(connection, MHD_HTTP_OK, "ready\n");
	snprintf(text, sizeof(text), "%s: %s\n", figures->state, figures->reason);
	return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, text);
}

/* libmicrohttpd calls it when the head of a request is there, then once more at its end. */
static enum MHD_Result
take_request(void *context, struct MHD_Connection *connection, const char *url, const char *method,
             const char *version, const char *upload, size_t *upload_size, void **state)
{
	const Http *http = context;
	static int  head_seen;
	Figures     figures = {0};

	if (*state == NULL)
	{
		*state = &head_seen;
		return MHD_YES;
	}
	if (*upload_size > 0)
	{
		*upload_size = 0; /* nobody reads it */
		return MHD_YES;
	}
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET, please\n");
	if (strcmp(url, "/healthz") == 0)
		return answer_text(connection, MHD_HTTP_OK, "ok\n");
	http->source.figures(http->source.context, &figures);
	if (strcmp(url, "/metrics") == 0)
		return answer_metrics(connection, &figures);
	if (strcmp(url, "/readyz") == 0)
		return answer_ready(connection, &figures);
	return answer_text(connection, MHD_HTTP_NOT_FOUND, "/metrics, /healthz, /readyz\n");
}

static void
socket_address(const ListenAddress *address, struct sockaddr_storage *out)
{
	struct sockaddr_in  *v4 = (struct sockaddr_in *) out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *) out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, address->host, &v4->sin_addr) == 1)
	{
		v4->sin_family = AF_INET;
		v4->sin_port = htons(address->port);
		return;
	}
	inet_pton(AF_INET6, address->host, &v6->sin6_addr);
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(address->port);
}

/* Our own, since what libmicrohttpd leaves in errno is not the reason. -1 on failure, with errno. */
static int
listen_at(const struct sockaddr_storage *where)
{
	socklen_t size = where->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	int       on = 1;
	int       fd = socket(where->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int       reason;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (where->ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *) where, size) == 0 && listen(fd, SOMAXCONN) == 0)
		return fd;
	reason = errno;
	close(fd);
	errno = reason;
	return -1;
}

Http *
http_new(const ListenAddress *address, HttpSource source)
{
	Http                       *http = calloc(1, sizeof(*http));
	const union MHD_DaemonInfo *info = NULL;
	struct sockaddr_storage     where;
	unsigned                    flags = MHD_USE_EPOLL;
	int                         fd;

	if (http == NULL)
		return NULL;
	http->source = source;
	socket_address(address, &where);
	if (where.ss_family == AF_INET6)
		flags |= MHD_USE_IPv6;
	fd = listen_at(&where);
	if (fd < 0)
	{
		http_free(http);
		return NULL;
	}
	http->daemon =
		MHD_start_daemon(flags, 0, NULL, NULL, take_request, http, MHD_OPTION_LISTEN_SOCKET, fd,
	                     MHD_OPTION_CONNECTION_LIMIT, (unsigned) MAX_CONNECTIONS,
	                     MHD_OPTION_CONNECTION_TIMEOUT, (unsigned) SILENCE_LIMIT_S,
	                     MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES, MHD_OPTION_END);
	if (http->daemon != NULL)
		info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (info == NULL)
	{
		http_free(http);
		errno = ENOMEM;
		return NULL;
	}
	http->epoll_fd = info->epoll_fd;
	return http;
}

void
http_free(Http *http)
{
	int saved = errno;

	if (http != NULL && http->daemon != NULL)
		MHD_stop_daemon(http->daemon);
	free(http);
	errno = saved;
}

void
http_step(Http *http)
{
	if (http != NULL)
		MHD_run(http->daemon);
}

int
http_fd(const Http *http)
{
	return http == NULL ? -1 : http->epoll_fd;
}

int64_t
http_due_us(const Http *http, int64_t now_us)
{
	MHD_UNSIGNED_LONG_LONG wait_ms;

	if (http == NULL || MHD_get_timeout(http->daemon, &wait_ms) != MHD_YES)
		return STREAM_NEVER;
	return now_us + (int64_t) wait_ms * 1000;
}
