/*
 * intake.c
 *    See intake.h.
 */
#include "worker/intake.h"

#include "worker/log.h"

#include <stdio.h>

#define MAX_KEYS_LOGGED 100                    /* in a second, at debug level */
#define DEAD_LETTER_LOG_US ((int64_t) 1000000) /* one line in so long */

/* Foreign messages may come by the thousand: one line a second at most. A dry run has --prefetch of them
 * at most, and is there to be read. */
static void
log_dead_letter(Intake *intake, const MqEvent *message, const char *error, int64_t now_us)
{
	char id[MQ_MAX_SHORT_STRING + 1];
	char unlogged[24] = "";

	if (intake->dead_logged_us != 0 && now_us < intake->dead_logged_us + DEAD_LETTER_LOG_US &&
	    !intake->config->dry_run)
	{
		intake->dead_unlogged++;
		return;
	}
	if (intake->dead_unlogged > 0)
		snprintf(unlogged, sizeof(unlogged), "%llu", (unsigned long long) intake->dead_unlogged);
	log_line(LEVEL_WARNING, "dead letter", "error", error, "message_id",
	         log_printable(mq_event_message_id(message), id, sizeof(id)), "others_unlogged",
	         unlogged, NULL);
	intake->dead_unlogged = 0;
	intake->dead_logged_us = now_us;
}

/* false: out of memory. */
static bool
refuse_message(Intake *intake, TagRef ref, const MqEvent *message, const char *error,
               int64_t now_us)
{
	log_dead_letter(intake, message, error, now_us);
	if (intake->config->dry_run)
		return true;
	if (message->body_skipped)
	{
		log_line(LEVEL_ERROR, "message held", "reason",
		         "its body is too large to be kept; remove it from the queue", NULL);
		return true;
	}
	return dead_letters_add(intake->dead_letters, ref, message->raw_properties, message->body,
	                        error);
}

static bool
check_prefixes(const Intake *intake, const Invalidation *invalidation, char *error)
{
	char *const *allowed = intake->config->allowed;
	size_t       count = intake->config->allowed_count;

	for (size_t i = 0; i < invalidation_key_count(invalidation); i++)
	{
		if (invalidation_key_allowed(invalidation_key(invalidation, i), allowed, count))
			continue;
		snprintf(error, INVALIDATION_ERROR_BYTES, "key %zu has no allowed prefix", i);
		return false;
	}
	for (size_t i = 0; i < invalidation_pattern_count(invalidation); i++)
	{
		if (invalidation_pattern_allowed(invalidation_pattern(invalidation, i), allowed, count))
			continue;
		snprintf(error, INVALIDATION_ERROR_BYTES, "pattern %zu has no allowed prefix", i);
		return false;
	}
	return true;
}

/* false: out of memory. */
static bool
delete_all(Intake *intake, TagRef ref, const Invalidation *invalidation)
{
	bool fine = true;

	ref.is_canary = ref.created_at_us > 0 && invalidation_key_count(invalidation) == 0 &&
	                invalidation_pattern_count(invalidation) == 0;
	for (size_t i = 0; fine && i < invalidation_key_count(invalidation); i++)
		fine = caches_add_key(intake->caches, invalidation_key(invalidation, i));
	for (size_t i = 0; fine && i < invalidation_pattern_count(invalidation); i++)
		fine = caches_add_pattern(intake->caches, invalidation_pattern(invalidation, i));
	return fine && caches_close_ticket(intake->caches, ref);
}

static void
show_all(const Intake *intake, const Invalidation *invalidation)
{
	const char *prefix = intake->config->key_prefix;
	char        text[1000];

	for (size_t i = 0; i < invalidation_key_count(invalidation); i++)
		log_line(LEVEL_INFO, "would delete", "prefix", prefix, "key",
		         log_printable(invalidation_key(invalidation, i), text, sizeof(text)), NULL);
	for (size_t i = 0; i < invalidation_pattern_count(invalidation); i++)
		log_line(LEVEL_INFO, "would delete", "prefix", prefix, "pattern",
		         log_printable(invalidation_pattern(invalidation, i), text, sizeof(text)), NULL);
}

static void
log_message(const MqEvent *message, const Invalidation *invalidation)
{
	char id[MQ_MAX_SHORT_STRING + 1];
	char keys[24], patterns[24];

	if (!log_enabled(LEVEL_DEBUG))
		return;
	snprintf(keys, sizeof(keys), "%zu", invalidation_key_count(invalidation));
	snprintf(patterns, sizeof(patterns), "%zu", invalidation_pattern_count(invalidation));
	log_line(LEVEL_DEBUG, "message", "message_id",
	         log_printable(mq_event_message_id(message), id, sizeof(id)), "keys", keys, "patterns",
	         patterns, NULL);
}

bool
intake_take(Intake *intake, TagRef ref, const MqEvent *message, int64_t now_us)
{
	Invalidation *invalidation = &intake->invalidation;
	char          error[INVALIDATION_ERROR_BYTES];
	bool          fine = true;

	if (message->body_skipped)
	{
		snprintf(error, sizeof(error), "the body has %llu bytes, at most %d are taken",
		         (unsigned long long) message->body_bytes, INVALIDATION_MAX_BODY_BYTES);
		return refuse_message(intake, ref, message, error, now_us);
	}
	if (!invalidation_parse(invalidation, message->body, mq_event_content_encoding(message), error))
		return refuse_message(intake, ref, message, error, now_us);
	log_message(message, invalidation);
	if (!check_prefixes(intake, invalidation, error))
		fine = refuse_message(intake, ref, message, error, now_us);
	else if (intake->config->dry_run)
		show_all(intake, invalidation);
	else
		fine = delete_all(intake, ref, invalidation);
	invalidation_forget(invalidation);
	return fine;
}

void
intake_log_deleted(Intake *intake, MqBytes key, int64_t now_us)
{
	char text[1000];

	if (now_us >= intake->keys_logged_us + 1000000)
	{
		intake->keys_logged_us = now_us;
		intake->keys_logged = 0;
	}
	if (intake->keys_logged++ < MAX_KEYS_LOGGED)
		log_line(LEVEL_DEBUG, "deleted", "key", log_printable(key, text, sizeof(text)), NULL);
}

void
intake_free(Intake *intake)
{
	invalidation_free(&intake->invalidation);
}
