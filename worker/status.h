/*
 * status.h
 *    /status.json: what the status page shows, made of figures that are there.
 */
#ifndef WORKER_STATUS_H
#define WORKER_STATUS_H

#include "wire/message.h"
#include "worker/answer.h"
#include "worker/figures.h"
#include "worker/history.h"

typedef struct Status
{
	const char       *name; /* --name */
	const Figures    *figures;
	const History    *history;
	uint64_t          since;    /* samples from this number on */
	const AnswerView *database; /* NULL: no --report-to */
	int64_t           uptime_us;
} Status;

/* Appends the object. MQ_OK or MQ_NOMEM. */
MqResult status_print(const Status *status, MqBuffer *out);

#endif
