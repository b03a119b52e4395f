/*
 * session_test.c
 *    A session against a broker that is played here, byte by byte: well, badly, or not at all.
 *
 * Both ends are non-blocking sockets of this process, moved in turn; time is made up, so that
 * limits of seconds pass at once.
 */
#include "t/unit/unit.h"

#include "wire/codec.h"
#include "wire/session.h"
#include "wire/stream.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURNS_MAX 2000
#define NEVER_SENT (-1)

typedef struct Player
{
	int        listener, peer; /* peer: -1 until accepted */
	MqUrl      url;
	MqSession *session;
	int64_t    now_us;
	MqBuffer   out; /* what the broker will send */
	size_t     sent;
	size_t     piece; /* at most so many bytes at a time */
	MqBuffer   heard; /* what the session said */
} Player;

static Player player;

/* ---- playing ---------------------------------------------------------------------------------- */

static int
begin_as(bool external)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t          size = sizeof(address);
	MqSessionOptions   options = {.name = "test", .max_body_bytes = 1000};

	player = (Player){.peer = -1, .piece = 1 << 20, .now_us = mq_clock_us()};
	player.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (bind(player.listener, (struct sockaddr *) &address, size) != 0 ||
	    listen(player.listener, 1) != 0 ||
	    getsockname(player.listener, (struct sockaddr *) &address, &size) != 0)
		return -1;
	player.url = (MqUrl){.host = "127.0.0.1",
	                     .port = ntohs(address.sin_port),
	                     .user = "u",
	                     .password = "p",
	                     .vhost = "/",
	                     .heartbeat_s = 10,
	                     .external = external};
	player.session = mq_session_new(&options);
	return mq_session_connect(player.session, &player.url, player.now_us, NULL) == MQ_OK ? 0 : -1;
}

static int
begin(void **state)
{
	(void) state;
	return begin_as(false);
}

static int
begin_external(void **state)
{
	(void) state;
	return begin_as(true);
}

static int
end(void **state)
{
	(void) state;
	mq_session_free(player.session);
	if (player.peer >= 0)
		close(player.peer);
	if (player.listener >= 0)
		close(player.listener);
	mq_buffer_free(&player.out);
	mq_buffer_free(&player.heard);
	return 0;
}

static void
move_broker(void)
{
	char    buffer[4096];
	ssize_t size;

	if (player.peer < 0)
		player.peer = accept4(player.listener, NULL, NULL, SOCK_NONBLOCK);
	if (player.peer < 0)
		return;
	while ((size = recv(player.peer, buffer, sizeof(buffer), 0)) > 0)
		mq_buffer_append(&player.heard, buffer, (size_t) size);
	if (player.sent < player.out.size)
	{
		size_t left = player.out.size - player.sent;

		size = send(player.peer, player.out.data + player.sent,
		            left < player.piece ? left : player.piece, MSG_NOSIGNAL);
		if (size > 0)
			player.sent += (size_t) size;
	}
}

/* Moves both ends until an event comes, or fails. */
static MqEvent
next_event(void)
{
	MqEvent event;

	for (int turn = 0; turn < TURNS_MAX; turn++)
	{
		struct pollfd ready = {.fd = mq_session_fd(player.session), .events = POLLIN};

		move_broker();
		mq_session_step(player.session, player.now_us);
		if (mq_session_next(player.session, &event))
			return event;
		poll(&ready, 1, 1);
	}
	fail_msg("no event came");
	return event;
}

/* Moves both ends until all that the broker had to send is read; no event may come. */
static void
expect_silence(void)
{
	MqEvent event;

	for (int turn = 0; turn < 50; turn++)
	{
		struct pollfd ready = {.fd = mq_session_fd(player.session), .events = POLLIN};

		move_broker();
		mq_session_step(player.session, player.now_us);
		assert_false(mq_session_next(player.session, &event));
		poll(&ready, 1, 1);
	}
}

static void
expect_lost(const char *reason)
{
	MqEvent event = next_event();

	assert_int_equal(event.kind, MQ_EVENT_LOST);
	if (strstr(event.text, reason) == NULL)
		fail_msg("lost because \"%s\", not \"%s\"", event.text, reason);
	assert_true(mq_session_is_closed(player.session));
	assert_int_equal(mq_session_fd(player.session), -1);
	assert_false(mq_session_next(player.session, &event));
}

