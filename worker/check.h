/*
 * check.h
 *    --check: tries broker and Redis once and says what is wrong.
 */
#ifndef WORKER_CHECK_H
#define WORKER_CHECK_H

#include "worker/config.h"

/* Findings on standard output. Returns the exit status: 0 if both are fine, else 1. */
int check_run(const WorkerConfig *config);

#endif
