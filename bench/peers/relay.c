/*
 * relay.c
 *    What publishes an outbox of another kind, written as well as it can be: in C, many events in one
 *    transaction, all of their confirms awaited at once.
 *
 *    relay poll OUTBOX BATCH INTERVAL_MS  takes the oldest rows that nobody else has (SKIP LOCKED),
 *                                         publishes, deletes; goes on at once while there are more,
 *                                         else looks again after INTERVAL_MS
 *    relay listen OUTBOX BATCH            the same, but waits for a NOTIFY on channel "outbox"
 *    relay pgq QUEUE INTERVAL_MS          a consumer of PgQ: batch by batch
 *
 * One message for each event, as textbooks have it, persistent and confirmed. An event is gone from the
 * outbox once the broker has it; whatever crashes in between comes twice. In PgQ's events of
 * pgq.logutriga the row is URL-encoded, and its keys are made here; an event of type "key" has its key in
 * ev_data.
 *
 * Reads BENCH_PG and BENCH_AMQP_PORT. Says "ready" once it is, and runs until it is killed.
 */
#include "bench/broker.h"
#include "bench/common.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BATCH 100000
#define MAX_INTERVAL_MS 60000
#define MAX_SQL 512
#define CHUNK 500            /* of a large batch of PgQ's: so many are unconfirmed at once */
#define LISTEN_LIMIT_MS 1000 /* a lost notification must not be the end of it */

typedef struct Relay
{
	PGconn                 *postgres;
	amqp_connection_state_t broker;
	uint64_t                tags; /* published so far */
} Relay;

static PGresult *
ask(PGconn *postgres, const char *sql)
{
	PGresult *result = PQexec(postgres, sql);

	if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
		fail("PostgreSQL: %s", PQerrorMessage(postgres));
	return result;
}

static void
publish(Relay *relay, const char *body, size_t size)
{
	broker_publish(relay->broker, body, size);
	relay->tags++;
}

/* ---- a table -------------------------------------------------------------------------------------- */

/* How many events it published. */
static int
publish_some(Relay *relay, const char *sql)
{
	PGresult *result;
	uint64_t  first = relay->tags + 1;
	int       count;

	PQclear(ask(relay->postgres, "BEGIN"));
	result = PQexecPrepared(relay->postgres, sql, 0, NULL, NULL, NULL, 0);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail("PostgreSQL: %s", PQerrorMessage(relay->postgres));
	count = PQntuples(result);
	for (int i = 0; i < count; i++)
		publish(relay, PQgetvalue(result, i, 0), (size_t) PQgetlength(result, i, 0));
	PQclear(result);
	broker_confirm_all(relay->broker, first, count);
	PQclear(ask(relay->postgres, "COMMIT"));
	return count;
}