static void
say(const void *bytes, size_t size)
{
	mq_buffer_append(&player.out, bytes, size);
}

static void
say_method(uint16_t channel, amqp_method_number_t id, void *method)
{
	assert_int_equal(codec_append_method(&player.out, channel, id, method, NULL), MQ_OK);
}

static void
say_start(void)
{
	amqp_connection_start_t start = {
		.version_major = 0,
		.version_minor = 9,
		.mechanisms = amqp_cstring_bytes("AMQPLAIN PLAIN"),
		.locales = amqp_cstring_bytes("en_US"),
	};

	say_method(0, AMQP_CONNECTION_START_METHOD, &start);
}

static void
say_tune(uint32_t frame_max, uint16_t heartbeat)
{
	amqp_connection_tune_t tune = {
		.channel_max = 2047, .frame_max = frame_max, .heartbeat = heartbeat};

	say_method(0, AMQP_CONNECTION_TUNE_METHOD, &tune);
}

static void
say_open(void)
{
	amqp_connection_open_ok_t open = {.known_hosts = amqp_empty_bytes};
	amqp_channel_open_ok_t    channel = {.channel_id = amqp_empty_bytes};

	say_method(0, AMQP_CONNECTION_OPEN_OK_METHOD, &open);
	say_method(1, AMQP_CHANNEL_OPEN_OK_METHOD, &channel);
}

static void
log_in(void)
{
	say_start();
	say_tune(131072, 60);
	say_open();
	assert_int_equal(next_event().kind, MQ_EVENT_OPEN);
	assert_true(mq_session_is_open(player.session));
	mq_session_flush(player.session);
	move_broker();
}

static void
say_deliver(uint64_t tag, const char *body, size_t size)
{
	static const char    empty[2] = {0};
	amqp_basic_deliver_t deliver = {
		.consumer_tag = amqp_cstring_bytes("c"),
		.delivery_tag = tag,
		.exchange = amqp_empty_bytes,
		.routing_key = amqp_cstring_bytes("queue"),
	};

	say_method(1, AMQP_BASIC_DELIVER_METHOD, &deliver);
	assert_int_equal(
		codec_append_content(&player.out, 1, 4096, mq_bytes(empty, 2), mq_bytes(body, size), NULL),
		MQ_OK);
}

/* ---- login ------------------------------------------------------------------------------------ */

static void
a_login_opens_a_channel(void **state)
{
	(void) state;
	log_in();
	assert_memory_equal(player.heard.data, "AMQP\0\0\x09\x01", 8);
}

/* Without these the broker says nothing when it blocks or cancels. */
static void
the_login_asks_for_the_notices_it_needs(void **state)
{
	static const char *const names[] = {"connection.blocked", "consumer_cancel_notify",
	                                    "publisher_confirms", "basic.nack"};

	(void) state;
	log_in();
	for (size_t i = 0; i < 4; i++)
		assert_non_null(memmem(player.heard.data, player.heard.size, names[i], strlen(names[i])));
}

/* Its answer is empty: the name is in the certificate. (TLS is the URL parser's to insist on.) */
static void
a_certificate_is_the_login(void **state)
{
	amqp_connection_start_t start = {
		.mechanisms = amqp_cstring_bytes("PLAIN EXTERNAL"),
		.locales = amqp_cstring_bytes("en_US"),
	};

	(void) state;
	say_method(0, AMQP_CONNECTION_START_METHOD, &start);
	say_tune(131072, 60);
	say_open();
	assert_int_equal(next_event().kind, MQ_EVENT_OPEN);
	mq_session_flush(player.session);
	move_broker();
	assert_non_null(
		memmem(player.heard.data, player.heard.size, "\010EXTERNAL\0\0\0\0\005en_US", 19));
}

static void
bytes_that_come_one_by_one_are_the_same(void **state)
{
	MqEvent event;

	(void) state;
	player.piece = 1;
	log_in();
	say_deliver(1, "hello", 5);
	event = next_event();
	assert_int_equal(event.kind, MQ_EVENT_DELIVER);
	assert_memory_equal(event.body.data, "hello", 5);
}

