/*
 * relay.c
 *    The relay measured from outside: by one who writes, consumes its queue, and reads outbox.relay
 *    and /proc.
 *
 *    relay latency ROUNDS COUNT      from the acknowledged commit to the message in the consumer of
 *                                    the queue, on an idle machine. In each round COUNT commits whose
 *                                    message the relay publishes, and COUNT after which this program
 *                                    publishes it itself, with a confirm: the floor.
 *    relay record CLIENTS EVENTS [PROCEDURE]
 *                                    EVENTS transactions of one distinct key each, by CLIENTS at once
 *    relay confirms MESSAGES         a floor: so many messages of one key, published and confirmed
 *    relay drain EVENTS              has the paused relay go on, and waits until so many keys are
 *                                    confirmed
 *    relay bodies COUNT BYTES        so many messages of so many bytes recorded by one transaction
 *                                    each, then published
 *    relay audit EVENTS              takes everything from the queue: which of the keys of `record`
 *                                    are there, and how often
 *    relay through CLIENTS EVENTS    EVENTS recorded and published at the same time, under a snapshot
 *                                    held all the while; then how long until the outbox is of its
 *                                    empty size, BENCH_EMPTY_BYTES
 *
 * Reads BENCH_PG (connection string) and BENCH_AMQP_PORT; needs the tables of bench/relay.sql. Prints
 * one JSON object. Waits at most LIMIT_US for anything.
 */
#include "broker.h"
#include "common.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD "bench.record"
#define BODIES_QUEUE "bench.bodies"
#define LIMIT_US INT64_C(600000000)
#define WARM_UP_COUNT 50
#define ROWS 1000 /* of the tables in relay.sql */
#define MAX_ROUNDS 100
#define MAX_PAUSE_US 4000 /* between commits, so that they do not march in step with anything */
#define LOOK_US 5000      /* between two looks at counters and memory */
#define MAX_LOOKS 100000
#define MAX_CLIENTS 64
#define TENTHS 10
#define PREFETCH 200
#define WINDOW 500 /* messages that await their confirm */

static bool
is_body(const amqp_envelope_t *message, const char *body)
{
	return message->message.body.len == strlen(body) &&
	       memcmp(message->message.body.bytes, body, strlen(body)) == 0;
}

/* ---- latency ---------------------------------------------------------------------------------- */

/* How long until the consumer had the message. */
typedef struct Span
{
	int64_t since_sent_us;      /* since the statement was sent */
	int64_t since_committed_us; /* since its commit was acknowledged */
} Span;

typedef struct Latency
{
	PGconn                 *postgres;
	amqp_connection_state_t publisher, consumer;
	amqp_envelope_t         sample; /* a message of the relay's: the floor publishes its like */
	int64_t                 next;
} Latency;

static void
update_row(Latency *latency, const char *table, int64_t id)
{
	char sql[128];

	snprintf(sql, sizeof(sql), "UPDATE bench.%s SET n = n + 1 WHERE id = %" PRId64, table, id);
	run_sql(latency->postgres, sql);
}

/* Waits until the consumer has it; what else comes is an error of the measurement. */
static int64_t
wait_body(Latency *latency, const char *body)
{
	amqp_envelope_t message;
	int64_t         arrived_us;

	amqp_maybe_release_buffers(latency->consumer);
	broker_take(latency->consumer, &message);
	arrived_us = now_us();
	if (!is_body(&message, body))
		fail("another message came: %.*s", (int) message.message.body.len,
		     (char *) message.message.body.bytes);
	amqp_destroy_envelope(&message);
	return arrived_us;
}

static void
wait_confirm(Latency *latency)
{
	uint64_t tag;
	bool     multiple;

	if (!broker_confirm(latency->publisher, LIMIT_US, &tag, &multiple))
		fail("RabbitMQ: no confirm");
}

/* The message may have been there before the acknowledgement. */
static Span
span_of(int64_t sent_us, int64_t committed_us, int64_t arrived_us)
{
	int64_t since_committed_us = arrived_us - committed_us;

	return (Span){arrived_us - sent_us, since_committed_us < 0 ? 0 : since_committed_us};
}

static Span
measure_relay(Latency *latency, int64_t id)
{
	char    body[64];
	int64_t sent_us, committed_us;

	snprintf(body, sizeof(body), "{\"keys\":[\"blog:%" PRId64 "\"]}", id);
	sent_us = now_us();
	update_row(latency, "watched", id);
	committed_us = now_us();
	return span_of(sent_us, committed_us, wait_body(latency, body));
}

