/*
 * report.h
 *    --report-to: tells a PostgreSQL database each second how the worker is, through
 *    outbox.report_consumer(); shown there by the view outbox.consumer.
 *
 * libpq resolves names and reads its files without asking for time, also where it connects
 * "asynchronously". So all of it happens on a thread of its own, which shares with the loop one
 * report under a mutex: the loop leaves it there if nobody holds the mutex at that moment, and never
 * waits. A database that is away, frozen or without the function costs the loop nothing; the thread
 * tries again after 1 s, doubling to 30 s (2 s while somebody looks).
 *
 * While somebody looks at the status page it asks outbox.pipeline() after each report: see answer.h.
 */
#ifndef WORKER_REPORT_H
#define WORKER_REPORT_H

#include "worker/answer.h"
#include "worker/figures.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct Report Report;

/* Is this a connection string or URI that libpq understands? */
bool report_is_conninfo(const char *conninfo);

/* Begins. conninfo, name: copied. NULL: errno says why. */
Report *report_new(const char *conninfo, const char *name);

/* Leaves the newest figures for the thread. NULL is allowed, here and below: nobody is told. */
void report_post(Report *report, const Figures *figures);

/* What the database says of its outbox; NULL where report is. Borrowed. */
Answer *report_answer(const Report *report);

/* Sends the last figures if that goes within a second, and ends. */
void report_free(Report *report);

#endif