static void
a_refused_login_gives_the_brokers_words(void **state)
{
	amqp_connection_close_t close = {
		.reply_code = 403,
		.reply_text = amqp_cstring_bytes("ACCESS_REFUSED - Login was refused"),
	};
	MqEvent event;

	(void) state;
	say_start();
	say_method(0, AMQP_CONNECTION_CLOSE_METHOD, &close);
	event = next_event();
	assert_int_equal(event.kind, MQ_EVENT_LOST);
	assert_int_equal(event.reply_code, 403);
	assert_non_null(strstr(event.text, "ACCESS_REFUSED - Login was refused"));
}

static void
another_protocol_is_recognized(void **state)
{
	(void) state;
	say("HTTP/1.1 400 Bad Request\r\n\r\n", 28);
	expect_lost("does not speak AMQP");
}

static void
another_version_is_recognized(void **state)
{
	(void) state;
	say("AMQP\1\1\0\12", 8);
	expect_lost("does not speak AMQP");
}

static void
a_broker_without_plain_is_refused(void **state)
{
	amqp_connection_start_t start = {
		.mechanisms = amqp_cstring_bytes("EXTERNAL XPLAIN"),
		.locales = amqp_cstring_bytes("en_US"),
	};

	(void) state;
	say_method(0, AMQP_CONNECTION_START_METHOD, &start);
	expect_lost("PLAIN");
}

static void
frames_below_the_protocols_minimum_are_refused(void **state)
{
	(void) state;
	say_start();
	say_tune(1024, 0);
	expect_lost("frames of 1024 bytes");
}

static void
a_silent_broker_is_given_up_after_the_login_limit(void **state)
{
	(void) state;
	expect_silence();
	player.now_us = mq_session_due_us(player.session);
	expect_lost("did not finish the login");
}

static void
a_connection_closed_in_the_login_is_noticed(void **state)
{
	(void) state;
	say_start();
	expect_silence();
	close(player.peer);
	player.peer = NEVER_SENT;
	close(player.listener);
	player.listener = NEVER_SENT;
	expect_lost("");
}

static void
nobody_listens(void **state)
{
	MqSession       *session;
	MqError          error = {0};
	MqEvent          event;
	MqSessionOptions options = {.name = "test"};

	(void) state;
	close(player.listener);
	player.listener = NEVER_SENT;
	session = mq_session_new(&options);
	if (mq_session_connect(session, &player.url, player.now_us, &error) == MQ_OK)
	{
		struct pollfd ready = {.fd = mq_session_fd(session), .events = POLLOUT};

		poll(&ready, 1, 1000);
		mq_session_step(session, player.now_us);
		assert_true(mq_session_next(session, &event));
		snprintf(error.text, sizeof(error.text), "%s", event.text);
	}
	assert_non_null(strstr(error.text, "Connection refused"));
	mq_session_free(session);
}

/* ---- afterwards ------------------------------------------------------------------------------- */

