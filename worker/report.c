/*
 * report.c
 *    See report.h.
 */
#include "worker/report.h"

#include "wire/backoff.h"
#include "worker/log.h"

#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define STACK_BYTES ((size_t) 512 * 1024)
#define ANSWER_LIMIT_MS 10000
#define LAST_LIMIT_S 1
#define FIRST_PAUSE_US ((int64_t) 1000000)
#define LONGEST_PAUSE_US ((int64_t) 30000000)
#define PARAMETERS 8

/* Figures as text, in the order of report_consumer's arguments; an empty text is NULL. */
typedef struct ReportText
{
	char values[PARAMETERS][512];
} ReportText;

struct Report
{
	pthread_t thread;
	char     *conninfo;
	char      name[128];
	int       wake_fd; /* eventfd: a report is there, or the end */

	pthread_mutex_t mutex; /* guards the rest up to here */
	ReportText      newest;
	bool            is_new;
	bool            stopping;

	/* of the thread alone */
	PGconn *connection;
	bool    waits; /* as told to the log */
	Backoff pause;
};

bool
report_is_conninfo(const char *conninfo)
{
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL);

	PQconninfoFree(options);
	return options != NULL;
}

/* ---- the loop's side ---- */

static void
set_milliseconds(char out[512], int64_t value_us)
{
	out[0] = '\0';
	if (value_us >= 0)
		snprintf(out, 512, "%.3f", (double) value_us / 1000);
}

static void
set_values(const Report *report, const Figures *figures, ReportText *text)
{
	char(*values)[512] = text->values;

	snprintf(values[0], 512, "%s", report->name);
	snprintf(values[1], 512, "%s", figures->state);
	snprintf(values[2], 512, "%" PRIu64, figures->messages);
	snprintf(values[3], 512, "%" PRIu64, figures->keys_deleted);
	snprintf(values[4], 512, "%" PRIu64, figures->dead_lettered);
	set_milliseconds(values[5], histogram_quantile_us(figures->delay, 0.5));
	set_milliseconds(values[6], histogram_quantile_us(figures->delay, 0.99));
	log_printable(mq_bytes_of(figures->last_error), values[7], 512);
}

static void
wake(const Report *report)
{
	uint64_t one = 1;

	/* It fails only if the counter is full: then it is awake. */
	if (write(report->wake_fd, &one, sizeof(one)) < 0)
		return;
}

void
report_post(Report *report, const Figures *figures)
{
	/* The thread has it for the time of a copy; the next second is soon. */
	if (report == NULL || pthread_mutex_trylock(&report->mutex) != 0)
		return;
	set_values(report, figures, &report->newest);
	report->is_new = true;
	pthread_mutex_unlock(&report->mutex);
	wake(report);
}

/* ---- the thread's side ---- */

typedef struct Task
{
	ReportText text;
	bool       is_new;
	bool       stopping;
} Task;

static void
take_task(Report *report, Task *task)
{
	pthread_mutex_lock(&report->mutex);
	task->is_new = report->is_new;
	task->stopping = report->stopping;
	if (report->is_new)
		task->text = report->newest;
	report->is_new = false;
	pthread_mutex_unlock(&report->mutex);
}

static bool
is_stopping(Report *report)
{
	bool stopping;

	pthread_mutex_lock(&report->mutex);
	stopping = report->stopping;
	pthread_mutex_unlock(&report->mutex);
	return stopping;
}

static void
drain_wakes(const Report *report)
{
	uint64_t count;

	/* Non-blocking: nothing there is fine. */
	if (read(report->wake_fd, &count, sizeof(count)) < 0)
		return;
}

/* One line when it begins to fail, one when it works again. text: libpq's or the server's. */
static void
tell(Report *report, const char *text)
{
	bool waits = text != NULL;
	char line[400] = "";

	if (waits)
		snprintf(line, sizeof(line), "%.*s", (int) strcspn(text, "\n"), text);
	if (waits != report->waits)
		log_line(waits ? LEVEL_WARNING : LEVEL_INFO, waits ? "report waits" : "report goes on",
		         "reason", line, NULL);
	report->waits = waits;
}

static void
disconnect(Report *report)
{
	PQfinish(report->connection);
	report->connection = NULL;
}

/* A time limit, and who we are; what the string says itself goes before. */
static bool
connect_database(Report *report)
{
	const char *names[] = {"connect_timeout", "fallback_application_name", "dbname", NULL};
	const char *values[] = {"5", "outbox-worker", report->conninfo, NULL};

	if (report->connection != NULL)
		return true;
	report->connection = PQconnectdbParams(names, values, 1);
	if (PQstatus(report->connection) == CONNECTION_OK)
		return true;
	tell(report, PQerrorMessage(report->connection));
	disconnect(report);
	return false;
}

