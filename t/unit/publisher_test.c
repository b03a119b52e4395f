/*
 * publisher_test.c
 *    The publisher against a source and a broker that are played here, and against random ones.
 *
 * The simulation is seeded: a failing schedule prints its number, and OUTBOX_SEED replays it alone.
 */
#include "t/unit/unit.h"

#include "relay/publisher.h"

#include <inttypes.h>
#include <stdio.h>

#define MAX_EVENTS 64
#define MAX_SENT 4096
#define SCHEDULES 20000
#define STEPS 400

/* ---- what is played --------------------------------------------------------------------------- */

typedef struct World
{
	/* source: events 1 to committed exist, each its own destination event->id % 3 */
	int64_t  committed, windowed, read;
	int64_t  window_end[MAX_EVENTS + 1]; /* the last event of each window */
	uint64_t windows, confirmed_window;
	RelayEvent event;
	MqBytes    key;
	char       key_text[16];

	/* broker */
	bool     connected, connecting, reopening, full;
	uint64_t next_tag;
	int64_t  under_way[MAX_SENT]; /* event of each tag; 0: settled */
	bool     accepted[MAX_EVENTS + 1];
	int      sends, disconnects, connects;
	int      refusing; /* events of this destination come back; -1: none */
} World;

static World      world;
static Publisher *publisher;
static int64_t    now_us;

static bool
open_window(void *context, uint64_t *number, const char **lsn)
{
	(void) context;
	if (world.committed == world.windowed)
		return false;
	world.read = world.windowed;
	world.windowed = world.committed;
	world.window_end[++world.windows] = world.windowed;
	*number = world.windows;
	*lsn = "0/0";
	return true;
}

static size_t
read_events(void *context, const RelayEvent **events)
{
	static const char *const queues[] = {"zero", "one", "two"};

	(void) context;
	if (world.read == world.windowed)
		return 0;
	world.read++;
	world.event = (RelayEvent){
		.id = world.read,
		.exchange = mq_bytes_of(""),
		.routing_key = mq_bytes_of(queues[world.read % 3]),
		.body = mq_bytes_of("{}"),
	};
	*events = &world.event;
	return 1;
}

/* The heart of the matter: the position never passes an event that the broker did not accept. */
static void
on_confirmed(void *context, uint64_t number)
{
	(void) context;
	assert_true(number > world.confirmed_window && number <= world.windows);
	for (int64_t id = 1; id <= world.window_end[number]; id++)
		assert_true(world.accepted[id]);
	world.confirmed_window = number;
}

static void
do_connect(void *context, int64_t at_us)
{
	(void) context;
	(void) at_us;
	assert_false(world.connected);
	world.connecting = true;
	world.connects++;
}

static void
do_reopen(void *context)
{
	(void) context;
	world.reopening = true;
}

static MqResult
do_send(void *context, const OutMessage *message, uint64_t *tag, MqError *error)
{
	(void) context;
	assert_true(world.connected);
	if (world.full)
		return MQ_FULL;
	if (world.next_tag >= MAX_SENT)
		return mq_error_set(error, MQ_LOST, "the test's channel is used up");
	*tag = world.next_tag++;
	world.under_way[*tag] = message->last_id;
	world.sends++;
	return MQ_OK;
}

static void
do_disconnect(void *context)
{
	(void) context;
	world.connected = world.connecting = world.reopening = false;
	world.disconnects++;
}

static MqResult
encode(void *context, const MqProperties *properties, MqBuffer *raw, MqError *error)
{
	(void) context;
	(void) properties;
	(void) error;
	return mq_buffer_append(raw, "p", 1);
}

static int
begin(void **state)
{
	PublisherSource    source = {NULL, open_window, read_events, on_confirmed};
	PublisherTransport transport = {NULL, do_connect, do_reopen, do_send, do_disconnect};
	BatchOptions       batch = {
			  .instance = "i",
			  .database = mq_bytes_of("d"),
			  .exchange = mq_bytes_of(""),
			  .routing_key = mq_bytes_of("zero"),
			  .max_keys = 500,
			  .encode = encode,
	};

	(void) state;
	memset(&world, 0, sizeof(world));
	world.refusing = -1;
	now_us = 1000000;
	publisher = publisher_new(&source, &transport, &batch, NULL, 42);
	return 0;
}

