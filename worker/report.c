/*
 * report.c
 *    See report.h.
 */
#include "worker/report.h"

#include "wire/backoff.h"
#include "wire/stream.h"
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
#define LOOKED_AT_PAUSE_US ((int64_t) 2000000) /* the longest while somebody looks */
#define REFUSED_PAUSE_US ((int64_t) 10000000)  /* the server's log has a line for each refusal */
#define PARAMETERS 10

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

	Answer *answer; /* has a mutex of its own */

	/* of the thread alone */
	PGconn *connection;
	bool    waits; /* as told to the log */
	Backoff pause;
	int64_t ask_again_us; /* after a refusal */
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
	set_milliseconds(values[8], figures->canary_age_us < 0 ? -1 : figures->canary_delay_us);
	set_milliseconds(values[9], figures->canary_age_us);
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

/* The first line of what libpq says. */
static void
went_away(Report *report, const char *text)
{
	char line[400];

	snprintf(line, sizeof(line), "%.*s", (int) strcspn(text, "\n"), text);
	tell(report, text);
	answer_fail(report->answer, ANSWER_AWAY, line);
}

/* A right or a function is missing: that is no fault of the server. */
static bool
is_refusal(const PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return state != NULL && (strncmp(state, "42", 2) == 0 || strncmp(state, "3F", 2) == 0);
}

static void
was_refused(Report *report, const PGresult *result)
{
	const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

	answer_fail(report->answer, is_refusal(result) ? ANSWER_REFUSED : ANSWER_AWAY,
	            text == NULL ? "refused" : text);
}

static void
disconnect(Report *report)
{
	PQfinish(report->connection);
	report->connection = NULL;
}

/* libpq would write them to standard error, where every line is one of the log. */
static void
ignore_notice(void *context, const char *text)
{
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
	PQsetNoticeProcessor(report->connection, ignore_notice, NULL);
	if (PQstatus(report->connection) == CONNECTION_OK)
		return true;
	went_away(report, PQerrorMessage(report->connection));
	disconnect(report);
	return false;
}

/* Waits for the answer, but no longer than the limit, or once it shall stop a second. */
static bool
wait_answer(Report *report, int64_t limit_ms)
{
	int64_t end_us = mq_clock_us() + limit_ms * 1000;

	while (PQisBusy(report->connection))
	{
		struct pollfd fd = {.fd = PQsocket(report->connection), .events = POLLIN};
		int64_t       now_us = mq_clock_us();

		if (now_us >= end_us)
			return false;
		poll(&fd, 1, (int) ((end_us - now_us + 999) / 1000));
		if (fd.revents != 0 && !PQconsumeInput(report->connection))
			return false;
	}
	return true;
}

/* The answer to what was sent just now; NULL: the connection is of no use any more. */
static PGresult *
take_result(Report *report, bool sent, int64_t limit_ms)
{
	PGresult *result, *more;

	if (!sent || !wait_answer(report, limit_ms))
	{
		const char *words = PQerrorMessage(report->connection);

		went_away(report, *words == '\0' ? "no answer in time" : words);
		return NULL;
	}
	result = PQgetResult(report->connection);
	while ((more = PQgetResult(report->connection)) != NULL)
	{
		PQclear(result);
		result = more;
	}
	return result;
}

static bool
send_report(Report *report, const ReportText *text, int64_t limit_ms)
{
	const char *values[PARAMETERS];
	PGresult   *result;
	bool        fine = false;

	for (int i = 0; i < PARAMETERS; i++)
		values[i] = text->values[i][0] == '\0' ? NULL : text->values[i];
	result = take_result(
		report,
		PQsendQueryParams(report->connection,
	                      "SELECT outbox.report_consumer($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)",
	                      PARAMETERS, NULL, values, NULL, NULL, 0),
		limit_ms);
	if (result == NULL)
		return false;
	fine = PQresultStatus(result) == PGRES_TUPLES_OK;
	tell(report, fine ? NULL : PQresultErrorMessage(result));
	if (!fine)
		was_refused(report, result);
	PQclear(result);
	return fine;
}

/* How the outbox is, for the status page. As bytes: the database's encoding may be another. */
static bool
ask_pipeline(Report *report, int64_t limit_ms)
{
	PGresult *result = take_result(
		report,
		PQsendQueryParams(report->connection,
	                      "SELECT pg_catalog.convert_to(outbox.pipeline()::text, 'UTF8')", 0, NULL,
	                      NULL, NULL, NULL, 1),
		limit_ms);

	if (result == NULL)
		return false;
	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
	{
		was_refused(report, result);
		report->ask_again_us = mq_clock_us() + REFUSED_PAUSE_US;
	}
	else
		answer_put(report->answer,
		           mq_bytes(PQgetvalue(result, 0, 0), (size_t) PQgetlength(result, 0, 0)),
		           mq_clock_us());
	PQclear(result);
	return true;
}

/* false: the connection is lost. */
static bool
mind_answer(Report *report)
{
	int64_t now_us = mq_clock_us();

	if (!answer_is_wanted(report->answer, now_us))
	{
		answer_fail(report->answer, ANSWER_NONE, "");
		report->ask_again_us = 0;
		return true;
	}
	return now_us < report->ask_again_us || ask_pipeline(report, ANSWER_LIMIT_MS);
}

static bool
serve(Report *report, const Task *task)
{
	if (!connect_database(report))
		return false;
	if (task->stopping)
		return send_report(report, &task->text, LAST_LIMIT_S * 1000);
	return send_report(report, &task->text, ANSWER_LIMIT_MS) && mind_answer(report);
}

/* Waits for the end of a pause, in which reports only replace one another. */
static void
pause_thread(Report *report, int64_t pause_us)
{
	int64_t begin_us = mq_clock_us();
	int64_t now_us = begin_us;

	while (now_us < begin_us + pause_us && !is_stopping(report) &&
	       (now_us < begin_us + LOOKED_AT_PAUSE_US || !answer_is_wanted(report->answer, now_us)))
	{
		struct pollfd fd = {.fd = report->wake_fd, .events = POLLIN};
		int64_t       wait_us = begin_us + pause_us - now_us;

		if (wait_us > LOOKED_AT_PAUSE_US)
			wait_us = LOOKED_AT_PAUSE_US;
		poll(&fd, 1, (int) ((wait_us + 999) / 1000));
		drain_wakes(report);
		now_us = mq_clock_us();
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
		if (serve(report, &task))
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
	answer_free(report->answer);
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
	report->answer = answer_new();
	snprintf(report->name, sizeof(report->name), "%s", name);
	report->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	pthread_mutex_init(&report->mutex, NULL);
	backoff_init(&report->pause, FIRST_PAUSE_US, LONGEST_PAUSE_US, (uint64_t) getpid());
	if (report->conninfo != NULL && report->answer != NULL && report->wake_fd >= 0 &&
	    pthread_attr_init(&attributes) == 0)
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

Answer *
report_answer(const Report *report)
{
	return report == NULL ? NULL : report->answer;
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
