/*
 * writers.c
 *    An application of many connections, each with one transaction under way: how many it gets done, how
 *    long each takes, what it costs.
 *
 *    writers TABLE CLIENTS SECONDS [RATE]
 *                     transactions of one UPDATE by primary key, as many as go, or RATE in a second
 *                     altogether. With BENCH_PUBLISH=1 each client, once its commit is acknowledged,
 *                     publishes the row's keys itself and waits for the confirm before it goes on:
 *                     the least that an application can do that publishes after its commits.
 *
 * The time of a transaction runs from sending the statement to the acknowledgement of its commit (with
 * BENCH_PUBLISH: to the confirm, for only then can the client go on). Rows from single_rows() on
 * are left to others. Reads BENCH_PG, and BENCH_AMQP_PORT if it publishes; needs a table like those of
 * bench/recording.sql. Prints one JSON object.
 */
#include "broker.h"
#include "common.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_CLIENTS 64
#define MAX_SECONDS 600
#define MAX_RATE 1000000
#define MAX_TRANSACTIONS 8000000
#define AUTHORS 1000 /* as in recording.sql */
#define ANSWER_LIMIT_US INT64_C(60000000)

typedef enum State
{
	RESTING,    /* until due_us; next: WRITING */
	WRITING,    /* next: CONFIRMING, RESTING */
	CONFIRMING, /* next: RESTING */
	ENDED
} State;

typedef struct Client
{
	PGconn  *postgres;
	State    state;
	int64_t  due_us, sent_us;
	int64_t  count; /* of its transactions so far */
	int      id;    /* of the row that it writes */
	uint64_t tag;
} Client;

static Client                  clients[MAX_CLIENTS];
static int                     client_count;
static amqp_connection_state_t broker; /* NULL: it does not publish */
static uint64_t                tags;
static int64_t                 until_us, interval_us;
static int64_t                 times_us[MAX_TRANSACTIONS];
static int                     done_count;

/* User and system time of all backends so far. */
static int64_t
backends_cpu_ns(void)
{
	int64_t total = 0;

	for (int i = 0; i < client_count; i++)
		total += cpu_ns(PQbackendPID(clients[i].postgres));
	return total;
}

static void
open_clients(const char *table)
{
	char sql[256];

	snprintf(sql, sizeof(sql), "UPDATE %s SET views = views + 1 WHERE id = $1::int", table);
	for (int i = 0; i < client_count; i++)
	{
		PGresult *result;

		clients[i].postgres = connect_postgres();
		result = PQprepare(clients[i].postgres, "write", sql, 1, NULL);
		if (PQresultStatus(result) != PGRES_COMMAND_OK)
			fail("PostgreSQL: %s", PQerrorMessage(clients[i].postgres));
		PQclear(result);
	}
}

/* 7919 has no divisor in common with the rows: neighbours do not follow each other. No two clients
 * write the same row at once. */
static void
send_write(Client *client, int64_t now)
{
	char        text[16];
	const char *values[] = {text};
	int64_t     number = client->count++ * client_count + (client - clients);

	client->id = (int) (number * 7919 % (single_rows() - 1)) + 1;
	snprintf(text, sizeof(text), "%d", client->id);
	if (!PQsendQueryPrepared(client->postgres, "write", 1, values, NULL, NULL, 0))
		fail("PostgreSQL: %s", PQerrorMessage(client->postgres));
	client->state = WRITING;
	client->sent_us = now;
}

static void
end_transaction(Client *client, int64_t now)
{
	if (done_count == MAX_TRANSACTIONS)
		fail("more than %d transactions", MAX_TRANSACTIONS);
	times_us[done_count++] = now - client->sent_us;
	client->state = RESTING;
	/* Who is late does not hurry afterwards: the load stays what it is said to be at most. */
	client->due_us += interval_us;
	if (client->due_us < now)
		client->due_us = now;
	if (client->due_us >= until_us)
		client->state = ENDED;
}

static void
publish_keys(Client *client)
{
	char body[128];
	int  size =
		snprintf(body, sizeof(body), "{\"keys\":[\"blogs:all\",\"blog:%d\",\"author:%d:blogs\"]}",
	             client->id, client->id % AUTHORS);

	broker_publish(broker, body, (size_t) size);
	client->tag = ++tags;
	client->state = CONFIRMING;
}

/* Takes what the server said, which may not be all of its answer yet. */
static void
hear_server(Client *client)
{
	PGresult *result;

	if (!PQconsumeInput(client->postgres))
		fail("PostgreSQL: %s", PQerrorMessage(client->postgres));
	if (PQisBusy(client->postgres))
		return;
	while ((result = PQgetResult(client->postgres)) != NULL)
	{
		if (PQresultStatus(result) != PGRES_COMMAND_OK)
			fail("PostgreSQL: %s", PQerrorMessage(client->postgres));
		PQclear(result);
	}
	if (broker != NULL)
		publish_keys(client);
	else
		end_transaction(client, now_us());
}