static int
end(void **state)
{
	(void) state;
	publisher_free(publisher);
	return 0;
}

/* ---- the broker's acts ------------------------------------------------------------------------ */

static void
channel_begins(void)
{
	world.connected = true;
	world.connecting = world.reopening = false;
	world.next_tag = 1;
	memset(world.under_way, 0, sizeof(world.under_way));
	publisher_on_ready(publisher, now_us);
}

static void
return_one(uint64_t tag)
{
	static const char *const queues[] = {"zero", "one", "two"};
	int64_t id = world.under_way[tag];

	publisher_on_return(publisher, mq_bytes_of(""), mq_bytes_of(queues[id % 3]), id, id, 1,
						"NO_ROUTE", now_us);
}

static bool
is_refused(int64_t id)
{
	return id % 3 == world.refusing;
}

static void
ack_one(uint64_t tag)
{
	int64_t id = world.under_way[tag];

	if (is_refused(id))
		return_one(tag);
	else
		world.accepted[id] = true;
	world.under_way[tag] = 0;
	publisher_on_ack(publisher, tag, false, now_us);
}

static void
ack_all(void)
{
	for (uint64_t tag = 1; tag < world.next_tag; tag++)
	{
		if (world.under_way[tag] != 0)
			ack_one(tag);
	}
}

static void
lose(void)
{
	world.connected = world.connecting = world.reopening = false;
	publisher_on_lost(publisher, "gone", now_us);
}

static void
commit(int64_t count)
{
	world.committed += count;
	publisher_look(publisher);
}

static int64_t
step(void)
{
	return publisher_step(publisher, now_us);
}

static void
connected(void)
{
	step();
	channel_begins();
	step();
}

/* ---- cases ------------------------------------------------------------------------------------ */

static void
it_connects_and_is_idle(void **state)
{
	(void) state;
	assert_int_equal(publisher_state(publisher), PUBLISHER_WAITING);
	step();
	assert_int_equal(publisher_state(publisher), PUBLISHER_CONNECTING);
	channel_begins();
	assert_true(step() == PUBLISHER_NEVER);
	assert_int_equal(publisher_state(publisher), PUBLISHER_IDLE);
	assert_true(publisher_is_drained(publisher));
}

static void
the_position_moves_when_all_of_a_window_is_confirmed(void **state)
{
	(void) state;
	connected();
	commit(2);
	step();
	assert_int_equal(world.sends, 2);
	ack_one(2);
	assert_int_equal(world.confirmed_window, 0);
	ack_one(1);
	assert_int_equal(world.confirmed_window, 1);
	step();
	assert_int_equal(publisher_state(publisher), PUBLISHER_IDLE);
}

static void
a_lost_connection_sends_again_what_was_not_confirmed(void **state)
{
	(void) state;
	connected();
	commit(3);
	step();
	ack_one(2);
	lose();
	assert_int_equal(publisher_state(publisher), PUBLISHER_WAITING);
	now_us = step();
	step();
	channel_begins();
	step();
	assert_int_equal(world.sends, 5);
	ack_all();
	assert_int_equal(world.confirmed_window, 1);
}

static void
reconnecting_backs_off(void **state)
{
	int64_t due;
	int64_t longest = 0;

	(void) state;
	for (int i = 0; i < 20; i++)
	{
		step();
		lose();
		due = step();
		assert_true(due > now_us && due <= now_us + PUBLISHER_CONNECT_LIMIT_US);
		longest = due - now_us > longest ? due - now_us : longest;
		now_us = due;
	}
	assert_int_equal(world.connects, 20);
	assert_true(longest > PUBLISHER_CONNECT_LIMIT_US / 2);
}