/* Waits for the answer, but no longer than the limit, or once it shall stop a second. */
static bool
wait_answer(Report *report, int64_t limit_ms)
{
	struct timespec now;
	int64_t         end_ms, now_ms;

	clock_gettime(CLOCK_MONOTONIC, &now);
	end_ms = now.tv_sec * 1000 + now.tv_nsec / 1000000 + limit_ms;
	while (PQisBusy(report->connection))
	{
		struct pollfd fd = {.fd = PQsocket(report->connection), .events = POLLIN};

		clock_gettime(CLOCK_MONOTONIC, &now);
		now_ms = now.tv_sec * 1000 + now.tv_nsec / 1000000;
		if (now_ms >= end_ms)
			return false;
		poll(&fd, 1, (int) (end_ms - now_ms));
		if (fd.revents != 0 && !PQconsumeInput(report->connection))
			return false;
	}
	return true;
}

static bool
send_report(Report *report, const ReportText *text, int64_t limit_ms)
{
	const char *values[PARAMETERS];
	PGresult   *result;
	bool        fine = false;

	for (int i = 0; i < PARAMETERS; i++)
		values[i] = text->values[i][0] == '\0' ? NULL : text->values[i];
	if (!PQsendQueryParams(report->connection,
	                       "SELECT outbox.report_consumer($1,$2,$3,$4,$5,$6,$7,$8)", PARAMETERS,
	                       NULL, values, NULL, NULL, 0))
	{
		tell(report, PQerrorMessage(report->connection));
		return false;
	}
	if (!wait_answer(report, limit_ms))
	{
		const char *words = PQerrorMessage(report->connection);

		tell(report, *words == '\0' ? "no answer in time" : words);
		return false;
	}
	while ((result = PQgetResult(report->connection)) != NULL)
	{
		fine = PQresultStatus(result) == PGRES_TUPLES_OK;
		tell(report, fine ? NULL : PQresultErrorMessage(result));
		PQclear(result);
	}
	return fine;
}

/* Waits for a report, or for the end of a pause, in which reports only replace one another. */
static void
pause_thread(Report *report, int64_t pause_us)
{
	struct timespec now;
	int64_t         end_ms, now_ms;

	clock_gettime(CLOCK_MONOTONIC, &now);
	now_ms = now.tv_sec * 1000 + now.tv_nsec / 1000000;
	end_ms = now_ms + pause_us / 1000;
	while (now_ms < end_ms && !is_stopping(report))
	{
		struct pollfd fd = {.fd = report->wake_fd, .events = POLLIN};

		poll(&fd, 1, (int) (end_ms - now_ms));
		drain_wakes(report);
		clock_gettime(CLOCK_MONOTONIC, &now);
		now_ms = now.tv_sec * 1000 + now.tv_nsec / 1000000;
	}
}

static void *
report_thread(void *argument)
{
	Report *report = argument;
	Task    task;

	do
	{
		struct pollfd fd = {.fd = report->wake_fd, .events = POLLIN};

		poll(&fd, 1, -1);
		drain_wakes(report);
		take_task(report, &task);
		if (!task.is_new || (task.stopping && report->connection == NULL))
			continue;
		if (connect_database(report) &&
		    send_report(report, &task.text, task.stopping ? LAST_LIMIT_S * 1000 : ANSWER_LIMIT_MS))
		{
			backoff_reset(&report->pause);
			continue;
		}
		disconnect(report);
		pause_thread(report, backoff_next_us(&report->pause));
		wake(report);
	} while (!task.stopping);
	disconnect(report);
	return NULL;
}

/* ---- beginning and end ---- */

static void
release(Report *report)
{
	if (report->wake_fd >= 0)
		close(report->wake_fd);
	if (report->conninfo != NULL)
		explicit_bzero(report->conninfo, strlen(report->conninfo));
	free(report->conninfo);
	free(report);
}

Report *
report_new(const char *conninfo, const char *name)
{
	Report        *report = calloc(1, sizeof(*report));
	pthread_attr_t attributes;
	int            failure = ENOMEM;

	if (report == NULL)
		return NULL;
	report->conninfo = strdup(conninfo);
	snprintf(report->name, sizeof(report->name), "%s", name);
	report->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	pthread_mutex_init(&report->mutex, NULL);
	backoff_init(&report->pause, FIRST_PAUSE_US, LONGEST_PAUSE_US, (uint64_t) getpid());
	if (report->conninfo != NULL && report->wake_fd >= 0 && pthread_attr_init(&attributes) == 0)
	{
		pthread_attr_setstacksize(&attributes, STACK_BYTES);
		failure = pthread_create(&report->thread, &attributes, report_thread, report);
		pthread_attr_destroy(&attributes);
	}
	if (failure == 0)
		return report;
	release(report);
	errno = failure;
	return NULL;
}

void
report_free(Report *report)
{
	struct timespec limit;

	if (report == NULL)
		return;
	pthread_mutex_lock(&report->mutex);
	report->stopping = true;
	pthread_mutex_unlock(&report->mutex);
	wake(report);
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += LAST_LIMIT_S + 1;
	/* One that still connects is left behind: the process ends, and its memory with it. */
	if (pthread_timedjoin_np(report->thread, NULL, &limit) == 0)
		release(report);
	else
		pthread_detach(report->thread);
}