/* The consumer is looked at first: it may have the message before the confirm is here. */
static Span
measure_floor(Latency *latency, int64_t id)
{
	char    body[64];
	int64_t sent_us, committed_us, arrived_us;

	snprintf(body, sizeof(body), "{\"keys\":[\"blog:%" PRId64 "\"]}", id);
	sent_us = now_us();
	update_row(latency, "plain", id);
	committed_us = now_us();
	if (amqp_basic_publish(
			latency->publisher, 1, amqp_empty_bytes, amqp_cstring_bytes(BROKER_QUEUE), 1, 0,
			&latency->sample.message.properties, amqp_cstring_bytes(body)) != AMQP_STATUS_OK)
		fail("RabbitMQ: publishing failed");
	arrived_us = wait_body(latency, body);
	wait_confirm(latency);
	return span_of(sent_us, committed_us, arrived_us);
}

typedef Span (*Measure)(Latency *latency, int64_t id);

static void
measure_turn(Latency *latency, Measure measure, int count, Span *spans)
{
	for (int i = 0; i < count; i++)
	{
		spans[i] = measure(latency, latency->next++ % ROWS + 1);
		pause_us(random() % MAX_PAUSE_US);
	}
}

static void
begin_latency(Latency *latency)
{
	Span ignored[WARM_UP_COUNT];

	latency->postgres = connect_postgres();
	latency->publisher = broker_connect();
	latency->consumer = broker_connect();
	broker_confirms(latency->publisher);
	broker_purge(latency->consumer, BROKER_QUEUE);
	broker_consume(latency->consumer, BROKER_QUEUE, PREFETCH, true);
	srandom(1);
	update_row(latency, "watched", 1);
	broker_take(latency->consumer, &latency->sample);
	measure_turn(latency, measure_relay, WARM_UP_COUNT, ignored);
	measure_turn(latency, measure_floor, WARM_UP_COUNT, ignored);
}

static void
end_latency(Latency *latency)
{
	amqp_destroy_envelope(&latency->sample);
	broker_close(latency->consumer);
	broker_close(latency->publisher);
	PQfinish(latency->postgres);
}

static void
print_times(const char *name, int64_t *times_us, int count)
{
	sort_times(times_us, count);
	printf("\"%s\": {\"median_ms\": %.3f, \"p90_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}",
	       name, percentile_ms(times_us, count, 50), percentile_ms(times_us, count, 90),
	       percentile_ms(times_us, count, 99), percentile_ms(times_us, count, 100));
}

static void
print_spans(const char *name, const Span *spans, int count)
{
	int64_t *times_us = calloc((size_t) count, sizeof(*times_us));

	if (times_us == NULL)
		fail("out of memory");
	printf(", \"%s\": {", name);
	for (int i = 0; i < count; i++)
		times_us[i] = spans[i].since_committed_us;
	print_times("since_committed", times_us, count);
	printf(", ");
	for (int i = 0; i < count; i++)
		times_us[i] = spans[i].since_sent_us;
	print_times("since_sent", times_us, count);
	printf("}");
	free(times_us);
}

static void
measure_latency(int rounds, int count)
{
	Latency latency = {0};
	Span   *relay = calloc((size_t) rounds * (size_t) count, sizeof(*relay));
	Span   *direct = calloc((size_t) rounds * (size_t) count, sizeof(*direct));

	if (relay == NULL || direct == NULL)
		fail("out of memory");
	begin_latency(&latency);
	for (int round = 0; round < rounds; round++)
	{
		int64_t first = (int64_t) round * count;

		if (round % 2 == 0)
			measure_turn(&latency, measure_relay, count, relay + first);
		measure_turn(&latency, measure_floor, count, direct + first);
		if (round % 2 == 1)
			measure_turn(&latency, measure_relay, count, relay + first);
	}
	printf("{\"commits\": %d", rounds * count);
	print_spans("relay", relay, rounds * count);
	print_spans("direct", direct, rounds * count);
	printf("}\n");
	end_latency(&latency);
	free(relay);
	free(direct);
}

/* ---- writers ---------------------------------------------------------------------------------- */

/* So many transactions, all at once under way. */
typedef struct Writers
{
	PGconn *clients[MAX_CLIENTS];
	int     count;
	int64_t began_us;
} Writers;

/* Each client has a share of the keys k:1 to k:<events>. They commit from within: to wake a client
 * for each transaction would cost the machine more than what is measured. */
