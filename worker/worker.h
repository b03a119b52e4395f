/*
 * worker.h
 *    Joins the parts: deliveries become deletions, deletions become acknowledgements.
 *
 * One event loop; no thread has a part in the work (report.h has one). What has arrived is taken at once, never waited for more; while Redis
 * works on it, the next deliveries are read.
 *
 * States, each change one line in the log:
 *
 *     starting            until it consumes for the first time, or something is in the way
 *     consuming
 *     waiting for broker  tried again for ever
 *     waiting for redis   the consumer is cancelled, its deliveries are kept for a minute, then
 *                         returned to the queue with one basic.nack
 *     stopping            asked to; ends what is in flight
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "worker/config.h"

/* Runs until told to stop. signal_fd: a signalfd. SIGTERM, SIGINT: a request to stop; the second one
 * does not wait for what is in flight. SIGHUP: password and certificate files are read again, into
 * config. Returns the exit status: 0, or 1 after a failure
 * that the log tells. */
int worker_run(WorkerConfig *config, int signal_fd);

#endif