static void
a_returned_message_holds_everything_and_is_tried_with_growing_delays(void **state)
{
	int64_t previous = 0;

	(void) state;
	connected();
	world.refusing = 1;
	commit(1);
	step();
	for (int i = 0; i < 5; i++)
	{
		int64_t due;

		ack_all();
		commit(1);
		due = step();
		assert_int_equal(world.sends, i + 1);
		assert_true(due > now_us);
		assert_true(i < 2 || due - now_us > previous / 2);
		previous = due - now_us;
		now_us = due;
		step();
	}
	assert_int_equal(publisher_counters(publisher)->returned, 5);
	world.refusing = -1;
	for (int i = 0; i < 10; i++)
	{
		ack_all();
		now_us = step() == PUBLISHER_NEVER ? now_us : now_us + PUBLISHER_RETRY_LIMIT_US / 100;
	}
	assert_true(world.accepted[6]);
	assert_true(publisher_is_drained(publisher));
}

/* Other messages' confirms must not end the hold: a hot loop of tries would follow. */
static void
a_confirm_of_another_message_does_not_end_the_hold(void **state)
{
	(void) state;
	connected();
	world.refusing = 1;
	commit(3);
	step();
	ack_one(1);
	ack_one(2);
	ack_one(3);
	step();
	assert_int_equal(world.sends, 3);
}

static void
while_blocked_nothing_is_sent_and_no_limit_runs(void **state)
{
	(void) state;
	connected();
	commit(1);
	step();
	publisher_on_blocked(publisher, "low on memory");
	assert_int_equal(publisher_state(publisher), PUBLISHER_BLOCKED);
	commit(1);
	now_us += 10 * PUBLISHER_CONFIRM_LIMIT_US;
	assert_true(step() == PUBLISHER_NEVER);
	assert_int_equal(world.sends, 1);
	publisher_on_unblocked(publisher, now_us);
	step();
	assert_int_equal(world.disconnects, 0);
	assert_int_equal(world.sends, 2);
}

static void
a_confirm_that_never_comes_ends_the_connection(void **state)
{
	int64_t due;

	(void) state;
	connected();
	commit(1);
	due = step();
	assert_true(due == now_us + PUBLISHER_CONFIRM_LIMIT_US);
	now_us = due;
	step();
	assert_int_equal(world.disconnects, 1);
	assert_int_equal(publisher_state(publisher), PUBLISHER_WAITING);
}

/* 404: the broker does not say which. One at a time until it shows itself. */
static void
a_closed_channel_is_followed_by_one_message_at_a_time(void **state)
{
	(void) state;
	connected();
	commit(3);
	step();
	publisher_on_channel_closed(publisher, "NOT_FOUND", now_us);
	now_us = step();
	step();
	assert_true(world.reopening);
	channel_begins();
	step();
	assert_int_equal(world.sends, 4);
	ack_all();
	step();
	assert_int_equal(world.sends, 5);
	ack_all();
	step();
	ack_all();
	assert_int_equal(world.confirmed_window, 1);
	commit(2);
	step();
	assert_int_equal(world.sends, 8);
}

static void
a_full_socket_is_waited_for(void **state)
{
	(void) state;
	connected();
	world.full = true;
	commit(5);
	step();
	assert_int_equal(world.sends, 0);
	world.full = false;
	step();
	assert_int_equal(world.sends, 5);
}

/* ---- simulation ------------------------------------------------------------------------------- */

static uint64_t random_state;

static uint64_t
random_below(uint64_t limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % limit;
}

/* A tag that is under way; 0: none. */
static uint64_t
random_tag(void)
{
	uint64_t first;

	if (world.next_tag <= 1)
		return 0;
	first = 1 + random_below(world.next_tag - 1);
	for (uint64_t i = 0; i < world.next_tag - 1; i++)
	{
		uint64_t tag = 1 + (first - 1 + i) % (world.next_tag - 1);

		if (world.under_way[tag] != 0)
			return tag;
	}
	return 0;
}

