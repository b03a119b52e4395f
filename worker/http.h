/*
 * http.h
 *    /metrics, /healthz and /readyz, for --metrics-listen.
 *
 * libmicrohttpd without a thread: its epoll descriptor is one more that the loop polls, and pages are
 * made from figures that are there. Bounds: 16 connections, each closed after 10 s of silence.
 */
#ifndef WORKER_HTTP_H
#define WORKER_HTTP_H

#include "worker/config.h"
#include "worker/figures.h"

typedef struct Http Http;

/* Where pages get their figures from. */
typedef struct HttpSource
{
	void *context;
	void (*figures)(void *context, Figures *figures);
} HttpSource;

/* Listens. NULL: errno says why not. */
Http *http_new(const ListenAddress *address, HttpSource source);
void  http_free(Http *http);

/* Answers what has come. NULL is allowed in all of these: nothing listens. */
void    http_step(Http *http);
int     http_fd(const Http *http);
int64_t http_due_us(const Http *http, int64_t now_us);

#endif
