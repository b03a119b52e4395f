/*
 * common.h
 *    What the programs of this folder share: the clock, PostgreSQL, percentiles. Errors end the program.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <libpq-fe.h>
#include <stdint.h>

void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Of a clock that nobody sets. */
int64_t now_us(void);
void    pause_us(int64_t us);

/* An environment variable that make sets. */
const char *need(const char *name);

/* Of the tables in recording.sql: 100,000, or BENCH_ROWS. From single_rows() on they are for who looks at
 * single keys while others write; writers leave them alone. */
int table_rows(void);
int single_rows(void);

/* To BENCH_PG, a connection string. */
PGconn *connect_postgres(void);

/* Runs SQL without a result of interest, and SQL that gives one number. */
void    run_sql(PGconn *postgres, const char *sql);
int64_t sql_number(PGconn *postgres, const char *sql);

void sort_times(int64_t *times_us, int count);

/* A word of the command line; ends the program unless it is a number from 1 to this. */
int64_t number(const char *text, int64_t most);

/* User and system time of a process so far; 0: this one. */
int64_t cpu_ns(int pid);

/* The time that this percentage of all times does not exceed; times sorted. */
double percentile_ms(const int64_t *times_us, int count, int percent);

#endif
