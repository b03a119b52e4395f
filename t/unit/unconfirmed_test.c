/*
 * unconfirmed_test.c
 *    The list of messages under way: confirms in any order, returns, nacks, lost channels.
 */
#include "t/unit/unit.h"

#include "relay/unconfirmed.h"

static int64_t confirmed_ids[16];
static size_t  confirmed_count;

static int64_t refused_ids[16];
static size_t  refused_count;

static void
note_confirmed(void *context, OutMessage *message)
{
	(void) context;
	confirmed_ids[confirmed_count++] = message->last_id;
}

static void
note_refused(void *context, OutMessage *message)
{
	(void) context;
	refused_ids[refused_count++] = message->last_id;
}

static OutMessage *
add(Unconfirmed *list, int64_t id)
{
	OutMessage message = {
		.first_id = id,
		.last_id = id,
		.part = 1,
		.exchange = mq_bytes_of(""),
		.routing_key = mq_bytes_of("queue"),
		.raw_properties = mq_bytes_of("raw"),
		.body = mq_bytes_of("body"),
	};

	return unconfirmed_add(list, &message);
}

static Unconfirmed list;

/* Messages 1, 2, 3 sent under the tags 1, 2, 3. */
static int
three_sent(void **state)
{
	(void) state;
	confirmed_count = refused_count = 0;
	unconfirmed_init(&list);
	for (int64_t id = 1; id <= 3; id++)
	{
		add(&list, id);
		unconfirmed_sent(&list, unconfirmed_next_unsent(&list), (uint64_t) id, 100 * id);
	}
	return 0;
}

static int
free_list(void **state)
{
	(void) state;
	unconfirmed_free(&list);
	return 0;
}

static void
acks_out_of_order_confirm_one_each(void **state)
{
	(void) state;
	unconfirmed_ack(&list, 2, false, note_confirmed, note_refused, NULL);
	assert_int_equal(list.count, 2);
	assert_int_equal(confirmed_ids[0], 2);
	assert_int_equal(unconfirmed_oldest_sent_us(&list), 100);
	unconfirmed_ack(&list, 1, false, note_confirmed, note_refused, NULL);
	assert_int_equal(unconfirmed_oldest_sent_us(&list), 300);
	unconfirmed_ack(&list, 3, false, note_confirmed, note_refused, NULL);
	assert_int_equal(list.count, 0);
	assert_int_equal(list.bytes, 0);
	assert_true(unconfirmed_oldest_sent_us(&list) == INT64_MAX);
}

static void
a_multiple_ack_confirms_all_up_to_its_tag(void **state)
{
	(void) state;
	unconfirmed_ack(&list, 2, true, note_confirmed, note_refused, NULL);
	assert_int_equal(list.count, 1);
	assert_int_equal(list.first->last_id, 3);
}

static void
a_tag_acked_twice_or_never_sent_counts_for_nothing(void **state)
{
	(void) state;
	unconfirmed_ack(&list, 2, false, note_confirmed, note_refused, NULL);
	unconfirmed_ack(&list, 2, false, note_confirmed, note_refused, NULL);
	unconfirmed_ack(&list, 17, false, note_confirmed, note_refused, NULL);
	unconfirmed_ack(&list, 0, false, note_confirmed, note_refused, NULL);
	assert_int_equal(confirmed_count, 1);
	assert_int_equal(list.count, 2);
}

static void
nack_of_one_keeps_the_others(void **state)
{
	(void) state;
	unconfirmed_nack(&list, 2, false, note_refused, NULL);
	assert_int_equal(refused_count, 1);
	assert_int_equal(refused_ids[0], 2);
	assert_int_equal(list.count, 3);
	assert_int_equal(list.sent_count, 2);
	assert_int_equal(unconfirmed_next_unsent(&list)->last_id, 2);
}

static void
a_returned_message_is_unsent_again_at_its_ack(void **state)
{
	(void) state;
	assert_non_null(unconfirmed_returned(&list, mq_bytes_of(""), mq_bytes_of("queue"), 2, 2, 1));
	assert_int_equal(list.sent_count, 3);
	unconfirmed_ack(&list, 3, true, note_confirmed, note_refused, NULL);
	assert_int_equal(refused_count, 1);
	assert_int_equal(confirmed_count, 2);
	assert_int_equal(list.count, 1);
	assert_int_equal(unconfirmed_next_unsent(&list)->last_id, 2);
}

