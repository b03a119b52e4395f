/*
 * recording.c
 *    What recording costs the writer, measured from outside by one who asks the server to write.
 *
 *    recording single ROUNDS COUNT   COUNT transactions of one single-row UPDATE on each table; the
 *                                    CPU time of the backend, user and system, for each of them.
 *    recording bulk ROUNDS STATE     one UPDATE of all rows; its time and its backend's CPU time.
 *                                    Before it, not measured, tables are put into one STATE:
 *                                    packed   full pages, so new row versions go elsewhere and
 *                                             every index gets an entry; a table's default
 *                                    roomy    half of each page is free: nothing else is touched
 *    recording writers ROUNDS SECONDS CLIENTS
 *                                    transactions in a second, of so many clients
 *
 * Tables are those named in BENCH_TABLES, of bench/recording.sql. In each round every table has its
 * turn, each time another one first: what else the machine does meanwhile meets all of them alike.
 * BENCH_BETWEEN is SQL that runs before each turn. Reads BENCH_PG (connection string). Prints one
 * JSON object: for each table the figures of its rounds, in order.
 */
#include <libpq-fe.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_TABLES 8
#define MAX_ROUNDS 1000
#define MAX_COUNT 10000000
#define MAX_CLIENTS 64
#define MAX_SECONDS 600
#define MAX_SQL 1024
#define MAX_TABLE_NAME 64
#define WARM_UP_COUNT 200
#define ROWS 100000
#define WAIT_LIMIT_MS 60000

typedef enum Figure
{
	CPU_US,  /* of the backend, for one transaction or statement */
	TIME_US, /* the same, by the clock */
	RATE,    /* transactions in a second */
	FIGURES
} Figure;

static char        table_names[MAX_SQL];
static const char *tables[MAX_TABLES];
static int         table_count;
static double      turns[MAX_TABLES][MAX_ROUNDS][FIGURES];

static void __attribute__((format(printf, 1, 2), noreturn)) fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

static const char *
need(const char *name)
{
	const char *value = getenv(name);

	if (value == NULL)
		fail("%s is not set: run by make bench-recording", name);
	return value;
}

static double
clock_us(clockid_t clock)
{
	struct timespec time;

	if (clock_gettime(clock, &time) != 0)
		fail("the backend's clock is gone");
	return (double) time.tv_sec * 1e6 + (double) time.tv_nsec / 1e3;
}

/* User and system time of the backend. */
static clockid_t
backend_clock(PGconn *postgres)
{
	clockid_t clock;

	if (clock_getcpuclockid(PQbackendPID(postgres), &clock) != 0)
		fail("no CPU clock of backend %d: the server must run on this machine",
		     PQbackendPID(postgres));
	return clock;
}

static PGconn *
connect_postgres(void)
{
	PGconn *postgres = PQconnectdb(need("BENCH_PG"));

	if (PQstatus(postgres) != CONNECTION_OK)
		fail("PostgreSQL: %s", PQerrorMessage(postgres));
	return postgres;
}

static void
check(PGconn *postgres, PGresult *result)
{
	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		fail("PostgreSQL: %s", PQerrorMessage(postgres));
	PQclear(result);
}

static void __attribute__((format(printf, 2, 3))) run_sql(PGconn *postgres, const char *format, ...)
{
	char    sql[MAX_SQL];
	va_list arguments;
	int     length;

	va_start(arguments, format);
	length = vsnprintf(sql, sizeof(sql), format, arguments);
	va_end(arguments);
	if (length >= (int) sizeof(sql))
		fail("SQL too long");
	check(postgres, PQexec(postgres, sql));
}

/* One statement on each row's key, known by the table's name. */
static void
prepare_updates(PGconn *postgres)
{
	for (int i = 0; i < table_count; i++)
	{
		char sql[MAX_SQL];

		snprintf(sql, sizeof(sql), "UPDATE %s SET views = views + 1 WHERE id = $1::int", tables[i]);
		check(postgres, PQprepare(postgres, tables[i], sql, 1, NULL));
	}
}

static int
send_update(PGconn *postgres, const char *table, int64_t number)
{
	char        id[16];
	const char *values[] = {id};

	/* 7919 has no divisor in common with ROWS: neighbours do not follow each other. */
	snprintf(id, sizeof(id), "%d", (int) (number * 7919 % ROWS) + 1);
	return PQsendQueryPrepared(postgres, table, 1, values, NULL, NULL, 0);
}

