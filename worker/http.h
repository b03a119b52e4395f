/*
 * http.h
 *    The status page, /status.json for it, /metrics, /healthz and /readyz, for --metrics-listen.
 *
 * libmicrohttpd without a thread: its epoll descriptor is one more that the loop polls, and pages are
 * made from figures that are there. Bounds: 16 connections, each closed after 10 s of silence.
 */
#ifndef WORKER_HTTP_H
#define WORKER_HTTP_H

#include "worker/answer.h"
#include "worker/config.h"
#include "worker/figures.h"

typedef struct Http Http;

/* Listens. name: of the worker, borrowed. answer: what the database says, borrowed; NULL: nobody asks it.
 * NULL: errno says why not. */
Http *http_new(const ListenAddress *address, const char *name, Answer *answer, int64_t now_us);
void  http_free(Http *http);

/* Answers what has come, from the figures of this moment. NULL is allowed in all of these: nothing
 * listens. */
void    http_step(Http *http, const Figures *figures, int64_t now_us);
int     http_fd(const Http *http);
int64_t http_due_us(const Http *http, int64_t now_us);

/* Does somebody look at the status page? */
bool http_is_watched(const Http *http, int64_t now_us);

#endif
