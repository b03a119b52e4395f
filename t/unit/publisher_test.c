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
#define QUEUES 3
#define SCHEDULES 100000
#define STEPS 200

/* ---- what is played --------------------------------------------------------------------------- */

/* What the broker does with messages to a queue. */
typedef enum Mood
{
	ACCEPTS,
	RETURNS, /* 312, then an ack */
	NACKS,
	CLOSES /* the channel, with 404 */
} Mood;

typedef enum Keeping
{
	NOT_KEPT,
	KEPT, /* parked */
	KEPT_DEAD
} Keeping;

typedef struct World
{
	/* source: events 1 to committed exist, each for the queue id % QUEUES */
	int64_t    committed, windowed, read;
	int64_t    window_end[MAX_EVENTS + 1]; /* the last event of each window */
	uint64_t   windows, confirmed_window;
	Keeping    kept[MAX_EVENTS + 1];
	RelayEvent events[MAX_EVENTS];
	int        told[PUBLISHER_NOTES + 1];
	char       last_reason[256]; /* of events parked */

	/* broker */
	bool     connected, connecting, reopening, full;
	uint64_t next_tag;
	int64_t  under_way[MAX_SENT]; /* event of each tag; 0: settled */
	bool     accepted[MAX_EVENTS + 1];
	bool     malformed[MAX_EVENTS + 1]; /* 406 */
	bool     discarded[MAX_EVENTS + 1]; /* by hand */
	int      sends, disconnects, connects, reopens;
	Mood     mood[QUEUES];
	int      held;    /* somebody is about to take this queue's parked events away; -1: none */
	int64_t  retried; /* an event that somebody has tried again by hand; 0: none */
} World;

static World      world;
static Publisher *publisher;
static int64_t    now_us;

static const char *const queues[QUEUES] = {"zero", "one", "two"};

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

static RelayEvent
event_of(int64_t id)
{
	return (RelayEvent){
		.id = id,
		.attempts = id == world.retried ? 1 : 0,
		.exchange = mq_bytes_of(""),
		.routing_key = mq_bytes_of(queues[id % QUEUES]),
		.body = mq_bytes_of("{}"),
	};
}

static size_t
read_events(void *context, const RelayEvent **events)
{
	(void) context;
	if (world.read == world.windowed)
		return 0;
	world.read++;
	world.events[0] = event_of(world.read);
	*events = world.events;
	return 1;
}

/* The heart of the matter: the position never passes an event that was neither accepted by the broker
 * nor kept. */
static void
on_confirmed(void *context, uint64_t number)
{
	(void) context;
	assert_true(number > world.confirmed_window && number <= world.windows);
	for (int64_t id = 1; id <= world.window_end[number]; id++)
		assert_true(world.accepted[id] || world.kept[id] != NOT_KEPT || world.discarded[id]);
	world.confirmed_window = number;
}

static int
queue_number(MqBytes routing_key)
{
	for (int i = 0; i < QUEUES; i++)
	{
		if (mq_bytes_equal(routing_key, mq_bytes_of(queues[i])))
			return i;
	}
	fail_msg("a queue that nobody named");
	return -1;
}

static void
park(void *context, ParkRange *ranges, size_t count)
{
	(void) context;
	for (size_t i = 0; i < count; i++)
	{
		ParkRange *range = &ranges[i];

		assert_true(range->window > 0 && range->window <= world.windows);
		assert_true(range->first_id > world.window_end[range->window - 1]);
		assert_true(range->last_id <= world.window_end[range->window]);
		assert_int_equal(range->first_id, range->last_id);
		assert_int_equal(queue_number(range->routing_key), range->last_id % QUEUES);
		range->parked = world.kept[range->last_id] == NOT_KEPT;
		if (range->parked)
			world.kept[range->last_id] = range->dead ? KEPT_DEAD : KEPT;
		if (range->dead)
			assert_true(world.malformed[range->last_id]);
		if (range->reason != NULL)
			snprintf(world.last_reason, sizeof(world.last_reason), "%s", range->reason);
	}
}

