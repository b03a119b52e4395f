/*
 * metrics.h
 *    The figures as Prometheus reads them: the text format, version 0.0.4.
 */
#ifndef WORKER_METRICS_H
#define WORKER_METRICS_H

#include "wire/message.h"
#include "worker/figures.h"

/* Appends the page. started_at_us: since 1970. MQ_OK or MQ_NOMEM. */
MqResult metrics_print(const Figures *figures, int64_t started_at_us, MqBuffer *out);

#endif