/* By the table's procedure: a client that is woken for each answer costs the backend more than what
 * is measured here, and not always as much. */
static void
measure_single(PGconn *postgres, const char *table, int64_t count, double *turn)
{
	clockid_t clock = backend_clock(postgres);
	double    began_us, began_cpu_us;

	run_sql(postgres, "CALL %s_updates(0, %d)", table, WARM_UP_COUNT);
	began_us = clock_us(CLOCK_MONOTONIC);
	began_cpu_us = clock_us(clock);
	run_sql(postgres, "CALL %s_updates(%d, %lld)", table, WARM_UP_COUNT, (long long) count);
	turn[CPU_US] = (clock_us(clock) - began_cpu_us) / (double) count;
	turn[TIME_US] = (clock_us(CLOCK_MONOTONIC) - began_us) / (double) count;
}

static void
measure_bulk(PGconn *postgres, const char *table, double *turn)
{
	clockid_t clock = backend_clock(postgres);
	double    began_us, began_cpu_us;

	began_us = clock_us(CLOCK_MONOTONIC);
	began_cpu_us = clock_us(clock);
	run_sql(postgres, "UPDATE %s SET views = views + 1", table);
	turn[CPU_US] = clock_us(clock) - began_cpu_us;
	turn[TIME_US] = clock_us(CLOCK_MONOTONIC) - began_us;
}

/* Takes what has arrived; true: the answer is complete. */
static bool
take_answer(PGconn *postgres)
{
	PGresult *result;

	if (!PQconsumeInput(postgres))
		fail("PostgreSQL: %s", PQerrorMessage(postgres));
	if (PQisBusy(postgres))
		return false;
	while ((result = PQgetResult(postgres)) != NULL)
		check(postgres, result);
	return true;
}

/* Each client has rows of its own and a transaction on its way at any time. */
static int64_t
run_writers(PGconn **clients, int count, const char *table, double until_us)
{
	struct pollfd wait[MAX_CLIENTS];
	int64_t       sent[MAX_CLIENTS] = {0};
	int64_t       done = 0;

	for (int i = 0; i < count; i++)
	{
		wait[i] = (struct pollfd){.fd = PQsocket(clients[i]), .events = POLLIN};
		send_update(clients[i], table, i);
	}
	for (int open = count; open > 0;)
	{
		if (poll(wait, (nfds_t) count, WAIT_LIMIT_MS) <= 0)
			fail("no answer within %d ms", WAIT_LIMIT_MS);
		for (int i = 0; i < count; i++)
		{
			if (wait[i].revents == 0 || !take_answer(clients[i]))
				continue;
			done++;
			if (clock_us(CLOCK_MONOTONIC) < until_us)
				send_update(clients[i], table, ++sent[i] * count + i);
			else
			{
				wait[i].fd = -1;
				open--;
			}
		}
	}
	return done;
}

static void
measure_writers(PGconn **clients, int count, const char *table, double seconds, double *turn)
{
	double  began_us = clock_us(CLOCK_MONOTONIC);
	int64_t done = run_writers(clients, count, table, began_us + seconds * 1e6);

	turn[TIME_US] = clock_us(CLOCK_MONOTONIC) - began_us;
	turn[RATE] = (double) done / turn[TIME_US] * 1e6;
}

/* Statement by statement, since VACUUM allows no company. */
static void
run_each(PGconn *postgres, const char *statements)
{
	char *copy = strdup(statements);

	if (copy == NULL)
		fail("out of memory");
	for (char *one = strtok(copy, ";"); one != NULL; one = strtok(NULL, ";"))
		run_sql(postgres, "%s", one);
	free(copy);
}

static void
set_state(PGconn *postgres, const char *state)
{
	for (int i = 0; i < table_count; i++)
	{
		if (strcmp(state, "packed") == 0)
			run_sql(postgres, "VACUUM (FULL) %s", tables[i]);
		run_sql(postgres, "VACUUM %s", tables[i]);
	}
}

static void
prepare_state(PGconn *postgres, const char *state)
{
	if (strcmp(state, "packed") != 0 && strcmp(state, "roomy") != 0)
		fail("unknown state \"%s\"", state);
	for (int i = 0; i < table_count; i++)
	{
		run_sql(postgres, "ALTER TABLE %s SET (fillfactor = %d)", tables[i],
		        strcmp(state, "packed") == 0 ? 100 : 45);
		run_sql(postgres, "VACUUM (FULL) %s", tables[i]);
	}
}