static void
hear_broker(void)
{
	uint64_t tag;
	bool     multiple;

	while (broker_confirm(broker, 0, &tag, &multiple))
	{
		int64_t now = now_us();

		for (int i = 0; i < client_count; i++)
			if (clients[i].state == CONFIRMING &&
			    (clients[i].tag == tag || (multiple && clients[i].tag < tag)))
				end_transaction(&clients[i], now);
	}
}

/* Sends what is due; when the next will be. */
static int64_t
send_due(void)
{
	int64_t now = now_us();
	int64_t next_us = now + ANSWER_LIMIT_US;

	for (int i = 0; i < client_count; i++)
	{
		if (clients[i].state != RESTING)
			continue;
		if (clients[i].due_us <= now)
			send_write(&clients[i], now);
		else if (clients[i].due_us < next_us)
			next_us = clients[i].due_us;
	}
	return next_us;
}

static bool
all_ended(void)
{
	for (int i = 0; i < client_count; i++)
		if (clients[i].state != ENDED)
			return false;
	return true;
}

/* One wait for all: the answers of the server and the confirms of the broker. */
static void
wait_and_hear(int64_t next_us)
{
	struct pollfd   fds[MAX_CLIENTS + 1];
	int64_t         wait_us = next_us - now_us();
	struct timespec limit = {.tv_sec = wait_us / 1000000, .tv_nsec = wait_us % 1000000 * 1000};
	int             ready;

	if (wait_us < 0)
		limit = (struct timespec){0};
	for (int i = 0; i < client_count; i++)
		fds[i] =
			(struct pollfd){.fd = clients[i].state == WRITING ? PQsocket(clients[i].postgres) : -1,
		                    .events = POLLIN};
	fds[client_count] =
		(struct pollfd){.fd = broker == NULL ? -1 : amqp_get_sockfd(broker), .events = POLLIN};
	ready = ppoll(fds, (nfds_t) client_count + 1, &limit, NULL);
	if (ready < 0 && errno != EINTR)
		fail("poll: %s", strerror(errno));
	if (ready == 0 && wait_us >= ANSWER_LIMIT_US / 2)
		fail("no answer within %d s", (int) (wait_us / 1000000));
	for (int i = 0; i < client_count; i++)
		if (fds[i].revents != 0)
			hear_server(&clients[i]);
	if (fds[client_count].revents != 0)
		hear_broker();
}

static void
write_rows(double rate, int64_t seconds)
{
	int64_t now = now_us();

	until_us = now + seconds * 1000000;
	interval_us = rate > 0 ? (int64_t) (1e6 * client_count / rate) : 0;
	for (int i = 0; i < client_count; i++)
		clients[i].due_us = now + interval_us * i / client_count;
	while (!all_ended())
		wait_and_hear(send_due());
}

static void
print_figures(int64_t took_us, int64_t cpu, int64_t own_cpu)
{
	sort_times(times_us, done_count);
	printf(
		"{\"clients\": %d, \"transactions\": %d, \"seconds\": %.3f, \"rate\": %.1f, "
		"\"backend_cpu_us\": %.3f, \"client_cpu_us\": %.3f, \"median_ms\": %.3f, \"p99_ms\": %.3f, "
		"\"max_ms\": %.3f}\n",
		client_count, done_count, (double) took_us / 1e6, done_count * 1e6 / (double) took_us,
		(double) cpu / 1e3 / done_count, (double) own_cpu / 1e3 / done_count,
		percentile_ms(times_us, done_count, 50), percentile_ms(times_us, done_count, 99),
		percentile_ms(times_us, done_count, 100));
}

int
main(int argc, char **argv)
{
	int64_t seconds, began_us, cpu, own_cpu;
	double  rate;

	if (argc != 4 && argc != 5)
		fail("usage: writers TABLE CLIENTS SECONDS [RATE]");
	client_count = (int) number(argv[2], MAX_CLIENTS);
	seconds = number(argv[3], MAX_SECONDS);
	rate = argc == 5 ? (double) number(argv[4], MAX_RATE) : 0;
	if (getenv("BENCH_PUBLISH") != NULL)
	{
		broker = broker_connect();
		broker_confirms(broker);
	}
	open_clients(argv[1]);
	cpu = backends_cpu_ns();
	own_cpu = cpu_ns(0);
	began_us = now_us();
	write_rows(rate, seconds);
	print_figures(now_us() - began_us, backends_cpu_ns() - cpu, cpu_ns(0) - own_cpu);
	for (int i = 0; i < client_count; i++)
		PQfinish(clients[i].postgres);
	if (broker != NULL)
		broker_close(broker);
	return 0;
}
