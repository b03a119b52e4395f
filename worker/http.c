/*
 * http.c
 *    See http.h.
 */
#include "worker/http.h"

#include "wire/stream.h"
#include "worker/metrics.h"
#include "worker/page.h"
#include "worker/status.h"

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

#define WATCHED_US ((int64_t) 10000000) /* after the last look */

#define PLAIN_TEXT "text/plain; charset=utf-8"
#define METRICS_TEXT "text/plain; version=0.0.4; charset=utf-8"
#define HTML_TEXT "text/html; charset=utf-8"
#define JSON_TEXT "application/json"

struct Http
{
	struct MHD_Daemon *daemon;
	int                epoll_fd;
	const char        *name;
	Answer            *answer;
	int64_t            began_us;
	int64_t            started_at_us; /* the same, since 1970 */
	int64_t            looked_us;     /* 0: never */
	Page               page;
	History            history;

	/* of the step that runs */
	const Figures *figures;
	int64_t        now_us;
};

/* Nothing of ours is for a page of others: to be run, framed, guessed at, kept, or told where it came
 * from. */
static const char *const headers[][2] = {
	{MHD_HTTP_HEADER_CACHE_CONTROL, "no-store"},
	{"X-Content-Type-Options", "nosniff"},
	{"Referrer-Policy", "no-referrer"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
};

/* Queues it, and lets go of it. */
static enum MHD_Result
answer(struct MHD_Connection *connection, unsigned status, const char *type, const char *policy,
       struct MHD_Response *response)
{
	enum MHD_Result result;

	if (response == NULL)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(response, "Content-Security-Policy", policy);
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
		MHD_add_response_header(response, headers[i][0], headers[i][1]);
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static struct MHD_Response *
response_of(MqBytes body, enum MHD_ResponseMemoryMode mode)
{
	/* libmicrohttpd does not write to it. */
	return MHD_create_response_from_buffer(body.size, (void *) (uintptr_t) body.data, mode);
}

static enum MHD_Result
answer_copy(struct MHD_Connection *connection, unsigned status, const char *type, MqBytes body)
{
	return answer(connection, status, type, "default-src 'none'",
	              response_of(body, MHD_RESPMEM_MUST_COPY));
}

static enum MHD_Result
answer_text(struct MHD_Connection *connection, unsigned status, const char *text)
{
	return answer_copy(connection, status, PLAIN_TEXT, mq_bytes_of(text));
}

static enum MHD_Result
answer_page(struct MHD_Connection *connection, const Page *page)
{
	return answer(connection, MHD_HTTP_OK, HTML_TEXT, page->policy,
	              response_of(mq_bytes(page->text.data, page->text.size), MHD_RESPMEM_PERSISTENT));
}

/* made: MQ_OK, or there is no body. Frees it. */
static enum MHD_Result
answer_made(struct MHD_Connection *connection, const char *type, MqResult made, MqBuffer *body)
{
	enum MHD_Result result = MHD_NO;

	if (made == MQ_OK)
		result = answer_copy(connection, MHD_HTTP_OK, type, mq_bytes(body->data, body->size));
	mq_buffer_free(body);
	return result;
}

static enum MHD_Result
answer_metrics(struct MHD_Connection *connection, const Http *http)
{
	MqBuffer body = {0};
	MqResult made = metrics_print(http->figures, http->started_at_us, &body);

	return answer_made(connection, METRICS_TEXT, made, &body);
}

static enum MHD_Result
answer_status(struct MHD_Connection *connection, Http *http)
{
	const char *since = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "since");
	MqBuffer    body = {0};
	AnswerView  view;
	Status      status = {.name = http->name,
	                      .figures = http->figures,
	                      .history = &http->history,
	                      .since = since == NULL ? 0 : strtoull(since, NULL, 10),
	                      .uptime_us = http->now_us - http->began_us};
	MqResult    made;

	http->looked_us = http->now_us;
	if (http->answer != NULL)
	{
		view = answer_look(http->answer, http->now_us);
		status.database = &view;
	}
	made = status_print(&status, &body);
	return answer_made(connection, JSON_TEXT, made, &body);
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

static enum MHD_Result
answer_path(struct MHD_Connection *connection, Http *http, const char *path)
{
	if (strcmp(path, "/healthz") == 0)
		return answer_text(connection, MHD_HTTP_OK, "ok\n");
	if (strcmp(path, "/readyz") == 0)
		return answer_ready(connection, http->figures);
	if (strcmp(path, "/metrics") == 0)
		return answer_metrics(connection, http);
	if (strcmp(path, "/status.json") == 0)
		return answer_status(connection, http);
	if (strcmp(path, "/") == 0)
		return answer_page(connection, &http->page);
	return answer_text(connection, MHD_HTTP_NOT_FOUND,
	                   "/, /status.json, /metrics, /healthz, /readyz\n");
}

/* libmicrohttpd calls it when the head of a request is there, then once more at its end. */
static enum MHD_Result
take_request(void *context, struct MHD_Connection *connection, const char *url, const char *method,
             const char *version, const char *upload, size_t *upload_size, void **state)
{
	static int head_seen;

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
	return answer_path(connection, context, url);
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
	socklen_t size =
		where->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	int on = 1;
	int fd = socket(where->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int reason;

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
http_new(const ListenAddress *address, const char *name, Answer *answer, int64_t now_us)
{
	Http                       *http = calloc(1, sizeof(*http));
	const union MHD_DaemonInfo *info = NULL;
	struct sockaddr_storage     where;
	unsigned                    flags = MHD_USE_EPOLL;
	int                         fd;

	if (http == NULL)
		return NULL;
	http->name = name;
	http->answer = answer;
	http->began_us = now_us;
	http->started_at_us = wall_clock_us();
	if (page_make(&http->page) != MQ_OK)
	{
		http_free(http);
		errno = ENOMEM;
		return NULL;
	}
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

	if (http == NULL)
		return;
	if (http->daemon != NULL)
		MHD_stop_daemon(http->daemon);
	page_free(&http->page);
	free(http);
	errno = saved;
}

void
http_step(Http *http, const Figures *figures, int64_t now_us)
{
	if (http == NULL)
		return;
	history_note(&http->history, figures, now_us);
	http->figures = figures;
	http->now_us = now_us;
	MHD_run(http->daemon);
	http->figures = NULL;
}

bool
http_is_watched(const Http *http, int64_t now_us)
{
	return http != NULL && http->looked_us != 0 && now_us < http->looked_us + WATCHED_US;
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
