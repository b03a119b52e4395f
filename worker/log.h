/*
 * log.h
 *    The worker's log: one line for each change of state, on standard error.
 *
 * A line is an event, a constant text that monitoring may look for, and named values beside it:
 *
 *     2026-03-01T12:00:00.123Z info consuming queue=cache-invalidation broker=localhost:5672/
 *     {"time":"2026-03-01T12:00:00.123Z","level":"info","event":"consuming","queue":"cache-..."}
 *
 * Callers hand in no password and no message body.
 */
#ifndef WORKER_LOG_H
#define WORKER_LOG_H

#include "wire/bytes.h"

#include <stdbool.h>

typedef enum LogLevel
{
	LEVEL_ERROR,
	LEVEL_WARNING,
	LEVEL_INFO,
	LEVEL_DEBUG
} LogLevel;

typedef enum LogFormat
{
	FORMAT_TEXT,
	FORMAT_JSON
} LogFormat;

/* Before the first line; without it: info, text. */
void log_configure(LogLevel level, LogFormat format);

/* Would a line of this level be written? Saves the making of values. */
bool log_enabled(LogLevel level);

/* event, then pairs of name and value (const char *), closed by NULL; a pair whose value is NULL or
 * empty is left out. Values are cut at 1,000 bytes, control characters become '?'. */
void log_line(LogLevel level, const char *event, ...) __attribute__((sentinel));

/* Makes bytes fit for a value: cut to size, '?' for what is not printable. Returns out. */
const char *log_printable(MqBytes bytes, char *out, size_t size);

#endif