static void
print_figures(const char *name, Figure figure, int rounds)
{
	printf("\"%s\": {", name);
	for (int i = 0; i < table_count; i++)
	{
		printf("%s\"%s\": [", i == 0 ? "" : ", ", tables[i]);
		for (int round = 0; round < rounds; round++)
			printf("%s%.3f", round == 0 ? "" : ", ", turns[i][round][figure]);
		printf("]");
	}
	printf("}");
}

static void
name_tables(void)
{
	if (snprintf(table_names, sizeof(table_names), "%s", need("BENCH_TABLES")) >=
	    (int) sizeof(table_names))
		fail("BENCH_TABLES is too long");
	for (char *name = strtok(table_names, " "); name != NULL; name = strtok(NULL, " "))
	{
		if (table_count == MAX_TABLES || strlen(name) > MAX_TABLE_NAME)
			fail("BENCH_TABLES: too many or too long");
		tables[table_count++] = name;
	}
	if (table_count == 0)
		fail("BENCH_TABLES is empty");
}

static void
single(int rounds, int64_t count)
{
	PGconn *postgres = connect_postgres();

	prepare_state(postgres, "roomy");
	for (int round = 0; round < rounds; round++)
		for (int i = 0; i < table_count; i++)
		{
			int turn = (round + i) % table_count;

			run_each(postgres, need("BENCH_BETWEEN"));
			measure_single(postgres, tables[turn], count, turns[turn][round]);
		}
	PQfinish(postgres);
	printf("{");
	print_figures("cpu_us", CPU_US, rounds);
	printf(", ");
	print_figures("time_us", TIME_US, rounds);
	printf("}\n");
}

static void
bulk(int rounds, const char *state)
{
	PGconn *postgres = connect_postgres();

	prepare_state(postgres, state);
	for (int round = 0; round < rounds; round++)
	{
		set_state(postgres, state);
		for (int i = 0; i < table_count; i++)
		{
			int turn = (round + i) % table_count;

			run_each(postgres, need("BENCH_BETWEEN"));
			measure_bulk(postgres, tables[turn], turns[turn][round]);
		}
	}
	PQfinish(postgres);
	printf("{");
	print_figures("cpu_us", CPU_US, rounds);
	printf(", ");
	print_figures("time_us", TIME_US, rounds);
	printf("}\n");
}

static void
writers(int rounds, int seconds, int count)
{
	PGconn *control = connect_postgres();
	PGconn *clients[MAX_CLIENTS];

	prepare_state(control, "roomy");
	for (int i = 0; i < count; i++)
	{
		clients[i] = connect_postgres();
		prepare_updates(clients[i]);
	}
	for (int round = 0; round < rounds; round++)
		for (int i = 0; i < table_count; i++)
		{
			int turn = (round + i) % table_count;

			run_each(control, need("BENCH_BETWEEN"));
			measure_writers(clients, count, tables[turn], seconds, turns[turn][round]);
		}
	for (int i = 0; i < count; i++)
		PQfinish(clients[i]);
	PQfinish(control);
	printf("{");
	print_figures("rate", RATE, rounds);
	printf("}\n");
}

/* Dies unless it is between 1 and most. */
static int
number(const char *text, int most)
{
	int value = atoi(text);

	if (value < 1 || value > most)
		fail("%s is not between 1 and %d", text, most);
	return value;
}

int
main(int argc, char **argv)
{
	if (argc < 4)
		fail(
			"usage: recording single ROUNDS COUNT | bulk ROUNDS STATE | writers ROUNDS SECONDS CLIENTS");
	name_tables();
	if (strcmp(argv[1], "single") == 0)
		single(number(argv[2], MAX_ROUNDS), number(argv[3], MAX_COUNT));
	else if (strcmp(argv[1], "bulk") == 0)
		bulk(number(argv[2], MAX_ROUNDS), argv[3]);
	else if (strcmp(argv[1], "writers") == 0 && argc == 5)
		writers(number(argv[2], MAX_ROUNDS), number(argv[3], MAX_SECONDS),
		        number(argv[4], MAX_CLIENTS));
	else
		fail("unknown measurement \"%s\"", argv[1]);
	return 0;
}