static void
frames_of_the_wrong_form_end_the_connection(void **state)
{
	static const struct
	{
		const char *bytes;
		size_t      size;
		const char *reason;
	} cases[] = {
		{"\x01\0\1\x7f\xff\xff\xff", 7, "too large"},
		{"\x01\0\1\0\0\0\2\0\0\xce", 10, "without an id"},
		{"\x01\0\1\0\0\0\4\0\x3c\0\x50x", 12, "without an end"},
		{"\x09\0\1\0\0\0\0\xce", 8, "unknown type"},
		{"\x01\0\7\0\0\0\4\0\x3c\0\x50\xce", 12, "channel 7"},
		{"\x01\0\1\0\0\0\4\0\x63\0\x63\xce", 12, "malformed"},
		{"\x01\0\1\0\0\0\4\0\x3c\0\x50\xce", 12, "malformed"},
		{"\x03\0\1\0\0\0\1x\xce", 9, "unexpected message body"},
		{"\x02\0\1\0\0\0\1x\xce", 9, "unexpected content header"},
		{"\x01\0\0\0\0\0\5\0\x0a\0\x29\0\xce", 13, "unexpected AMQP_CONNECTION_OPEN_OK"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		log_in();
		say(cases[i].bytes, cases[i].size);
		expect_lost(cases[i].reason);
		end(NULL);
		assert_int_equal(begin(NULL), 0);
	}
}

static void
a_body_in_many_frames_is_put_together(void **state)
{
	static char body[1000];
	MqEvent     event;

	(void) state;
	memset(body, 'b', sizeof(body));
	log_in();
	player.piece = 7;
	say_deliver(3, body, sizeof(body));
	event = next_event();
	assert_int_equal(event.tag, 3);
	assert_int_equal(event.body.size, sizeof(body));
	assert_memory_equal(event.body.data, body, sizeof(body));
}

static void
a_body_over_the_limit_is_skipped_and_announced(void **state)
{
	static char body[5000];
	MqEvent     event;

	(void) state;
	log_in();
	say_deliver(1, body, sizeof(body));
	say_deliver(2, "x", 1);
	event = next_event();
	assert_true(event.body_skipped);
	assert_int_equal(event.body_bytes, sizeof(body));
	assert_int_equal(event.body.size, 0);
	event = next_event();
	assert_int_equal(event.tag, 2);
	assert_false(event.body_skipped);
}

static void
an_empty_body_has_no_body_frame(void **state)
{
	MqEvent event;

	(void) state;
	log_in();
	say_deliver(1, "", 0);
	event = next_event();
	assert_int_equal(event.kind, MQ_EVENT_DELIVER);
	assert_int_equal(event.body.size, 0);
}

/* What had arrived before the end of the stream still counts. */
static void
events_before_the_end_come_before_the_loss(void **state)
{
	(void) state;
	log_in();
	say_deliver(1, "a", 1);
	move_broker();
	close(player.peer);
	player.peer = NEVER_SENT;
	close(player.listener);
	player.listener = NEVER_SENT;
	assert_int_equal(next_event().kind, MQ_EVENT_DELIVER);
	expect_lost("closed by the peer");
}

static void
an_unanswered_request_is_given_up(void **state)
{
	(void) state;
	player.url.heartbeat_s = 0;
	end(NULL);
	assert_int_equal(begin(NULL), 0);
	log_in();
	assert_int_equal(mq_confirm_select(player.session, NULL), MQ_OK);
	expect_silence();
	player.now_us += 29000000;
	say("\x08\0\0\0\0\0\0\xce", 8); /* a heartbeat: alive, but no answer */
	expect_silence();
	player.now_us += 1000001;
	expect_lost("did not answer");
}

/* Whoever does not read cannot see the answer: that is not the broker's fault. */
static void
no_request_is_given_up_while_nobody_reads(void **state)
{
	(void) state;
	log_in();
	assert_int_equal(mq_confirm_select(player.session, NULL), MQ_OK);
	mq_session_set_reading(player.session, false);
	for (int i = 0; i < 10; i++)
	{
		player.now_us += 9000000;
		expect_silence();
	}
	assert_true(mq_session_is_open(player.session));
	assert_true(mq_session_due_us(player.session) > player.now_us);
}

static void
heartbeats_are_sent_and_their_absence_is_noticed(void **state)
{
	size_t heard;

	(void) state;
	log_in();
	expect_silence();
	heard = player.heard.size;
	player.now_us += 5000000;
	expect_silence();
	assert_int_equal(player.heard.size, heard + 8);
	assert_memory_equal(player.heard.data + heard, "\x08\0\0\0\0\0\0\xce", 8);
	player.now_us += 15000000;
	expect_lost("silent for two heartbeats");
}

static void
a_closed_channel_can_be_opened_again(void **state)
{
	amqp_channel_close_t close = {
		.reply_code = 404,
		.reply_text = amqp_cstring_bytes("NOT_FOUND - no exchange 'x'"),
	};
	amqp_channel_open_ok_t open = {.channel_id = amqp_empty_bytes};
	MqMessage              message = {.properties = {.priority = -1, .delivery_mode = 2}};
	uint64_t               tag;
	MqEvent                event;

	(void) state;
	log_in();
	assert_int_equal(mq_publish(player.session, &message, &tag, NULL), MQ_OK);
	assert_int_equal(tag, 1);
	say_method(1, AMQP_CHANNEL_CLOSE_METHOD, &close);
	event = next_event();
	assert_int_equal(event.kind, MQ_EVENT_CHANNEL_CLOSED);
	assert_int_equal(event.reply_code, 404);
	assert_int_equal(mq_publish(player.session, &message, &tag, NULL), MQ_LOST);
	player.now_us += 11000000; /* the login's time limit is long over */
	assert_int_equal(mq_channel_reopen(player.session, NULL), MQ_OK);
	expect_silence();
	say_method(1, AMQP_CHANNEL_OPEN_OK_METHOD, &open);
	assert_int_equal(next_event().kind, MQ_EVENT_OPEN);
	assert_int_equal(mq_publish(player.session, &message, &tag, NULL), MQ_OK);
	assert_int_equal(tag, 1);
}

/* The peer reads nothing: output is bounded, and what does not fit leaves no half message. */
static void
output_is_bounded(void **state)
{
	static char body[100000];
	MqMessage   message = {.properties = {.priority = -1, .delivery_mode = 2},
	                       .body = {body, sizeof(body)}};
	MqResult    result = MQ_OK;
	size_t      count = 0;

	(void) state;
	log_in();
	while (result == MQ_OK && ++count < 10000)
	{
		result = mq_publish(player.session, &message, NULL, NULL);
		mq_session_flush(player.session);
	}
	assert_int_equal(result, MQ_FULL);
	assert_true(mq_session_unsent_bytes(player.session) <= 4 * 1024 * 1024);
}

static void
names_that_are_too_long_are_refused_here(void **state)
{
	static char name[256];
	MqMessage   message = {.routing_key = {name, sizeof(name)}};
	MqError     error;

	(void) state;
	log_in();
	assert_int_equal(mq_publish(player.session, &message, NULL, &error), MQ_INVALID);
	assert_int_equal(
		mq_consume(player.session, mq_bytes(name, sizeof(name)), mq_bytes_of("c"), &error),
		MQ_INVALID);
	assert_int_equal(mq_session_unsent_bytes(player.session), 0);
}

static void
what_the_broker_says_is_printable(void **state)
{
	amqp_connection_blocked_t blocked = {.reason = amqp_cstring_bytes("low\non \x1b[31mmemory")};
	MqEvent                   event;

	(void) state;
	log_in();
	say_method(0, AMQP_CONNECTION_BLOCKED_METHOD, &blocked);
	event = next_event();
	assert_int_equal(event.kind, MQ_EVENT_BLOCKED);
	assert_string_equal(event.text, "low?on ?[31mmemory");
	assert_true(mq_session_is_blocked(player.session));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_login_opens_a_channel),
		TEST(the_login_asks_for_the_notices_it_needs),
		cmocka_unit_test_setup_teardown(a_certificate_is_the_login, begin_external, end),
		TEST(bytes_that_come_one_by_one_are_the_same),
		TEST(a_refused_login_gives_the_brokers_words),
		TEST(another_protocol_is_recognized),
		TEST(another_version_is_recognized),
		TEST(a_broker_without_plain_is_refused),
		TEST(frames_below_the_protocols_minimum_are_refused),
		TEST(a_silent_broker_is_given_up_after_the_login_limit),
		TEST(a_connection_closed_in_the_login_is_noticed),
		TEST(nobody_listens),
		TEST(frames_of_the_wrong_form_end_the_connection),
		TEST(a_body_in_many_frames_is_put_together),
		TEST(a_body_over_the_limit_is_skipped_and_announced),
		TEST(an_empty_body_has_no_body_frame),
		TEST(events_before_the_end_come_before_the_loss),
		TEST(an_unanswered_request_is_given_up),
		TEST(no_request_is_given_up_while_nobody_reads),
		TEST(heartbeats_are_sent_and_their_absence_is_noticed),
		TEST(a_closed_channel_can_be_opened_again),
		TEST(output_is_bounded),
		TEST(names_that_are_too_long_are_refused_here),
		TEST(what_the_broker_says_is_printable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