static size_t
read_parked(void *context, MqBytes exchange, MqBytes routing_key, int64_t after, size_t limit,
            const RelayEvent **events, const char **lsn, bool *held)
{
	int    queue = queue_number(routing_key);
	size_t count = 0;

	(void) context;
	(void) exchange;
	for (int64_t id = after + 1; id <= world.committed && count < limit; id++)
	{
		if (id % QUEUES == queue && world.kept[id] == KEPT && world.held != queue)
			world.events[count++] = event_of(id);
	}
	*events = world.events;
	*lsn = "0/0";
	*held = count == 0 && world.held == queue;
	return count;
}

static void
settle(void *context, const ChunkEvent *events, size_t count, const char *reason)
{
	(void) context;
	(void) reason;
	for (size_t i = 0; i < count; i++)
	{
		int64_t id = events[i].id;

		if (world.discarded[id])
			continue;
		assert_int_equal(world.kept[id], KEPT);
		switch (events[i].outcome)
		{
		case CHUNK_ACCEPTED:
			assert_true(world.accepted[id]);
			world.kept[id] = NOT_KEPT;
			break;
		case CHUNK_REFUSED:
			break;
		case CHUNK_DEAD:
			assert_true(world.malformed[id]);
			world.kept[id] = KEPT_DEAD;
			break;
		}
	}
}

/* Somebody discards an event by hand, where it is parked. */
static void
discard(int64_t id)
{
	if (world.kept[id] == NOT_KEPT)
		return;
	world.kept[id] = NOT_KEPT;
	world.discarded[id] = true;
}

static int64_t
kept_count(int queue)
{
	int64_t count = 0;

	for (int64_t id = 1; id <= world.committed; id++)
		count += id % QUEUES == queue && world.kept[id] == KEPT;
	return count;
}

static bool
is_parked(void *context, MqBytes exchange, MqBytes routing_key)
{
	(void) context;
	(void) exchange;
	return kept_count(queue_number(routing_key)) > 0;
}

static bool
next_parked(void *context, bool begun, char *exchange, char *routing_key, int64_t *count)
{
	int after = begun ? queue_number(mq_bytes_of(routing_key)) : -1;

	(void) context;
	for (int queue = after + 1; queue < QUEUES; queue++)
	{
		*count = kept_count(queue);
		if (*count == 0)
			continue;
		exchange[0] = '\0';
		snprintf(routing_key, 256, "%s", queues[queue]);
		return true;
	}
	return false;
}

static void
tell(void *context, PublisherNews news, MqBytes exchange, MqBytes routing_key, const char *text)
{
	(void) context;
	(void) exchange;
	(void) routing_key;
	assert_non_null(text);
	world.told[news]++;
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
	world.reopens++;
}

static bool
is_under_way(int64_t id)
{
	for (uint64_t tag = 1; tag < world.next_tag; tag++)
	{
		if (world.under_way[tag] == id)
			return true;
	}
	return false;
}

/* Nothing is sent while an earlier event of its queue was neither accepted nor is under way, unless
 * that one is malformed or this one is tried out of its order. */
