/*
 * worker.c
 *    What surrounds a worker that is measured: fills Redis and the queue, waits for the last key, and
 *    the two floors that it is measured against.
 *
 *     fill REDIS_PORTS KEYS                     sets key:0, key:1, ...; of a cluster's masters each
 *                                               keeps what is its own
 *     publish AMQP_PORT QUEUE MESSAGES KEYS [BYTES]  messages that name KEYS of these keys each, in
 *                                               turn; each key filled up to BYTES
 *     drain REDIS_PORTS KEYS                    from the first deletion to the last: how long
 *     unlink REDIS_PORT KEYS                    floor: UNLINKs of 128 keys, 16 in flight
 *     acks AMQP_PORT QUEUE MESSAGES             floor: takes messages, acknowledges each 64th `multiple`
 *     ping REDIS_PORT ROUNDS                    the median round trip of a PING
 *     between AMQP_PORT REDIS_PORT OUR_AMQP_PORT OUR_REDIS_PORT ROUNDS
 *                                               stands between a worker and both: from a delivery's
 *                                               last byte to the UNLINK, and Redis' answer to that
 *
 * Prints one JSON object.
 */
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KEYS_PER_UNLINK 128
#define WINDOW 16
#define ACK_EACH 64
#define PREFETCH 256
#define MAX_ROUNDS 10000
#define LIMIT_S 120
#define LOOK_INTERVAL_NS 2000000 /* a look costs Redis as much as some dozen keys */
#define MAX_NODES 16

static void
die(const char *what)
{
	fprintf(stderr, "bench worker: %s\n", what);
	exit(1);
}

static double
now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static redisContext *
open_redis(const char *port)
{
	redisContext *redis = redisConnect("127.0.0.1", atoi(port));

	if (redis == NULL || redis->err != 0)
		die("no Redis");
	return redis;
}

static long long
take_reply(redisContext *redis)
{
	redisReply *reply = NULL;
	long long   value;

	if (redisGetReply(redis, (void **) &reply) != REDIS_OK || reply->type == REDIS_REPLY_ERROR)
		die("Redis refused");
	value = reply->integer;
	freeReplyObject(reply);
	return value;
}

/* A node of a cluster says MOVED to what is not its own. */
static void
take_set_reply(redisContext *redis)
{
	redisReply *reply = NULL;

	if (redisGetReply(redis, (void **) &reply) != REDIS_OK ||
	    (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "MOVED ", 6) != 0))
		die("Redis refused");
	freeReplyObject(reply);
}

static void
fill_node(const char *port, long keys)
{
	redisContext *redis = open_redis(port);

	for (long i = 0; i < keys; i++)
	{
		redisAppendCommand(redis, "SET key:%ld 1", i);
		if (i >= 1000)
			take_set_reply(redis);
	}
	for (long i = 0; i < (keys < 1000 ? keys : 1000); i++)
		take_set_reply(redis);
	redisFree(redis);
}

/* ports: separated by commas. */
static void
fill(char *ports, long keys)
{
	for (char *port = strtok(ports, ","); port != NULL; port = strtok(NULL, ","))
		fill_node(port, keys);
	printf("{\"keys\":%ld}\n", keys);
}

static long long
count_keys(redisContext *const *nodes, int count)
{
	long long sum = 0;

	for (int i = 0; i < count; i++)
	{
		redisAppendCommand(nodes[i], "DBSIZE");
		sum += take_reply(nodes[i]);
	}
	return sum;
}

/* The clock runs from the first deleted key, not from the worker's start. */
static void
drain(char *ports, long keys)
{
	redisContext   *nodes[MAX_NODES];
	int             count = 0;
	struct timespec pause = {.tv_nsec = LOOK_INTERVAL_NS};
	double          limit = now_s() + LIMIT_S;
	double          begin;

	for (char *port = strtok(ports, ","); port != NULL && count < MAX_NODES;
	     port = strtok(NULL, ","))
		nodes[count++] = open_redis(port);
	while (count_keys(nodes, count) == keys && now_s() < limit)
		nanosleep(&pause, NULL);
	begin = now_s();
	while (count_keys(nodes, count) > 0 && now_s() < limit)
		nanosleep(&pause, NULL);
	if (now_s() >= limit)
		die("keys are left");
	printf("{\"seconds\":%.6f}\n", now_s() - begin);
	for (int i = 0; i < count; i++)
		redisFree(nodes[i]);
}