static void
begin_writers(Writers *writers, int count, int64_t events, const char *procedure)
{
	for (int i = 0; i < count; i++)
	{
		char sql[256];

		writers->clients[i] = connect_postgres();
		run_sql(writers->clients[i], "SET synchronous_commit = off");
		snprintf(sql, sizeof(sql), "CALL %s(%" PRId64 ", %" PRId64 ")", procedure,
		         events * i / count + 1, events * (i + 1) / count);
		if (!PQsendQuery(writers->clients[i], sql))
			fail("PostgreSQL: %s", PQerrorMessage(writers->clients[i]));
	}
	writers->count = count;
	writers->began_us = now_us();
}

/* Waits for them: how long they took. */
static int64_t
end_writers(Writers *writers)
{
	for (int i = 0; i < writers->count; i++)
	{
		PGresult *result;

		while ((result = PQgetResult(writers->clients[i])) != NULL)
		{
			if (PQresultStatus(result) != PGRES_COMMAND_OK)
				fail("PostgreSQL: %s", PQerrorMessage(writers->clients[i]));
			PQclear(result);
		}
		PQfinish(writers->clients[i]);
	}
	return now_us() - writers->began_us;
}

static void
record(int clients, int64_t events, const char *procedure)
{
	Writers writers;
	int64_t took_us;

	begin_writers(&writers, clients, events, procedure);
	took_us = end_writers(&writers);
	printf("{\"clients\": %d, \"events\": %" PRId64 ", \"seconds\": %.3f}\n", clients, events,
	       (double) took_us / 1e6);
}

/* ---- the relay at work ------------------------------------------------------------------------ */

/* Memory of a process, in kB. What it maps of the server's shared memory is not its own. */
typedef struct Memory
{
	int64_t anonymous, file, shared;
} Memory;

static int64_t
status_number(const char *status, const char *name)
{
	const char *line = strstr(status, name);

	return line == NULL ? 0 : strtoll(line + strlen(name), NULL, 10);
}

static int64_t
larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* Raises the peaks to what the process has now. One that is gone has nothing. */
static void
look_at_memory(int pid, Memory *peak)
{
	char   path[64], status[4096];
	FILE  *file;
	size_t size;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "r");
	if (file == NULL)
		return;
	size = fread(status, 1, sizeof(status) - 1, file);
	status[size] = '\0';
	fclose(file);
	peak->anonymous = larger(peak->anonymous, status_number(status, "RssAnon:"));
	peak->file = larger(peak->file, status_number(status, "RssFile:"));
	peak->shared = larger(peak->shared, status_number(status, "RssShmem:"));
}

typedef struct Look
{
	int64_t at_us, events;
} Look;

/* Somebody who looks at the counters and the memory every now and then. */
typedef struct Watch
{
	PGconn *postgres;
	int64_t before;
	Look    looks[MAX_LOOKS];
	int     count;
	Memory  peak;
} Watch;

static Watch watch;

/* Events confirmed since the watch began, and whose relay it is. */
static int64_t
look(int *pid)
{
	PGresult *result = PQexec(watch.postgres, "SELECT events, coalesce(pid, 0) FROM outbox.relay");
	int64_t   events;

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail("PostgreSQL: %s", PQerrorMessage(watch.postgres));
	events = strtoll(PQgetvalue(result, 0, 0), NULL, 10) - watch.before;
	*pid = atoi(PQgetvalue(result, 0, 1));
	PQclear(result);
	return events;
}

static void
begin_watch(void)
{
	int ignored;

	watch.postgres = connect_postgres();
	watch.before = look(&ignored);
}

/* Looks until so many events are confirmed, `each_us` apart. */
static void
watch_until(int64_t events, int64_t each_us)
{
	int64_t limit_us = now_us() + LIMIT_US;
	int64_t seen = 0;

	while (seen < events)
	{
		int pid;

		if (watch.count == MAX_LOOKS || now_us() > limit_us)
			fail("only %" PRId64 " of %" PRId64 " events are published", seen, events);
		seen = look(&pid);
		look_at_memory(pid, &watch.peak);
		watch.looks[watch.count++] = (Look){now_us(), seen};
		if (seen < events)
			pause_us(each_us);
	}
}

/* When so many were confirmed: between two looks, in proportion. */
static double
reached_at_us(double events)
{
	for (int i = 1; i < watch.count; i++)
	{
		const Look *a = &watch.looks[i - 1];
		const Look *b = &watch.looks[i];

		if ((double) b->events >= events && b->events > a->events)
			return (double) a->at_us + (double) (b->at_us - a->at_us) *
			                               (events - (double) a->events) /
			                               (double) (b->events - a->events);
	}
	return (double) watch.looks[watch.count - 1].at_us;
}

