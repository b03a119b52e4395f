/*
 * log.c
 *    See log.h. A line is made in one buffer and leaves in one write, so that lines of several
 *    processes on one pipe do not mix.
 */
#include "worker/log.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LOG_VALUE_BYTES 1000
#define LOG_LINE_BYTES 8192

typedef struct Line
{
	char   text[LOG_LINE_BYTES];
	size_t size;
} Line;

static LogLevel  log_level = LEVEL_INFO;
static LogFormat log_format = FORMAT_TEXT;

static const char *const level_names[] = {"error", "warning", "info", "debug"};

void
log_configure(LogLevel level, LogFormat format)
{
	log_level = level;
	log_format = format;
}

bool
log_enabled(LogLevel level)
{
	return level <= log_level;
}

const char *
log_printable(MqBytes bytes, char *out, size_t size)
{
	size_t n = bytes.size < size - 1 ? bytes.size : size - 1;

	for (size_t i = 0; i < n; i++)
	{
		unsigned char c = (unsigned char) bytes.data[i];

		out[i] = c < 0x20 || c == 0x7f ? '?' : (char) c;
	}
	out[n] = '\0';
	return out;
}

static void
now_text(char out[32])
{
	struct timespec now;
	struct tm       utc;
	char            seconds[24];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(out, 32, "%s.%03dZ", seconds, (int) (now.tv_nsec / 1000000));
}

/* What does not fit is left out: a cut line is better than none. One byte stays for the newline. */
static void
line_add(Line *line, const char *text)
{
	size_t n = strlen(text);
	size_t room = LOG_LINE_BYTES - 1 - line->size;

	if (n > room)
		n = room;
	memcpy(line->text + line->size, text, n);
	line->size += n;
}

/* Values with blanks, quotes or nothing printable are quoted, so that a line can be taken apart. */
static void
line_add_text_value(Line *line, const char *value)
{
	if (value[strcspn(value, " \"=")] == '\0')
	{
		line_add(line, value);
		return;
	}
	line_add(line, "\"");
	for (const char *c = value; *c != '\0'; c++)
	{
		char one[3] = {*c, '\0', '\0'};

		if (*c == '"' || *c == '\\')
		{
			one[0] = '\\';
			one[1] = *c;
		}
		line_add(line, one);
	}
	line_add(line, "\"");
}

static void
line_make_text(Line *line, LogLevel level, const char *event, va_list pairs)
{
	char        value[LOG_VALUE_BYTES + 1];
	char        now[32];
	const char *name;

	now_text(now);
	line_add(line, now);
	line_add(line, " ");
	line_add(line, level_names[level]);
	line_add(line, " ");
	line_add(line, event);
	while ((name = va_arg(pairs, const char *)) != NULL)
	{
		const char *given = va_arg(pairs, const char *);

		if (given == NULL || *given == '\0')
			continue;
		line_add(line, " ");
		line_add(line, name);
		line_add(line, "=");
		line_add_text_value(line, log_printable(mq_bytes_of(given), value, sizeof(value)));
	}
}

/* A JSON string must be UTF-8: a peer's text that is not (or was cut within a character) has its
 * foreign bytes replaced. */
static json_t *
json_value(char *value)
{
	json_t *string = json_string(value);

	if (string != NULL)
		return string;
	for (char *c = value; *c != '\0'; c++)
		if ((unsigned char) *c >= 0x80)
			*c = '?';
	return json_string(value);
}

static void
line_make_json(Line *line, LogLevel level, const char *event, va_list pairs)
{
	json_t     *object = json_object();
	char        value[LOG_VALUE_BYTES + 1];
	char        now[32];
	const char *name;
	size_t      n;

	now_text(now);
	json_object_set_new(object, "time", json_string(now));
	json_object_set_new(object, "level", json_string(level_names[level]));
	json_object_set_new(object, "event", json_string(event));
	while ((name = va_arg(pairs, const char *)) != NULL)
	{
		const char *given = va_arg(pairs, const char *);

		if (given == NULL || *given == '\0')
			continue;
		log_printable(mq_bytes_of(given), value, sizeof(value));
		json_object_set_new(object, name, json_value(value));
	}
	n = json_dumpb(object, line->text, LOG_LINE_BYTES - 1, JSON_COMPACT | JSON_PRESERVE_ORDER);
	line->size = n <= LOG_LINE_BYTES - 1 ? n : 0;
	json_decref(object);
}

void
log_line(LogLevel level, const char *event, ...)
{
	va_list pairs;
	Line    line = {.size = 0};

	if (!log_enabled(level))
		return;
	va_start(pairs, event);
	if (log_format == FORMAT_JSON)
		line_make_json(&line, level, event, pairs);
	else
		line_make_text(&line, level, event, pairs);
	va_end(pairs);
	line.text[line.size++] = '\n';
	/* Nobody is left to tell if standard error is gone. */
	if (write(STDERR_FILENO, line.text, line.size) < 0)
		return;
}
