/*
 * broker.c
 *    A client of RabbitMQ that blocks: what a program would do that has nothing else to do.
 */
#include "broker.h"

#include "common.h"

#include <amqp_tcp_socket.h>
#include <stdlib.h>
#include <sys/time.h>

#define CHANNEL 1
#define FRAME_MAX_BYTES 131072
#define TAKE_LIMIT_S 30
#define CONFIRM_LIMIT_US INT64_C(60000000)
#define PERSISTENT 2

static void
check_reply(amqp_rpc_reply_t reply, const char *what)
{
	if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
		fail("RabbitMQ: %s: %s", what, amqp_error_string2(reply.library_error));
	if (reply.reply_type != AMQP_RESPONSE_NORMAL)
		fail("RabbitMQ: %s: refused", what);
}

void
broker_check(amqp_connection_state_t broker, const char *what)
{
	check_reply(amqp_get_rpc_reply(broker), what);
}

amqp_connection_state_t
broker_connect(void)
{
	amqp_connection_state_t broker = amqp_new_connection();
	amqp_socket_t          *socket = broker == NULL ? NULL : amqp_tcp_socket_new(broker);

	if (socket == NULL ||
	    amqp_socket_open(socket, "127.0.0.1", atoi(need("BENCH_AMQP_PORT"))) != AMQP_STATUS_OK)
		fail("RabbitMQ: no connection");
	check_reply(
		amqp_login(broker, "/", 0, FRAME_MAX_BYTES, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest"),
		"login");
	amqp_channel_open(broker, CHANNEL);
	broker_check(broker, "channel");
	return broker;
}

void
broker_close(amqp_connection_state_t broker)
{
	amqp_connection_close(broker, AMQP_REPLY_SUCCESS);
	amqp_destroy_connection(broker);
}

void
broker_declare(amqp_connection_state_t broker, const char *queue)
{
	amqp_queue_declare(broker, CHANNEL, amqp_cstring_bytes(queue), 0, 1, 0, 0, amqp_empty_table);
	broker_check(broker, "declare");
}

int64_t
broker_length(amqp_connection_state_t broker, const char *queue)
{
	amqp_queue_declare_ok_t *found = amqp_queue_declare(broker, CHANNEL, amqp_cstring_bytes(queue),
	                                                    1, 1, 0, 0, amqp_empty_table);

	broker_check(broker, "declare");
	return found->message_count;
}

void
broker_purge(amqp_connection_state_t broker, const char *queue)
{
	amqp_queue_purge(broker, CHANNEL, amqp_cstring_bytes(queue));
	broker_check(broker, "purge");
}

void
broker_consume(amqp_connection_state_t broker, const char *queue, int prefetch, bool no_ack)
{
	amqp_basic_qos(broker, CHANNEL, 0, (uint16_t) prefetch, 0);
	amqp_basic_consume(broker, CHANNEL, amqp_cstring_bytes(queue), amqp_empty_bytes, 0, no_ack, 0,
	                   amqp_empty_table);
	broker_check(broker, "consume");
}

void
broker_take(amqp_connection_state_t broker, amqp_envelope_t *message)
{
	struct timeval limit = {.tv_sec = TAKE_LIMIT_S};

	check_reply(amqp_consume_message(broker, message, &limit, 0), "no message");
}

void
broker_confirms(amqp_connection_state_t broker)
{
	amqp_confirm_select(broker, CHANNEL);
	broker_check(broker, "confirm.select");
}

void
broker_publish(amqp_connection_state_t broker, const char *body, size_t size)
{
	amqp_basic_properties_t properties = {._flags = AMQP_BASIC_CONTENT_TYPE_FLAG |
	                                                AMQP_BASIC_DELIVERY_MODE_FLAG,
	                                      .content_type = amqp_cstring_bytes("application/json"),
	                                      .delivery_mode = PERSISTENT};

	if (amqp_basic_publish(broker, CHANNEL, amqp_empty_bytes, amqp_cstring_bytes(BROKER_QUEUE), 1,
	                       0, &properties, (amqp_bytes_t){size, (void *) body}) != AMQP_STATUS_OK)
		fail("RabbitMQ: publishing failed");
}

bool
broker_confirm(amqp_connection_state_t broker, int64_t wait_us, uint64_t *tag, bool *multiple)
{
	struct timeval limit = {.tv_sec = wait_us / 1000000, .tv_usec = wait_us % 1000000};
	amqp_frame_t   frame;
	int            status;

	amqp_maybe_release_buffers(broker);
	status = amqp_simple_wait_frame_noblock(broker, &frame, &limit);
	if (status == AMQP_STATUS_TIMEOUT)
		return false;
	if (status != AMQP_STATUS_OK)
		fail("RabbitMQ: %s", amqp_error_string2(status));
	if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
		fail("RabbitMQ: not confirmed");
	*tag = ((amqp_basic_ack_t *) frame.payload.method.decoded)->delivery_tag;
	*multiple = ((amqp_basic_ack_t *) frame.payload.method.decoded)->multiple;
	return true;
}

void
broker_confirm_all(amqp_connection_state_t broker, uint64_t first, int count)
{
	bool *seen = calloc((size_t) count, sizeof(*seen));
	int   up_to = 0; /* all before this one are confirmed */

	if (seen == NULL)
		fail("out of memory");
	while (up_to < count)
	{
		uint64_t tag;
		bool     multiple;

		if (!broker_confirm(broker, CONFIRM_LIMIT_US, &tag, &multiple))
			fail("RabbitMQ: no confirm");
		if (multiple && (int) (tag - first) >= up_to)
			up_to = (int) (tag - first) + 1;
		seen[tag - first] = true;
		while (up_to < count && seen[up_to])
			up_to++;
	}
	free(seen);
}
