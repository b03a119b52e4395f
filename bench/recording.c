/*
 * recording.c
 *    What recording costs the writer, measured from outside by one who asks the server to write.
 *
 *    recording single ROUNDS COUNT   COUNT transactions of one single-row UPDATE on each table; the
 *                                    CPU time of the backend, user and system, for each of them, and
 *                                    its WAL without images of whole pages.
 *    recording bulk ROUNDS STATE [ROWS]
 *                                    one UPDATE of all rows, or of ROWS; its time and its backend's CPU
 *                                    time. Before it, not measured, tables are put into one STATE:
 *                                    packed   full pages, so new row versions go elsewhere and
 *                                             every index gets an entry; a table's default
 *                                    roomy    half of each page is free: nothing else is touched
 *
 * Tables are those named in BENCH_TABLES, of bench/recording.sql. In each round every table has its
 * turn, each time another one first: what else the machine does meanwhile meets all of them alike.
 * BENCH_BETWEEN is SQL that runs before each turn. Reads BENCH_PG (connection string). Prints one
 * JSON object: for each table the figures of its rounds, in order.
 */
#include "common.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TABLES 16
#define MAX_ROUNDS 1000
#define MAX_COUNT 10000000
#define MAX_SQL 1024
#define MAX_TABLE_NAME 64
#define WARM_UP_COUNT 200

typedef enum Figure
{
	CPU_US,    /* of the backend, for one transaction or statement */
	TIME_US,   /* the same, by the clock */
	WAL_BYTES, /* the same, of WAL, without images of whole pages */
	FIGURES
} Figure;

static char        table_names[MAX_SQL];
static const char *tables[MAX_TABLES];
static int         table_count;
static double      turns[MAX_TABLES][MAX_ROUNDS][FIGURES];

static void __attribute__((format(printf, 2, 3)))
run_format(PGconn *postgres, const char *format, ...)
{
	char    sql[MAX_SQL];
	va_list arguments;
	int     length;

	va_start(arguments, format);
	length = vsnprintf(sql, sizeof(sql), format, arguments);
	va_end(arguments);
	if (length >= (int) sizeof(sql))
		fail("SQL too long");
	run_sql(postgres, sql);
}

/* Where WAL ends, on disk. */
static int64_t
wal_position(PGconn *postgres)
{
	return sql_number(postgres, "SELECT pg_current_wal_flush_lsn() - '0/0'");
}

/* Since then, without images of whole pages: those depend on how long ago the last checkpoint was. */
static int64_t
wal_bytes_since(PGconn *postgres, int64_t begin)
{
	int64_t end = wal_position(postgres);
	char    sql[MAX_SQL];

	snprintf(sql, sizeof(sql),
	         "SELECT sum(fpi_size)::bigint FROM pg_get_wal_stats('0/0'::pg_lsn + %" PRId64
	         ", '0/0'::pg_lsn + %" PRId64 ")",
	         begin, end);
	return end - begin - sql_number(postgres, sql);
}

/* By the table's procedure: a client that is woken for each answer costs the backend more than what
 * is measured here, and not always as much. */
static void
measure_single(PGconn *postgres, const char *table, int64_t count, double *turn)
{
	int pid = PQbackendPID(postgres);

	run_format(postgres, "CALL %s_updates(0, %d)", table, WARM_UP_COUNT);
	int64_t wal = wal_position(postgres);
	int64_t began_us = now_us();
	int64_t began_cpu_ns = cpu_ns(pid);

	run_format(postgres, "CALL %s_updates(%d, %" PRId64 ")", table, WARM_UP_COUNT, count);
	turn[CPU_US] = (double) (cpu_ns(pid) - began_cpu_ns) / 1e3 / (double) count;
	turn[TIME_US] = (double) (now_us() - began_us) / (double) count;
	turn[WAL_BYTES] = (double) wal_bytes_since(postgres, wal) / (double) count;
}

static void
measure_bulk(PGconn *postgres, const char *table, int rows, double *turn)
{
	int     pid = PQbackendPID(postgres);
	int64_t began_us = now_us();
	int64_t began_cpu_ns = cpu_ns(pid);

	run_format(postgres, "UPDATE %s SET views = views + 1 WHERE id <= %d", table, rows);
	turn[CPU_US] = (double) (cpu_ns(pid) - began_cpu_ns) / 1e3;
	turn[TIME_US] = (double) (now_us() - began_us);
}

/* Statement by statement, since VACUUM allows no company. */
static void
run_each(PGconn *postgres, const char *statements)
{
	char *copy = strdup(statements);

	if (copy == NULL)
		fail("out of memory");
	for (char *one = strtok(copy, ";"); one != NULL; one = strtok(NULL, ";"))
		run_sql(postgres, one);
	free(copy);
}

static void
set_state(PGconn *postgres, const char *state)
{
	for (int i = 0; i < table_count; i++)
	{
		if (strcmp(state, "packed") == 0)
			run_format(postgres, "VACUUM (FULL) %s", tables[i]);
		run_format(postgres, "VACUUM %s", tables[i]);
	}
}

static void
prepare_state(PGconn *postgres, const char *state)
{
	if (strcmp(state, "packed") != 0 && strcmp(state, "roomy") != 0)
		fail("unknown state \"%s\"", state);
	for (int i = 0; i < table_count; i++)
	{
		run_format(postgres, "ALTER TABLE %s SET (fillfactor = %d)", tables[i],
		           strcmp(state, "packed") == 0 ? 100 : 45);
		run_format(postgres, "VACUUM (FULL) %s", tables[i]);
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
print_all(int rounds)
{
	printf("{");
	print_figures("cpu_us", CPU_US, rounds);
	printf(", ");
	print_figures("time_us", TIME_US, rounds);
	printf(", ");
	print_figures("wal_bytes", WAL_BYTES, rounds);
	printf("}\n");
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
	print_all(rounds);
}

static void
bulk(int rounds, const char *state, int rows)
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
			measure_bulk(postgres, tables[turn], rows, turns[turn][round]);
		}
	}
	PQfinish(postgres);
	print_all(rounds);
}

int
main(int argc, char **argv)
{
	if (argc < 4)
		fail("usage: recording single ROUNDS COUNT | bulk ROUNDS STATE [ROWS]");
	name_tables();
	if (strcmp(argv[1], "single") == 0)
		single((int) number(argv[2], MAX_ROUNDS), number(argv[3], MAX_COUNT));
	else if (strcmp(argv[1], "bulk") == 0)
		bulk((int) number(argv[2], MAX_ROUNDS), argv[3],
		     argc == 5 ? (int) number(argv[4], table_rows()) : table_rows());
	else
		fail("unknown measurement \"%s\"", argv[1]);
	return 0;
}