static void
a_return_of_something_else_is_not_ours(void **state)
{
	(void) state;
	assert_null(unconfirmed_returned(&list, mq_bytes_of("x"), mq_bytes_of("queue"), 2, 2, 1));
	assert_null(unconfirmed_returned(&list, mq_bytes_of(""), mq_bytes_of("queue"), 2, 2, 2));
	unconfirmed_ack(&list, 3, true, note_confirmed, note_refused, NULL);
	assert_int_equal(confirmed_count, 3);
}

static void
after_a_lost_channel_all_are_sent_again_in_order(void **state)
{
	(void) state;
	unconfirmed_ack(&list, 1, false, note_confirmed, note_refused, NULL);
	unconfirmed_channel_lost(&list);
	for (int64_t id = 2; id <= 3; id++)
	{
		OutMessage *message = unconfirmed_next_unsent(&list);

		assert_int_equal(message->last_id, id);
		unconfirmed_sent(&list, message, (uint64_t) id - 1, 0);
	}
	assert_null(unconfirmed_next_unsent(&list));
	unconfirmed_ack(&list, 2, true, note_confirmed, note_refused, NULL);
	assert_int_equal(list.count, 0);
}

static void
what_was_refused_goes_before_what_was_never_sent(void **state)
{
	(void) state;
	add(&list, 4);
	assert_int_equal(unconfirmed_next_unsent(&list)->last_id, 4);
	unconfirmed_nack(&list, 1, false, note_refused, NULL);
	assert_int_equal(unconfirmed_next_unsent(&list)->last_id, 1);
	unconfirmed_sent(&list, unconfirmed_next_unsent(&list), 4, 0);
	assert_int_equal(unconfirmed_next_unsent(&list)->last_id, 4);
}

static void
the_list_says_when_it_is_full(void **state)
{
	(void) state;
	while (unconfirmed_has_room(&list))
		assert_non_null(add(&list, 9));
	assert_int_equal(list.count, UNCONFIRMED_MAX);
	unconfirmed_ack(&list, 1, false, note_confirmed, note_refused, NULL);
	assert_true(unconfirmed_has_room(&list));
}

/* The first tag never comes: the ring must not be overrun. */
static void
tags_outstanding_are_bounded_by_the_ring(void **state)
{
	uint64_t tag = 4;

	(void) state;
	while (unconfirmed_can_send(&list))
	{
		unconfirmed_sent(&list, add(&list, (int64_t) tag), tag, 0);
		unconfirmed_ack(&list, tag, false, note_confirmed, note_refused, NULL);
		confirmed_count = 0;
		tag++;
	}
	assert_int_equal(tag - 1, UNCONFIRMED_MAX);
	unconfirmed_ack(&list, 3, true, note_confirmed, note_refused, NULL);
	assert_true(unconfirmed_can_send(&list));
	assert_int_equal(list.count, 0);
}

static void
the_destination_of_messages_knows_how_many_are_under_way(void **state)
{
	Destination destination = {0};
	OutMessage  from = {.first_id = 9, .last_id = 9, .destination = &destination};
	OutMessage *message = unconfirmed_add(&list, &from);

	(void) state;
	assert_int_equal(destination.listed, 1);
	unconfirmed_sent(&list, message, 4, 0);
	assert_int_equal(destination.in_flight, 1);
	unconfirmed_channel_lost(&list);
	assert_int_equal(destination.in_flight, 0);
	unconfirmed_suspect(&list, message);
	assert_ptr_equal(unconfirmed_next_suspect(&list), message);
	unconfirmed_remove(&list, message);
	free(message);
	assert_int_equal(destination.listed, 0);
	assert_int_equal(list.suspect_count, 0);
	assert_null(unconfirmed_next_suspect(&list));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, three_sent, free_list)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(acks_out_of_order_confirm_one_each),
		TEST(a_multiple_ack_confirms_all_up_to_its_tag),
		TEST(a_tag_acked_twice_or_never_sent_counts_for_nothing),
		TEST(nack_of_one_keeps_the_others),
		TEST(a_returned_message_is_unsent_again_at_its_ack),
		TEST(a_return_of_something_else_is_not_ours),
		TEST(after_a_lost_channel_all_are_sent_again_in_order),
		TEST(what_was_refused_goes_before_what_was_never_sent),
		TEST(the_list_says_when_it_is_full),
		TEST(tags_outstanding_are_bounded_by_the_ring),
		TEST(the_destination_of_messages_knows_how_many_are_under_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