/* Events in a second for each tenth of all of them. The clock runs from the first look. */
static void
print_watch(int64_t events)
{
	double tenth = (double) events / TENTHS;

	printf("\"events\": %" PRId64 ", \"seconds\": %.3f, \"first_after_s\": %.3f, \"tenths_s\": [",
	       events, (reached_at_us((double) events) - (double) watch.looks[0].at_us) / 1e6,
	       (reached_at_us(1) - (double) watch.looks[0].at_us) / 1e6);
	for (int i = 0; i < TENTHS; i++)
		printf("%s%.0f", i == 0 ? "" : ", ",
		       tenth * 1e6 / (reached_at_us(tenth * (i + 1)) - reached_at_us(tenth * i)));
	printf("], \"rss_own_kb\": %" PRId64 ", \"rss_file_kb\": %" PRId64
	       ", \"rss_shared_kb\": %" PRId64,
	       watch.peak.anonymous, watch.peak.file, watch.peak.shared);
}

static void
drain(int64_t events)
{
	begin_watch();
	watch.looks[watch.count++] = (Look){now_us(), 0};
	run_sql(watch.postgres, "SELECT outbox.resume()");
	watch_until(events, LOOK_US);
	printf("{");
	print_watch(events);
	printf("}\n");
	PQfinish(watch.postgres);
}

/* Nobody consumes: the queue is emptied in between, or the broker's memory would be what is measured. */
static void
publish_bodies(int64_t count, int64_t bytes)
{
	amqp_connection_state_t broker = broker_connect();
	PGconn                 *writer = connect_postgres();
	char                    sql[256];

	broker_declare(broker, BODIES_QUEUE);
	begin_watch();
	snprintf(sql, sizeof(sql),
	         "SELECT outbox.publish_bytes('', '" BODIES_QUEUE
	         "', string_agg(sha512(n::text::bytea), "
	         "''), 'application/octet-stream') FROM generate_series(1, %" PRId64 ") n",
	         bytes / 64);
	for (int64_t i = 0; i < count; i++)
		run_sql(writer, sql);
	watch.looks[watch.count++] = (Look){now_us(), 0};
	run_sql(watch.postgres, "SELECT outbox.resume()");
	watch_until(count, LOOK_US);
	printf("{\"bytes\": %" PRId64 ", \"in_queue\": %" PRId64 ", ", bytes,
	       broker_length(broker, BODIES_QUEUE));
	print_watch(count);
	printf("}\n");
	broker_purge(broker, BODIES_QUEUE);
	PQfinish(writer);
	PQfinish(watch.postgres);
	broker_close(broker);
}

/* ---- a floor ---------------------------------------------------------------------------------- */

/* As the relay of a textbook would, but without an outbox. */
static void
publish_confirmed(int64_t messages)
{
	amqp_connection_state_t broker = broker_connect();
	int64_t                 began_us;

	broker_declare(broker, BROKER_QUEUE);
	broker_confirms(broker);
	began_us = now_us();
	for (int64_t done = 0; done < messages;)
	{
		int64_t first = done;

		for (; done < messages && done < first + WINDOW; done++)
		{
			char body[64];
			int  size = snprintf(body, sizeof(body), "{\"keys\":[\"key:%" PRId64 "\"]}", done);

			broker_publish(broker, body, (size_t) size);
		}
		broker_confirm_all(broker, (uint64_t) first + 1, (int) (done - first));
	}
	printf("{\"messages\": %" PRId64 ", \"seconds\": %.6f}\n", messages,
	       (double) (now_us() - began_us) / 1e6);
	broker_close(broker);
}

/* ---- what arrived ----------------------------------------------------------------------------- */

/* Counts the keys "k:<number>" of a body. */
static int64_t
count_keys(amqp_bytes_t body, unsigned char *seen, int64_t events)
{
	const char *at = body.bytes;
	const char *end = at + body.len;
	int64_t     count = 0;

	while ((at = memmem(at, (size_t) (end - at), "\"k:", 3)) != NULL)
	{
		int64_t number = 0;

		for (at += 3; at < end && *at >= '0' && *at <= '9'; at++)
			number = number * 10 + (*at - '0');
		if (number < 1 || number > events)
			fail("a key that nobody recorded: k:%" PRId64, number);
		seen[number] = 1;
		count++;
	}
	return count;
}

