/*
 * onlookers.h
 *    Everybody who wants to know how the worker is: Prometheus (http.h), a database (report.h),
 *    systemd (notify.h), and the log, which gets a summary of each minute with work.
 *
 * They look at figures that the owner puts together; none of them can hold up the loop.
 */
#ifndef WORKER_ONLOOKERS_H
#define WORKER_ONLOOKERS_H

#include "worker/http.h"
#include "worker/notify.h"
#include "worker/report.h"

#include <stdbool.h>

typedef struct Onlookers
{
	FigureSource source;
	Http        *http;   /* NULL: nobody may look */
	Report      *report; /* NULL: nobody is told */
	Notify       notify;
	const char  *state; /* as told to systemd */
	int64_t      report_due_us;
	int64_t      summary_due_us;
	uint64_t     messages, keys_deleted, dead_lettered; /* at the last summary */
} Onlookers;

/* false: reason (size bytes) says what cannot be done; close it all the same. */
bool onlookers_open(Onlookers *onlookers, const WorkerConfig *config, FigureSource source,
                    int64_t now_us, char *reason, size_t size);

/* The last report, and the end. */
void onlookers_close(Onlookers *onlookers);

void onlookers_step(Onlookers *onlookers, int64_t now_us);

/* How long after one look at the queue's length the next is wanted: soon where somebody looks. */
int64_t onlookers_queue_pause_us(const Onlookers *onlookers, int64_t now_us);

/* Does somebody want to know how long the queue is? */
bool onlookers_want_queue(const Onlookers *onlookers);

int     onlookers_fd(const Onlookers *onlookers);
int64_t onlookers_due_us(const Onlookers *onlookers, int64_t now_us);

#endif