static void
prepare_take(PGconn *postgres, const char *outbox, int batch)
{
	char      sql[MAX_SQL];
	PGresult *result;

	/* The planner knows the table as empty, or as large as it was a minute ago: by the primary key it is
	 * fast in any case. */
	PQclear(ask(postgres, "SET enable_seqscan = off"));
	PQclear(ask(postgres, "SET enable_hashjoin = off"));
	PQclear(ask(postgres, "SET enable_mergejoin = off"));
	snprintf(sql, sizeof(sql),
	         "WITH gone AS (DELETE FROM %s WHERE id IN"
	         " (SELECT id FROM %s ORDER BY id LIMIT %d FOR UPDATE SKIP LOCKED) RETURNING id, keys)"
	         " SELECT json_build_object('keys', keys) FROM gone ORDER BY id",
	         outbox, outbox, batch);
	result = PQprepare(postgres, "take", sql, 0, NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail("PostgreSQL: %s", PQerrorMessage(postgres));
	PQclear(result);
}

static void
poll_table(Relay *relay, const char *outbox, int batch, int interval_ms)
{
	prepare_take(relay->postgres, outbox, batch);
	for (;;)
		if (publish_some(relay, "take") < batch)
			pause_us((int64_t) interval_ms * 1000);
}

/* Notifications that came while it published are taken together. */
static void
wait_notification(PGconn *postgres)
{
	struct pollfd wait = {.fd = PQsocket(postgres), .events = POLLIN};
	PGnotify     *notification;
	bool          any = false;

	PQconsumeInput(postgres);
	while ((notification = PQnotifies(postgres)) != NULL)
	{
		any = true;
		PQfreemem(notification);
	}
	if (!any)
		poll(&wait, 1, LISTEN_LIMIT_MS);
}

static void
listen_table(Relay *relay, const char *outbox, int batch)
{
	prepare_take(relay->postgres, outbox, batch);
	PQclear(ask(relay->postgres, "LISTEN outbox"));
	for (;;)
		if (publish_some(relay, "take") < batch)
			wait_notification(relay->postgres);
}

/* ---- PgQ ------------------------------------------------------------------------------------------ */

/* Of "id=7&author_id=3&title=..."; NULL: no such column. Numbers need no decoding. */
static const char *
column(const char *row, const char *name, int *size)
{
	size_t length = strlen(name);

	for (const char *at = row; at != NULL; at = strchr(at, '&'))
	{
		at += *at == '&';
		if (strncmp(at, name, length) == 0 && at[length] == '=')
		{
			*size = (int) strcspn(at + length + 1, "&");
			return at + length + 1;
		}
	}
	return NULL;
}

static void
publish_event(Relay *relay, const char *type, const char *data)
{
	char        body[MAX_SQL];
	int         id_size = 0, author_size = 0;
	const char *id = column(data, "id", &id_size);
	const char *author = column(data, "author_id", &author_size);
	int         size;

	if (strcmp(type, "key") == 0)
		size = snprintf(body, sizeof(body), "{\"keys\":[\"%s\"]}", data);
	else if (id != NULL && author != NULL)
		size = snprintf(body, sizeof(body),
		                "{\"keys\":[\"blogs:all\",\"blog:%.*s\",\"author:%.*s:blogs\"]}", id_size,
		                id, author_size, author);
	else
		fail("an event of another kind: %s", data);
	publish(relay, body, (size_t) size);
}

static void
publish_batch(Relay *relay, const char *batch_id)
{
	char      sql[MAX_SQL];
	PGresult *events;

	snprintf(sql, sizeof(sql), "SELECT ev_type, ev_data FROM pgq.get_batch_events(%s)", batch_id);
	events = ask(relay->postgres, sql);
	for (int i = 0; i < PQntuples(events);)
	{
		uint64_t first = relay->tags + 1;
		int      count = 0;

		for (; count < CHUNK && i < PQntuples(events); count++, i++)
			publish_event(relay, PQgetvalue(events, i, 0), PQgetvalue(events, i, 1));
		broker_confirm_all(relay->broker, first, count);
	}
	PQclear(events);
	snprintf(sql, sizeof(sql), "SELECT pgq.finish_batch(%s)", batch_id);
	PQclear(ask(relay->postgres, sql));
}

static void
consume_queue(Relay *relay, const char *queue, int interval_ms)
{
	char sql[MAX_SQL];

	snprintf(sql, sizeof(sql), "SELECT pgq.next_batch('%s', 'relay')", queue);
	for (;;)
	{
		PGresult *batch = ask(relay->postgres, sql);

		if (PQgetisnull(batch, 0, 0))
			pause_us((int64_t) interval_ms * 1000);
		else
			publish_batch(relay, PQgetvalue(batch, 0, 0));
		PQclear(batch);
	}
}

int
main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	Relay       relay = {.postgres = connect_postgres(), .broker = broker_connect()};

	broker_declare(relay.broker, BROKER_QUEUE);
	broker_confirms(relay.broker);
	puts("ready");
	fflush(stdout);
	if (strcmp(what, "poll") == 0 && argc == 5)
		poll_table(&relay, argv[2], (int) number(argv[3], MAX_BATCH),
		           (int) number(argv[4], MAX_INTERVAL_MS));
	else if (strcmp(what, "listen") == 0 && argc == 4)
		listen_table(&relay, argv[2], (int) number(argv[3], MAX_BATCH));
	else if (strcmp(what, "pgq") == 0 && argc == 4)
		consume_queue(&relay, argv[2], (int) number(argv[3], MAX_INTERVAL_MS));
	else
		fail("see the head of bench/peers/relay.c");
	return 0;
}