static void
audit(int64_t events)
{
	amqp_connection_state_t broker = broker_connect();
	unsigned char          *seen = calloc((size_t) events + 1, 1);
	int64_t                 messages = broker_length(broker, BROKER_QUEUE);
	int64_t                 keys = 0, distinct = 0;

	if (seen == NULL)
		fail("out of memory");
	broker_consume(broker, BROKER_QUEUE, PREFETCH, false);
	for (int64_t i = 1; i <= messages; i++)
	{
		amqp_envelope_t message;

		amqp_maybe_release_buffers(broker);
		broker_take(broker, &message);
		keys += count_keys(message.message.body, seen, events);
		if (i % (PREFETCH / 2) == 0 || i == messages)
			amqp_basic_ack(broker, 1, message.delivery_tag, 1);
		amqp_destroy_envelope(&message);
	}
	for (int64_t i = 1; i <= events; i++)
		distinct += seen[i];
	printf("{\"messages\": %" PRId64 ", \"keys\": %" PRId64 ", \"distinct\": %" PRId64
	       ", \"missing\": %" PRId64 "}\n",
	       messages, keys, distinct, events - distinct);
	free(seen);
	broker_close(broker);
}

/* ---- through it, under a held snapshot -------------------------------------------------------- */

static int64_t
outbox_bytes(PGconn *postgres)
{
	return sql_number(postgres, "SELECT outbox_bytes FROM outbox.lag");
}

/* Waits until the outbox is as small as when it was new: how long; *peak: its greatest size seen. */
static double
wait_empty(PGconn *postgres, int64_t empty_bytes)
{
	int64_t began_us = now_us();

	while (outbox_bytes(postgres) > empty_bytes)
	{
		if (now_us() > began_us + LIMIT_US)
			fail("the outbox does not return to its empty size");
		pause_us(LOOK_US);
	}
	return (double) (now_us() - began_us) / 1e6;
}

static void
through(int clients, int64_t events)
{
	int64_t empty_bytes = strtoll(need("BENCH_EMPTY_BYTES"), NULL, 10);
	PGconn *holder = connect_postgres();
	Writers writers;
	int64_t wrote_us, bytes;

	/* Of another table: a lock on the outbox would stand in the way of its rotation. */
	run_sql(holder, "BEGIN ISOLATION LEVEL REPEATABLE READ");
	run_sql(holder, "SELECT count(*) FROM bench.plain");
	begin_watch();
	watch.looks[watch.count++] = (Look){now_us(), 0};
	begin_writers(&writers, clients, events, RECORD);
	watch_until(events, 10 * LOOK_US);
	wrote_us = end_writers(&writers);
	bytes = outbox_bytes(watch.postgres);
	printf("{\"clients\": %d, \"recorded_s\": %.3f, \"outbox_bytes\": %" PRId64
	       ", \"empty_bytes\": %" PRId64 ", \"empty_after_s\": %.3f, ",
	       clients, (double) wrote_us / 1e6, bytes, empty_bytes,
	       wait_empty(watch.postgres, empty_bytes));
	print_watch(events);
	printf("}\n");
	run_sql(holder, "COMMIT");
	PQfinish(holder);
	PQfinish(watch.postgres);
}

/* ---- what is asked for ------------------------------------------------------------------------ */

int
main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "latency") == 0 && argc == 4)
		measure_latency((int) number(argv[2], MAX_ROUNDS), (int) number(argv[3], 1000000));
	else if (strcmp(what, "record") == 0 && (argc == 4 || argc == 5))
		record((int) number(argv[2], MAX_CLIENTS), number(argv[3], INT32_MAX),
		       argc == 5 ? argv[4] : RECORD);
	else if (strcmp(what, "drain") == 0 && argc == 3)
		drain(number(argv[2], INT32_MAX));
	else if (strcmp(what, "confirms") == 0 && argc == 3)
		publish_confirmed(number(argv[2], INT32_MAX));
	else if (strcmp(what, "bodies") == 0 && argc == 4)
		publish_bodies(number(argv[2], 100000), number(argv[3], 16 * 1024 * 1024));
	else if (strcmp(what, "audit") == 0 && argc == 3)
		audit(number(argv[2], INT32_MAX));
	else if (strcmp(what, "through") == 0 && argc == 4)
		through((int) number(argv[2], MAX_CLIENTS), number(argv[3], INT32_MAX));
	else
		fail("see the head of bench/relay.c");
	return 0;
}
