/*
 * common.c
 *    Clocks, PostgreSQL, percentiles.
 */
#include "common.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define USUAL_ROWS 100000

void
fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

int64_t
now_us(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t) time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

void
pause_us(int64_t us)
{
	struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

	nanosleep(&time, NULL);
}

const char *
need(const char *name)
{
	const char *value = getenv(name);

	if (value == NULL)
		fail("%s is not set: run by make", name);
	return value;
}

int
table_rows(void)
{
	const char *rows = getenv("BENCH_ROWS");

	return rows == NULL || *rows == '\0' ? USUAL_ROWS : (int) number(rows, USUAL_ROWS);
}

int
single_rows(void)
{
	return table_rows() / 10 * 9 + 1;
}

PGconn *
connect_postgres(void)
{
	PGconn *postgres = PQconnectdb(need("BENCH_PG"));

	if (PQstatus(postgres) != CONNECTION_OK)
		fail("PostgreSQL: %s", PQerrorMessage(postgres));
	return postgres;
}

static PGresult *
query(PGconn *postgres, const char *sql)
{
	PGresult *result = PQexec(postgres, sql);

	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		fail("PostgreSQL: %s", PQerrorMessage(postgres));
	return result;
}

void
run_sql(PGconn *postgres, const char *sql)
{
	PQclear(query(postgres, sql));
}

int64_t
sql_number(PGconn *postgres, const char *sql)
{
	PGresult *result = query(postgres, sql);
	int64_t   number;

	if (PQntuples(result) != 1 || PQgetisnull(result, 0, 0))
		fail("no number: %s", sql);
	number = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	PQclear(result);
	return number;
}

int64_t
number(const char *text, int64_t most)
{
	char   *end;
	int64_t value = strtoll(text, &end, 10);

	if (*end != '\0' || value < 1 || value > most)
		fail("\"%s\" is not a number from 1 to %" PRId64, text, most);
	return value;
}

int64_t
cpu_ns(int pid)
{
	struct timespec time;
	clockid_t       clock;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0)
		fail("no CPU clock of process %d: is it on this machine?", pid);
	return (int64_t) time.tv_sec * 1000000000 + time.tv_nsec;
}

static int
compare_times(const void *a, const void *b)
{
	int64_t left = *(const int64_t *) a;
	int64_t right = *(const int64_t *) b;

	return (left > right) - (left < right);
}

void
sort_times(int64_t *times_us, int count)
{
	qsort(times_us, (size_t) count, sizeof(*times_us), compare_times);
}

double
percentile_ms(const int64_t *times_us, int count, int percent)
{
	int rank = (count * percent + 99) / 100; /* 1 to count */

	return (double) times_us[rank - 1] / 1000;
}
