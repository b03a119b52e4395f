/*
 * intake.h
 *    A delivery becomes keys to delete, or a dead letter; with --dry-run, lines in the log.
 */
#ifndef WORKER_INTAKE_H
#define WORKER_INTAKE_H

#include "wire/session.h"
#include "worker/caches.h"
#include "worker/config.h"
#include "worker/dead_letter.h"
#include "worker/invalidation.h"
#include "worker/tags.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct Intake
{
	const WorkerConfig *config;
	Caches             *caches;
	DeadLetters        *dead_letters;

	/* private */
	Invalidation invalidation;  /* of the present message */
	uint64_t     dead_unlogged; /* since the last line about one */
	int64_t      dead_logged_us;
	uint64_t     keys_logged; /* in the second since keys_logged_us */
	int64_t      keys_logged_us;
} Intake;

/* Not to be called while dead_letters_is_full. false: out of memory. */
bool intake_take(Intake *intake, TagRef ref, const MqEvent *message, int64_t now_us);

/* "Was my key deleted, and when?" A line at debug level; not for each of a million a second. */
void intake_log_deleted(Intake *intake, MqBytes key, int64_t now_us);

/* What it holds; its parts are their owner's. */
void intake_free(Intake *intake);

#endif