static void
random_answer(void)
{
	uint64_t tag = random_tag();

	if (tag == 0)
		return;
	switch (random_below(6))
	{
	case 0:
		world.under_way[tag] = 0;
		publisher_on_nack(publisher, tag, false, now_us);
		break;
	case 1:
		return_one(tag);
		world.under_way[tag] = 0;
		publisher_on_ack(publisher, tag, false, now_us);
		break;
	case 2: /* all up to it */
		for (uint64_t t = 1; t <= tag; t++)
		{
			world.accepted[world.under_way[t]] = true;
			world.under_way[t] = 0;
		}
		publisher_on_ack(publisher, tag, true, now_us);
		break;
	default:
		ack_one(tag);
	}
}

static void
random_act(void)
{
	switch (random_below(12))
	{
	case 0:
		if (world.committed < MAX_EVENTS)
			commit(1 + (int64_t) random_below((uint64_t) (MAX_EVENTS - world.committed)));
		break;
	case 1:
		if (world.connected || world.connecting || world.reopening)
			lose();
		break;
	case 2:
		if (world.connected)
		{
			world.connected = false;
			publisher_on_channel_closed(publisher, "NOT_FOUND", now_us);
		}
		break;
	case 3:
		if (world.connected)
			publisher_on_blocked(publisher, "alarm");
		break;
	case 4:
		if (world.connected)
			publisher_on_unblocked(publisher, now_us);
		break;
	case 5:
		world.full = !world.full;
		break;
	case 6:
		now_us += (int64_t) random_below(PUBLISHER_RETRY_LIMIT_US);
		break;
	case 7:
		if (world.connecting || world.reopening)
			channel_begins();
		break;
	default:
		if (world.connected)
			random_answer();
	}
}

/* From any state a broker that behaves must drain everything. */
static void
drain(void)
{
	world.full = false;
	for (int i = 0; i < STEPS && !(publisher_is_drained(publisher) && step() == PUBLISHER_NEVER); i++)
	{
		if (world.connecting || world.reopening)
			channel_begins();
		if (world.connected)
		{
			publisher_on_unblocked(publisher, now_us);
			ack_all();
		}
		now_us += PUBLISHER_RETRY_LIMIT_US / 2;
		step();
	}
}

static void
run_schedule(uint64_t seed)
{
	begin(NULL);
	random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	for (int i = 0; i < STEPS; i++)
	{
		random_act();
		step();
		if (world.connected && world.next_tag > MAX_SENT / 2)
			lose();
	}
	drain();
	if (!publisher_is_drained(publisher) || world.confirmed_window != world.windows)
		fail_msg("schedule %" PRIu64 " (OUTBOX_SEED=%" PRIu64 ") did not drain", seed, seed);
	for (int64_t id = 1; id <= world.committed; id++)
		assert_true(world.accepted[id]);
	end(NULL);
}

static void
no_schedule_loses_an_event_or_moves_the_position_too_far(void **state)
{
	const char *seed = getenv("OUTBOX_SEED");

	(void) state;
	if (seed != NULL)
		run_schedule(strtoull(seed, NULL, 10));
	for (uint64_t i = 1; seed == NULL && i <= SCHEDULES; i++)
		run_schedule(i);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(it_connects_and_is_idle),
		TEST(the_position_moves_when_all_of_a_window_is_confirmed),
		TEST(a_lost_connection_sends_again_what_was_not_confirmed),
		TEST(reconnecting_backs_off),
		TEST(a_returned_message_holds_everything_and_is_tried_with_growing_delays),
		TEST(a_confirm_of_another_message_does_not_end_the_hold),
		TEST(while_blocked_nothing_is_sent_and_no_limit_runs),
		TEST(a_confirm_that_never_comes_ends_the_connection),
		TEST(a_closed_channel_is_followed_by_one_message_at_a_time),
		TEST(a_full_socket_is_waited_for),
		cmocka_unit_test(no_schedule_loses_an_event_or_moves_the_position_too_far),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