static void
assert_in_order(int64_t id)
{
	if (id == world.retried)
		return;
	for (int64_t earlier = id - QUEUES; earlier > 0; earlier -= QUEUES)
		assert_true(world.accepted[earlier] || world.malformed[earlier] ||
		            world.discarded[earlier] || is_under_way(earlier));
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
	assert_in_order(message->last_id);
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
	PublisherSource    source = {NULL,        open_window, read_events, on_confirmed, park,
	                             read_parked, settle,      is_parked,   next_parked,  tell};
	PublisherTransport transport = {NULL, do_connect, do_reopen, do_send, do_disconnect};
	BatchOptions       batch = {
			  .instance = "i",
			  .database = mq_bytes_of("d"),
			  .exchange = mq_bytes_of(""),
			  .routing_key = mq_bytes_of("invalidations"),
			  .max_keys = 500,
			  .encode = encode,
    };

	(void) state;
	memset(&world, 0, sizeof(world));
	world.held = -1;
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
channel_ends(int code)
{
	world.connected = false;
	publisher_on_channel_closed(publisher, code, "no exchange", now_us);
}

static void
return_one(uint64_t tag)
{
	int64_t id = world.under_way[tag];

	publisher_on_return(publisher, mq_bytes_of(""), mq_bytes_of(queues[id % QUEUES]), id, id, 1,
	                    "NO_ROUTE", false);
}

/* The broker comes to a message, and does as its mood is. */
static void
answer(uint64_t tag)
{
	int64_t id = world.under_way[tag];

	if (world.malformed[id])
	{
		channel_ends(406);
		return;
	}
	switch (world.mood[id % QUEUES])
	{
	case ACCEPTS:
		world.under_way[tag] = 0;
		world.accepted[id] = true;
		publisher_on_ack(publisher, tag, false, now_us);
		break;
	case RETURNS:
		return_one(tag);
		world.under_way[tag] = 0;
		publisher_on_ack(publisher, tag, false, now_us);
		break;
	case NACKS:
		world.under_way[tag] = 0;
		publisher_on_nack(publisher, tag, false, now_us);
		break;
	case CLOSES:
		channel_ends(404);
		break;
	}
}

static void
answer_all(void)
{
	for (uint64_t tag = 1; world.connected && tag < world.next_tag; tag++)
	{
		if (world.under_way[tag] != 0)
			answer(tag);
	}
}

static void
lose(void)
{
	world.connected = world.connecting = world.reopening = false;
	publisher_on_lost(publisher, 0, "gone", now_us);
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
	answer(2);
	assert_int_equal(world.confirmed_window, 0);
	answer(1);
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
	answer(2);
	lose();
	assert_int_equal(publisher_state(publisher), PUBLISHER_WAITING);
	now_us = step();
	step();
	channel_begins();
	step();
	assert_int_equal(world.sends, 5);
	answer_all();
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

static const Destination *
destination(int queue)
{
	const Destination *d = publisher_destinations(publisher);

	while (d != NULL && !mq_bytes_equal(d->routing_key, mq_bytes_of(queues[queue])))
		d = d->older;
	return d;
}

static bool
anything_under_way(void)
{
	for (uint64_t tag = 1; world.connected && tag < world.next_tag; tag++)
	{
		if (world.under_way[tag] != 0)
			return true;
	}
	return false;
}

/* Answers and waits, so many times. */
static void
live(int times)
{
	for (int i = 0; i < times; i++)
	{
		int64_t due;

		if (world.reopening || world.connecting)
			channel_begins();
		answer_all();
		due = step();
		if (due != PUBLISHER_NEVER && due > now_us && !anything_under_way())
			now_us = due;
		step();
	}
}

/* A peer that takes every login and hangs up is not asked ten times a second. */
static void
a_connection_of_no_use_does_not_end_the_backoff(void **state)
{
	int64_t due = 0;

	(void) state;
	for (int i = 0; i < 20; i++)
	{
		connected();
		lose();
		due = step() - now_us;
		now_us += due;
	}
	assert_true(due > PUBLISHER_CONNECT_LIMIT_US / 4);
	connected();
	commit(1);
	step();
	answer_all();
	lose();
	due = step() - now_us;
	assert_true(due <= 2 * PUBLISHER_RETRY_FIRST_US);
	now_us += due;
	for (int i = 0; i < 20; i++)
	{
		connected();
		now_us += i < 19 ? 0 : PUBLISHER_STEADY_US;
		lose();
		due = step() - now_us;
		now_us += due;
	}
	assert_true(due <= 2 * PUBLISHER_RETRY_FIRST_US);
}

static void
a_returned_message_parks_its_destination_and_the_others_flow(void **state)
{
	(void) state;
	connected();
	world.mood[1] = RETURNS;
	commit(7);
	step();
	assert_int_equal(world.sends, 7);
	answer_all();
	step();
	assert_int_equal(world.confirmed_window, 1);
	assert_int_equal(kept_count(1), 3);
	assert_int_equal(destination(1)->state, DESTINATION_PARKED);
	assert_int_equal(destination(1)->parked, 3);
	assert_int_equal(destination(0)->state, DESTINATION_OPEN);
	assert_non_null(strstr(world.last_reason, "NO_ROUTE"));
	assert_int_equal(world.told[PUBLISHER_PARKS], 1);
	commit(3); /* 8, 9, 10: the last one waits behind the others */
	step();
	assert_int_equal(world.sends, 9);
	answer_all();
	step();
	assert_int_equal(world.confirmed_window, 2);
	assert_int_equal(kept_count(1), 4);
	assert_true(publisher_is_drained(publisher));
}

static void
the_first_parked_event_is_tried_with_growing_delays(void **state)
{
	int64_t previous = 0;

	(void) state;
	connected();
	world.mood[1] = RETURNS;
	commit(4);
	step();
	answer_all();
	for (int i = 1; i < 20; i++)
	{
		int     before = world.sends;
		int64_t due = step();

		assert_true(due > now_us && due <= now_us + DESTINATION_RETRY_LIMIT_US);
		assert_true(due - now_us > previous / 2);
		assert_int_equal(destination(1)->attempts, i);
		previous = due - now_us;
		now_us = due;
		step();
		assert_int_equal(world.sends, before + 1);
		answer_all();
	}
	assert_true(previous > DESTINATION_RETRY_LIMIT_US / 2);
}

static void
once_it_is_accepted_more_and_more_follow_in_order_until_it_is_open(void **state)
{
	(void) state;
	connected();
	world.mood[1] = NACKS;
	commit(MAX_EVENTS);
	step();
	answer_all();
	assert_int_equal(step() == PUBLISHER_NEVER, false);
	assert_int_equal(kept_count(1), 22);
	world.mood[1] = ACCEPTS;
	live(12);
	assert_int_equal(kept_count(1), 0);
	assert_int_equal(destination(1)->state, DESTINATION_OPEN);
	assert_int_equal(destination(1)->parked, 0);
	assert_int_equal(world.told[PUBLISHER_OPENS], 1);
	for (int64_t id = 1; id <= MAX_EVENTS; id++)
		assert_true(world.accepted[id]);
	assert_int_equal(publisher_counters(publisher)->events, MAX_EVENTS);
}

static void
a_queue_that_is_full_again_keeps_the_rest(void **state)
{
	(void) state;
	connected();
	world.mood[1] = NACKS;
	commit(30);
	step();
	answer_all();
	step();
	now_us += DESTINATION_RETRY_LIMIT_US;
	world.mood[1] = ACCEPTS;
	step();
	answer_all(); /* one, */
	step();
	answer_all(); /* two, */
	step();       /* four are under way */
	answer(world.next_tag - 4);
	world.mood[1] = NACKS;
	answer_all();
	step();
	assert_int_equal(kept_count(1), 6);
	assert_int_equal(destination(1)->parked, 6);
	world.mood[1] = ACCEPTS;
	live(8);
	assert_int_equal(kept_count(1), 0);
}

static void
an_outage_parks_nothing_and_costs_no_attempts(void **state)
{
	(void) state;
	connected();
	world.mood[1] = RETURNS;
	commit(4);
	step();
	answer_all();
	step();
	for (int i = 0; i < 5; i++)
	{
		now_us += DESTINATION_RETRY_LIMIT_US;
		step();
		if (world.connected)
			lose();
		else
			channel_begins();
	}
	assert_int_equal(destination(1)->attempts, 1);
	assert_int_equal(kept_count(1), 2);
	assert_int_equal(kept_count(0), 0);
}

static void
an_event_tried_by_hand_goes_out_of_its_order(void **state)
{
	(void) state;
	connected();
	world.mood[1] = RETURNS;
	commit(4);
	step();
	answer_all();
	step();
	world.retried = 7;
	world.mood[1] = ACCEPTS;
	commit(3);
	step();
	answer_all();
	assert_true(world.accepted[7]);
	assert_false(world.accepted[1]);
	/* Where one went, so may the others: without waiting for their time. */
	step();
	answer_all();
	assert_true(world.accepted[1]);
}

static void
events_that_somebody_is_about_to_take_away_are_left_alone(void **state)
{
	int sends;

	(void) state;
	connected();
	world.mood[1] = RETURNS;
	commit(4);
	step();
	answer_all();
	step();
	world.mood[1] = ACCEPTS;
	world.held = 1;
	sends = world.sends;
	live(10);
	assert_int_equal(world.sends, sends);
	assert_int_equal(destination(1)->state, DESTINATION_PARKED);
	world.held = -1;
	live(10);
	assert_true(world.accepted[1] && world.accepted[4]);
	assert_int_equal(destination(1)->state, DESTINATION_OPEN);
}

static void
parked_events_found_at_the_start_are_tried_first(void **state)
{
	(void) state;
	world.committed = world.windowed = 4;
	world.accepted[2] = world.accepted[3] = true;
	world.kept[1] = world.kept[4] = KEPT;
	publisher_parked_anew(publisher, now_us);
	assert_true(publisher_parked(publisher, mq_bytes_of(""), mq_bytes_of("one"), 2, now_us - 5,
	                             "NO_ROUTE", now_us));
	assert_int_equal(destination(1)->parked, 2);
	commit(3);
	connected();
	assert_int_equal(world.kept[7], KEPT);
	live(6);
	for (int64_t id = 1; id <= 7; id += 3)
		assert_true(world.accepted[id]);
	assert_int_equal(kept_count(1), 0);
}

/* Those that were under way may have been accepted: they come first. */
static void
a_try_waits_for_what_is_under_way(void **state)
{
	(void) state;
	connected();
	commit(7);
	step();
	world.mood[1] = RETURNS;
	answer(1);
	now_us += 2 * DESTINATION_RETRY_FIRST_US;
	step();
	assert_int_equal(world.sends, 7);
	world.mood[1] = ACCEPTS;
	answer_all();
	step();
	assert_int_equal(world.sends, 8);
	answer_all();
	step();
	assert_int_equal(kept_count(1), 0);
}

static void
destinations_without_a_name_take_turns(void **state)
{
	int64_t     since;
	const char *error;

	(void) state;
	publisher_set_most_destinations(publisher, 1);
	connected();
	for (int i = 0; i < QUEUES; i++)
		world.mood[i] = NACKS;
	commit(9);
	step();
	answer_all();
	step();
	assert_int_equal(kept_count(0) + kept_count(1) + kept_count(2), 9);
	assert_int_equal(publisher_crowd(publisher, &since, &error), 6);
	assert_non_null(strstr(error, "nack"));
	commit(3);
	live(3);
	assert_int_equal(publisher_crowd(publisher, &since, &error), 8);
	world.mood[0] = world.mood[2] = ACCEPTS;
	live(30);
	assert_int_equal(kept_count(0), 0);
	assert_int_equal(kept_count(2), 0);
	assert_int_equal(kept_count(1), 4);
	world.mood[1] = ACCEPTS;
	live(30);
	assert_int_equal(kept_count(1), 0);
	assert_int_equal(publisher_crowd(publisher, &since, &error), 0);
}

/* Whatever is parked is counted anew, as after something was done by hand. */
static void
count_anew(void)
{
	publisher_parked_anew(publisher, now_us);
	for (int queue = 0; queue < QUEUES; queue++)
	{
		if (kept_count(queue) > 0)
			assert_true(publisher_parked(publisher, mq_bytes_of(""), mq_bytes_of(queues[queue]),
			                             kept_count(queue), now_us, "", now_us));
	}
}

static void
one_without_a_name_whose_events_were_discarded_is_open(void **state)
{
	(void) state;
	publisher_set_most_destinations(publisher, 2);
	connected();
	for (int i = 0; i < QUEUES; i++)
		world.mood[i] = NACKS;
	commit(3); /* 1 and 2 are parked by name, 3 in the crowd */
	step();
	answer_all();
	step();
	discard(3);
	count_anew();
	live(5);
	world.mood[0] = ACCEPTS;
	commit(3); /* 6 goes where 3 did */
	live(5);
	assert_true(world.accepted[6]);
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

/* The broker does not say which message it was. One at a time until it shows itself. */
static void
an_unknown_exchange_parks_the_guilty_destination_alone(void **state)
{
	(void) state;
	connected();
	world.mood[1] = CLOSES;
	commit(6);
	step();
	assert_int_equal(world.sends, 6);
	live(20);
	assert_int_equal(kept_count(1), 2);
	assert_int_equal(kept_count(0) + kept_count(2), 0);
	for (int64_t id = 2; id <= 6; id++)
		assert_true(id % QUEUES == 1 || world.accepted[id]);
	assert_int_equal(world.confirmed_window, 1);
	assert_int_equal(destination(1)->state, DESTINATION_PARKED);
}

/* The transport looked at a queue that is not there: even the only message under way is innocent. */
static void
a_channel_closed_by_the_transport_blames_nobody(void **state)
{
	(void) state;
	connected();
	commit(1);
	step();
	assert_int_equal(world.sends, 1);
	world.connected = false;
	publisher_on_channel_lost(publisher, now_us);
	step();
	assert_true(world.reopening); /* at once */
	channel_begins();
	step();
	assert_int_equal(world.sends, 2);
	answer_all();
	step();
	assert_true(world.accepted[1]);
	assert_int_equal(world.confirmed_window, 1);
	for (int queue = 0; queue < QUEUES; queue++)
		assert_int_equal(kept_count(queue), 0);
}

/* A thousand routing keys of one exchange that is not there. */
static void
one_that_closes_the_channel_stands_for_all_of_its_exchange(void **state)
{
	int reopens;

	(void) state;
	connected();
	world.mood[0] = world.mood[1] = world.mood[2] = CLOSES;
	commit(6);
	live(12);
	assert_int_equal(kept_count(0) + kept_count(1) + kept_count(2), 6);
	reopens = world.reopens;
	for (int i = 0; i < 4; i++)
	{
		now_us += DESTINATION_RETRY_LIMIT_US;
		for (int turn = 0; turn < 6; turn++)
		{
			step();
			if (world.reopening)
				channel_begins();
			answer_all();
		}
	}
	assert_in_range(world.reopens - reopens, 4, 6); /* not three for each time */
	memset(world.mood, 0, sizeof(world.mood));
	live(8);
	assert_int_equal(kept_count(0) + kept_count(1) + kept_count(2), 0);
}

/* Not one at a time: confirms of a queue on disk take their time. */
static void
the_guilty_one_of_many_is_found_by_halves(void **state)
{
	(void) state;
	connected();
	world.malformed[40] = true;
	commit(MAX_EVENTS);
	step();
	assert_int_equal(world.sends, MAX_EVENTS);
	live(16);
	assert_int_equal(world.kept[40], KEPT_DEAD);
	assert_true(publisher_is_drained(publisher));
	assert_true(world.reopens <= 8);
}

/* So that those of others need not be sent twice. */
static void
what_may_close_the_channel_is_tried_alone(void **state)
{
	(void) state;
	connected();
	world.mood[1] = CLOSES;
	commit(1);
	step();
	answer_all();
	step();
	channel_begins();
	commit(2);
	step();
	assert_int_equal(world.sends, 3);
	now_us += 2 * DESTINATION_RETRY_FIRST_US;
	step();
	assert_int_equal(world.sends, 3);
	answer_all();
	step();
	assert_int_equal(world.sends, 4);
	commit(2);
	step();
	assert_int_equal(world.sends, 4);
	world.mood[1] = ACCEPTS;
	answer_all();
	step();
	answer_all();
	assert_int_equal(world.sends, 6);
	assert_true(world.accepted[1]);
}

static void
a_message_that_is_too_large_is_dead_and_the_rest_goes_on(void **state)
{
	(void) state;
	connected();
	world.malformed[4] = true;
	commit(7);
	step();
	live(20);
	assert_int_equal(world.kept[4], KEPT_DEAD);
	for (int64_t id = 1; id <= 7; id++)
		assert_true(id == 4 || world.accepted[id]);
	assert_int_equal(destination(1)->state, DESTINATION_OPEN);
	assert_int_equal(world.told[PUBLISHER_BURIES], 1);
	assert_true(publisher_is_drained(publisher));
}

/* 501 and the like end the connection: the third time over the same lone message it is dead. */
static void
a_message_that_ends_connections_is_dead_in_the_end(void **state)
{
	(void) state;
	connected();
	world.malformed[1] = true;
	commit(1);
	step();
	for (int i = 0; i < PUBLISHER_STRIKES; i++)
	{
		assert_int_equal(world.kept[1], NOT_KEPT);
		world.connected = false;
		publisher_on_lost(publisher, 501, "FRAME_ERROR", now_us);
		now_us = step();
		step();
		if (world.connecting)
			channel_begins();
		step();
	}
	assert_int_equal(world.kept[1], KEPT_DEAD);
	assert_int_equal(world.confirmed_window, 1);
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
	if (random_below(6) > 0)
	{
		answer(tag);
		return;
	}
	/* All up to it, as far as it likes them. */
	for (uint64_t t = 1; t <= tag; t++)
	{
		int64_t id = world.under_way[t];

		if (id != 0 && (world.malformed[id] || world.mood[id % QUEUES] != ACCEPTS))
			return;
	}
	for (uint64_t t = 1; t <= tag; t++)
	{
		world.accepted[world.under_way[t]] = true;
		world.under_way[t] = 0;
	}
	publisher_on_ack(publisher, tag, true, now_us);
}

static void
random_commit(void)
{
	int64_t count = MAX_EVENTS - world.committed;

	if (count == 0)
		return;
	count = 1 + (int64_t) random_below((uint64_t) (count < 8 ? count : 8));
	for (int64_t id = world.committed + 1; id <= world.committed + count; id++)
		world.malformed[id] = random_below(16) == 0;
	commit(count);
}

static void
random_act(void)
{
	switch (random_below(15))
	{
	case 0:
		random_commit();
		break;
	case 1:
		if (world.connected || world.connecting || world.reopening)
			lose();
		break;
	case 2:
		world.mood[random_below(QUEUES)] = (Mood) random_below(CLOSES + 1);
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
		now_us += (int64_t) random_below(DESTINATION_RETRY_LIMIT_US);
		break;
	case 7:
		if (world.connecting || world.reopening)
			channel_begins();
		break;
	case 8:
		if (world.committed > 0)
			discard(1 + (int64_t) random_below((uint64_t) world.committed));
		break;
	case 9:
		count_anew();
		break;
	default:
		if (world.connected)
			random_answer();
	}
}

/* Nothing is under way, and nothing is kept but what is dead. */
static bool
all_done(void)
{
	return publisher_is_drained(publisher) && kept_count(0) + kept_count(1) + kept_count(2) == 0 &&
	       step() == PUBLISHER_NEVER;
}

/* From any state a broker that behaves must drain everything. */
static void
drain(void)
{
	world.full = false;
	memset(world.mood, 0, sizeof(world.mood));
	for (int i = 0; i < 10 * STEPS && !all_done(); i++)
	{
		if (world.connecting || world.reopening)
			channel_begins();
		if (world.connected)
		{
			publisher_on_unblocked(publisher, now_us);
			answer_all();
		}
		now_us += DESTINATION_RETRY_LIMIT_US / 2;
		step();
	}
}

static void
run_schedule(uint64_t seed)
{
	begin(NULL);
	random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	if (random_below(2) == 0)
		publisher_set_most_destinations(publisher, 1);
	for (int i = 0; i < STEPS; i++)
	{
		random_act();
		step();
		if (world.connected && world.next_tag > MAX_SENT / 2)
			lose();
	}
	drain();
	if (!all_done() || world.confirmed_window != world.windows)
		fail_msg("schedule %" PRIu64 " (OUTBOX_SEED=%" PRIu64 ") did not drain", seed, seed);
	for (int64_t id = 1; id <= world.committed; id++)
		assert_true(world.discarded[id] || world.accepted[id] != (world.kept[id] == KEPT_DEAD));
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
		TEST(a_connection_of_no_use_does_not_end_the_backoff),
		TEST(a_returned_message_parks_its_destination_and_the_others_flow),
		TEST(the_first_parked_event_is_tried_with_growing_delays),
		TEST(once_it_is_accepted_more_and_more_follow_in_order_until_it_is_open),
		TEST(a_queue_that_is_full_again_keeps_the_rest),
		TEST(an_outage_parks_nothing_and_costs_no_attempts),
		TEST(an_event_tried_by_hand_goes_out_of_its_order),
		TEST(events_that_somebody_is_about_to_take_away_are_left_alone),
		TEST(parked_events_found_at_the_start_are_tried_first),
		TEST(a_try_waits_for_what_is_under_way),
		TEST(destinations_without_a_name_take_turns),
		TEST(one_without_a_name_whose_events_were_discarded_is_open),
		TEST(while_blocked_nothing_is_sent_and_no_limit_runs),
		TEST(a_confirm_that_never_comes_ends_the_connection),
		TEST(an_unknown_exchange_parks_the_guilty_destination_alone),
		TEST(a_channel_closed_by_the_transport_blames_nobody),
		TEST(one_that_closes_the_channel_stands_for_all_of_its_exchange),
		TEST(the_guilty_one_of_many_is_found_by_halves),
		TEST(what_may_close_the_channel_is_tried_alone),
		TEST(a_message_that_is_too_large_is_dead_and_the_rest_goes_on),
		TEST(a_message_that_ends_connections_is_dead_in_the_end),
		TEST(a_full_socket_is_waited_for),
		cmocka_unit_test(no_schedule_loses_an_event_or_moves_the_position_too_far),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