static void
send_unlink(redisContext *redis, long first, long count)
{
	char        keys[KEYS_PER_UNLINK][24];
	const char *argv[KEYS_PER_UNLINK + 1] = {"UNLINK"};
	size_t      sizes[KEYS_PER_UNLINK + 1] = {6};

	for (long i = 0; i < count; i++)
	{
		sizes[i + 1] = (size_t) snprintf(keys[i], sizeof(keys[i]), "key:%ld", first + i);
		argv[i + 1] = keys[i];
	}
	redisAppendCommandArgv(redis, (int) count + 1, argv, sizes);
}

static void
unlink_all(const char *port, long keys)
{
	redisContext *redis = open_redis(port);
	double        begin = now_s();
	int           in_flight = 0;

	for (long first = 0; first < keys; first += KEYS_PER_UNLINK)
	{
		send_unlink(redis, first, keys - first < KEYS_PER_UNLINK ? keys - first : KEYS_PER_UNLINK);
		if (++in_flight < WINDOW)
			continue;
		take_reply(redis);
		in_flight--;
	}
	while (in_flight-- > 0)
		take_reply(redis);
	printf("{\"seconds\":%.6f}\n", now_s() - begin);
	redisFree(redis);
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *) a;
	double y = *(const double *) b;

	return (x > y) - (x < y);
}

static void
ping(const char *port, long rounds)
{
	static double times[MAX_ROUNDS];
	redisContext *redis = open_redis(port);

	if (rounds < 1 || rounds > MAX_ROUNDS)
		die("too many rounds");
	for (long i = 0; i < rounds; i++)
	{
		double begin = now_s();

		redisAppendCommand(redis, "PING");
		take_reply(redis);
		times[i] = now_s() - begin;
	}
	qsort(times, (size_t) rounds, sizeof(times[0]), compare);
	printf("{\"median_us\":%.1f}\n", times[rounds / 2] * 1e6);
	redisFree(redis);
}

static struct sockaddr_in
loopback(const char *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t) atoi(port))};

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

/* Waits for the worker on our port, and connects to its peer. */
typedef struct Way
{
	int worker, peer;
} Way;

static int
listen_on(const char *port)
{
	struct sockaddr_in address = loopback(port);
	int                fd = socket(AF_INET, SOCK_STREAM, 0);
	int                one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof(address)) != 0 ||
	    listen(fd, 4) != 0)
		die("a port is taken");
	return fd;
}

static Way
open_way(int listener, const char *peer_port)
{
	struct sockaddr_in address = loopback(peer_port);
	Way                way = {accept(listener, NULL, NULL), socket(AF_INET, SOCK_STREAM, 0)};
	int                one = 1;

	if (way.worker < 0 || connect(way.peer, (struct sockaddr *) &address, sizeof(address)) != 0)
		die("no peer");
	setsockopt(way.worker, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(way.peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return way;
}

/* Passes on what has come; buffer holds its beginning. */
static void
pass_on(int from, int to, char *buffer, size_t size)
{
	ssize_t n = read(from, buffer, size - 1);

	if (n <= 0)
		die("a connection ended");
	buffer[n] = '\0';
	for (ssize_t sent = 0; sent < n;)
	{
		ssize_t more = write(to, buffer + sent, (size_t) (n - sent));

		if (more <= 0)
			die("a connection ended");
		sent += more;
	}
}

/* One message at a time is published; what the worker says to Redis beside UNLINKs does not count. */
static void
between(char **ports, long rounds)
{
	static double worker_s[MAX_ROUNDS], redis_s[MAX_ROUNDS];
	int           broker_listener = listen_on(ports[2]);
	int           redis_listener = listen_on(ports[3]);
	Way           broker = open_way(broker_listener, ports[0]);
	Way           redis = open_way(redis_listener, ports[1]);
	struct pollfd fds[] = {{.fd = broker.worker, .events = POLLIN},
	                       {.fd = broker.peer, .events = POLLIN},
	                       {.fd = redis.worker, .events = POLLIN},
	                       {.fd = redis.peer, .events = POLLIN}};
	char          buffer[64 * 1024];
	double        delivered = 0, asked = 0;
	long          round = 0;

	if (rounds < 1 || rounds > MAX_ROUNDS)
		die("too many rounds");
	while (round < rounds && poll(fds, 4, LIMIT_S * 1000) > 0)
	{
		if (fds[0].revents != 0)
			pass_on(broker.worker, broker.peer, buffer, sizeof(buffer));
		if (fds[1].revents != 0)
		{
			pass_on(broker.peer, broker.worker, buffer, sizeof(buffer));
			delivered = now_s();
		}
		if (fds[2].revents != 0)
		{
			double now = now_s();

			pass_on(redis.worker, redis.peer, buffer, sizeof(buffer));
			asked = strstr(buffer, "UNLINK") != NULL ? now_s() : 0;
			worker_s[round] = now - delivered;
		}
		if (fds[3].revents != 0)
		{
			double now = now_s();

			pass_on(redis.peer, redis.worker, buffer, sizeof(buffer));
			if (asked != 0)
				redis_s[round++] = now - asked;
			asked = 0;
		}
	}
	if (round < rounds)
		die("no messages");
	qsort(worker_s, (size_t) rounds, sizeof(worker_s[0]), compare);
	qsort(redis_s, (size_t) rounds, sizeof(redis_s[0]), compare);
	printf("{\"worker_us\":%.1f,\"worker_p99_us\":%.1f,\"redis_us\":%.1f}\n",
	       worker_s[rounds / 2] * 1e6, worker_s[rounds * 99 / 100] * 1e6,
	       redis_s[rounds / 2] * 1e6);
}

static amqp_connection_state_t
open_broker(const char *port)
{
	amqp_connection_state_t broker = amqp_new_connection();
	amqp_socket_t          *socket = amqp_tcp_socket_new(broker);

	if (socket == NULL || amqp_socket_open(socket, "127.0.0.1", atoi(port)) != AMQP_STATUS_OK ||
	    amqp_login(broker, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest")
	            .reply_type != AMQP_RESPONSE_NORMAL ||
	    amqp_channel_open(broker, 1) == NULL)
		die("no broker");
	return broker;
}

static void
close_broker(amqp_connection_state_t broker)
{
	amqp_connection_close(broker, AMQP_REPLY_SUCCESS);
	amqp_destroy_connection(broker);
}

static void
publish(const char *port, const char *queue, long messages, long keys, int key_bytes)
{
	amqp_connection_state_t broker = open_broker(port);
	size_t                  room = (size_t) keys * (24 + (size_t) key_bytes) + 32;
	char                   *body = malloc(room);
	long                    next = 0;

	if (body == NULL)
		die("out of memory");
	for (long i = 0; i < messages; i++)
	{
		size_t size = (size_t) sprintf(body, "{\"keys\":[");

		for (long k = 0; k < keys; k++)
			size += (size_t) snprintf(body + size, room - size, "%s\"key:%0*ld\"", k > 0 ? "," : "",
			                          key_bytes > 4 ? key_bytes - 4 : 1, next++);
		size += (size_t) sprintf(body + size, "]}");
		if (amqp_basic_publish(broker, 1, amqp_empty_bytes, amqp_cstring_bytes(queue), 0, 0, NULL,
		                       (amqp_bytes_t){size, body}) != AMQP_STATUS_OK)
			die("publishing failed");
	}
	free(body);
	close_broker(broker);
	printf("{\"messages\":%ld}\n", messages);
}

static void
acks(const char *port, const char *queue, long messages)
{
	amqp_connection_state_t broker = open_broker(port);
	double                  begin = now_s();

	amqp_basic_qos(broker, 1, 0, PREFETCH, 0);
	amqp_basic_consume(broker, 1, amqp_cstring_bytes(queue), amqp_empty_bytes, 0, 0, 0,
	                   amqp_empty_table);
	for (long i = 1; i <= messages; i++)
	{
		struct timeval  limit = {.tv_sec = LIMIT_S};
		amqp_envelope_t envelope;

		amqp_maybe_release_buffers(broker);
		if (amqp_consume_message(broker, &envelope, &limit, 0).reply_type != AMQP_RESPONSE_NORMAL)
			die("no message");
		if (i % ACK_EACH == 0 || i == messages)
			amqp_basic_ack(broker, 1, envelope.delivery_tag, 1);
		amqp_destroy_envelope(&envelope);
	}
	printf("{\"seconds\":%.6f}\n", now_s() - begin);
	close_broker(broker);
}

int
main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "fill") == 0 && argc == 4)
		fill(argv[2], atol(argv[3]));
	else if (strcmp(what, "drain") == 0 && argc == 4)
		drain(argv[2], atol(argv[3]));
	else if (strcmp(what, "unlink") == 0 && argc == 4)
		unlink_all(argv[2], atol(argv[3]));
	else if (strcmp(what, "ping") == 0 && argc == 4)
		ping(argv[2], atol(argv[3]));
	else if (strcmp(what, "publish") == 0 && (argc == 6 || argc == 7))
		publish(argv[2], argv[3], atol(argv[4]), atol(argv[5]), argc == 7 ? atoi(argv[6]) : 0);
	else if (strcmp(what, "acks") == 0 && argc == 5)
		acks(argv[2], argv[3], atol(argv[4]));
	else if (strcmp(what, "between") == 0 && argc == 7)
		between(argv + 2, atol(argv[6]));
	else
		die("see the head of bench/worker.c");
	return 0;
}
