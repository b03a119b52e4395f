/*
 * deletion_test.c
 *    Batching, merging, replies and retries of the deletion module, with a scripted Redis: commands
 *    are written down, replies are made by hand.
 */
#include "worker/chunks.h"
#include "worker/deletion.h"
#include "worker/refusal.h"
#include "worker/role.h"
#include "worker/second.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#define MAX_SENT 4096

/* What was sent: the words of each command, joined by blanks. */
typedef struct Script
{
	char    *sent[MAX_SENT];
	int      arguments[MAX_SENT];
	int      count;
	MqResult answer; /* of the next send */
} Script;

static Script    script;
static Deletion *deletion;
static char      error[512];

static char *
joined(const redisReply *words)
{
	size_t size = 0;
	char  *text;

	for (size_t i = 0; i < words->elements; i++)
		size += words->element[i]->len + 1;
	text = calloc(1, size + 1);
	for (size_t i = 0; i < words->elements; i++)
	{
		strncat(text, words->element[i]->str, words->element[i]->len);
		if (i + 1 < words->elements)
			strcat(text, " ");
	}
	return text;
}

/* A command is read like an answer, and must be exactly one. */
static MqResult
write_down(void *context, int node, MqBytes command, size_t count)
{
	redisReader *reader = redisReaderCreate();
	redisReply  *words = NULL;
	void        *more = NULL;

	assert_ptr_equal(context, &script);
	assert_int_equal(node, DELETION_NODE);
	assert_int_equal(count, 1);
	if (script.answer == MQ_OK)
	{
		assert_true(script.count < MAX_SENT);
		assert_int_equal(redisReaderFeed(reader, command.data, command.size), REDIS_OK);
		assert_int_equal(redisReaderGetReply(reader, (void **) &words), REDIS_OK);
		assert_non_null(words);
		assert_int_equal(words->type, REDIS_REPLY_ARRAY);
		assert_int_equal(redisReaderGetReply(reader, &more), REDIS_OK);
		assert_null(more);
		script.arguments[script.count] = (int) words->elements;
		script.sent[script.count++] = joined(words);
		freeReplyObject(words);
	}
	redisReaderFree(reader);
	return script.answer;
}

static int64_t now_us; /* for the deletion */

static int
with(const char *prefix, int64_t second_delete_us)
{
	memset(&script, 0, sizeof(script));
	now_us = 1;
	deletion = deletion_new((DeletionOutput){.send_context = &script, .send = write_down}, prefix,
	                        second_delete_us);
	return deletion == NULL;
}

static int
with_prefix(const char *prefix)
{
	return with(prefix, 0);
}

static int
setup(void **state)
{
	return with_prefix("");
}

static int
setup_second(void **state)
{
	return with("", 2000000);
}

static void
forget_sent(void)
{
	for (int i = 0; i < script.count; i++)
		free(script.sent[i]);
	script.count = 0;
}

static int
teardown(void **state)
{
	forget_sent();
	deletion_free(deletion);
	return 0;
}

static void
key(const char *text)
{
	assert_true(deletion_add_key(deletion, mq_bytes_of(text)));
}

static void
pattern(const char *text)
{
	assert_true(deletion_add_pattern(deletion, mq_bytes_of(text)));
}

static void
message(uint64_t tag)
{
	assert_true(deletion_close_ticket(deletion, (TagRef){.tag = tag}));
}

static void
expect_done(uint64_t tag)
{
	TagRef ref;

	assert_true(deletion_next_done(deletion, &ref));
	assert_int_equal(ref.tag, tag);
}

static void
expect_none_done(void)
{
	TagRef ref;

	assert_false(deletion_next_done(deletion, &ref));
}

/* The commands sent since the last look are these, closed by NULL. */
static void
expect_sent(const char *first, ...)
{
	va_list rest;
	int     i = 0;

	deletion_send(deletion, DELETION_NODE, now_us);
	va_start(rest, first);
	for (const char *expected = first; expected != NULL; expected = va_arg(rest, const char *))
	{
		assert_true(i < script.count);
		assert_string_equal(script.sent[i++], expected);
	}
	va_end(rest);
	assert_int_equal(script.count, i);
	forget_sent();
}

static DeletionVerdict
reply(redisReply answer)
{
	return deletion_reply(deletion, DELETION_NODE, &answer, now_us, error);
}

static void
integer(long long number)
{
	assert_int_equal(reply((redisReply){.type = REDIS_REPLY_INTEGER, .integer = number}),
	                 DELETION_DONE);
}

static DeletionVerdict
refusal(const char *text)
{
	return reply(
		(redisReply){.type = REDIS_REPLY_ERROR, .str = (char *) text, .len = strlen(text)});
}

/* A step of SCAN: the cursor, then the keys found, closed by NULL. */
static void
step(const char *cursor, ...)
{
	redisReply  head = {.type = REDIS_REPLY_STRING, .str = (char *) cursor, .len = strlen(cursor)};
	redisReply  keys[8], *elements[8];
	redisReply  list = {.type = REDIS_REPLY_ARRAY, .element = elements};
	redisReply *both[2] = {&head, &list};
	va_list     rest;

	va_start(rest, cursor);
	for (char *found = va_arg(rest, char *); found != NULL; found = va_arg(rest, char *))
	{
		keys[list.elements] =
			(redisReply){.type = REDIS_REPLY_STRING, .str = found, .len = strlen(found)};
		elements[list.elements] = &keys[list.elements];
		list.elements++;
	}
	va_end(rest);
	assert_int_equal(reply((redisReply){.type = REDIS_REPLY_ARRAY, .elements = 2, .element = both}),
	                 DELETION_DONE);
}

static void
one_message_is_one_command(void **state)
{
	key("a");
	key("b");
	message(1);
	expect_none_done();
	expect_sent("UNLINK a b", NULL);
	expect_none_done();
	integer(1);
	expect_done(1);
	expect_none_done();
	assert_int_equal(deletion_counters(deletion)->keys_deleted, 1);
}

static void
what_has_arrived_is_merged(void **state)
{
	key("a");
	key("b");
	message(1);
	key("b");
	key("c");
	key("c");
	message(2);
	message(3); /* {"keys":[]} */
	expect_sent("UNLINK a b c", NULL);
	integer(3);
	expect_done(1);
	expect_done(2);
	expect_done(3);
	assert_int_equal(deletion_counters(deletion)->keys_merged, 2);
	assert_int_equal(deletion_waiting_bytes(deletion), 0);
}

/* It may have been filled again since. */
static void
a_key_in_flight_is_sent_again(void **state)
{
	key("a");
	message(1);
	expect_sent("UNLINK a", NULL);
	key("a");
	message(2);
	expect_sent("UNLINK a", NULL);
	integer(1);
	expect_done(1);
	expect_none_done();
	integer(0);
	expect_done(2);
}

static void
pong(void)
{
	assert_int_equal(reply((redisReply){.type = REDIS_REPLY_STATUS, .str = "PONG", .len = 4}),
	                 DELETION_DONE);
}

/* It measures the way: Redis has to answer. */
static void
a_message_without_keys_is_a_ping(void **state)
{
	message(1);
	expect_none_done();
	message(2);
	expect_sent("PING", NULL);
	pong();
	expect_done(1);
	expect_done(2);
	expect_sent(NULL, NULL);

	key("a");
	message(3);
	message(4);
	expect_sent("UNLINK a", NULL);
	message(5);
	expect_sent(NULL, NULL);
	integer(1);
	expect_done(3);
	expect_done(4);
	expect_done(5);
	assert_int_equal(deletion_counters(deletion)->keys_sent, 1);
}

static void
a_ping_is_sent_until_it_is_answered(void **state)
{
	message(1);
	expect_sent("PING", NULL);
	assert_int_equal(refusal("LOADING Redis is loading the dataset in memory"), DELETION_PASSING);
	assert_non_null(strstr(error, "PING"));
	deletion_lost(deletion, DELETION_NODE);
	expect_sent("PING", NULL);
	deletion_lost(deletion, DELETION_NODE);
	expect_none_done();
	expect_sent("PING", NULL);
	pong();
	expect_done(1);

	message(2);
	expect_sent("PING", NULL);
	deletion_forget(deletion);
	pong();
	expect_none_done();
	message(3);
	deletion_forget(deletion);
	message(3);
	expect_sent("PING", NULL);
	pong();
	expect_done(3);
	expect_none_done();
}

static void
commands_are_bounded_in_keys_and_bytes(void **state)
{
	char *big = malloc(40001);
	char  name[16];

	for (int i = 0; i < 300; i++)
	{
		snprintf(name, sizeof(name), "k%d", i);
		key(name);
	}
	memset(big, 'x', 40000);
	big[40000] = '\0';
	for (int i = 0; i < 3; i++)
	{
		big[0] = (char) ('a' + i);
		key(big);
	}
	message(1);
	deletion_send(deletion, DELETION_NODE, 1);
	assert_int_equal(script.count, 5);
	assert_int_equal(script.arguments[0], 1 + 128);
	assert_int_equal(script.arguments[1], 1 + 128);
	assert_int_equal(script.arguments[2], 1 + 44 + 1);
	assert_int_equal(script.arguments[3], 1 + 1);
	assert_int_equal(script.arguments[4], 1 + 1);
	for (int i = 0; i < 5; i++)
	{
		expect_none_done();
		integer(1);
	}
	expect_done(1);
	free(big);
}

static void
the_window_is_bounded_and_refilled(void **state)
{
	char name[16];

	for (int i = 0; i < CHUNK_KEYS * (DELETION_WINDOW + 4); i++)
	{
		snprintf(name, sizeof(name), "k%d", i);
		key(name);
	}
	message(1);
	deletion_send(deletion, DELETION_NODE, 1);
	assert_int_equal(script.count, DELETION_WINDOW);
	integer(128);
	deletion_send(deletion, DELETION_NODE, 1);
	assert_int_equal(script.count, DELETION_WINDOW + 1);
	assert_int_equal(deletion_in_flight(deletion, DELETION_NODE), DELETION_WINDOW);
}

static void
a_full_output_is_tried_again(void **state)
{
	key("a");
	message(1);
	script.answer = MQ_FULL;
	deletion_send(deletion, DELETION_NODE, 1);
	assert_int_equal(deletion_in_flight(deletion, DELETION_NODE), 0);
	script.answer = MQ_OK;
	expect_sent("UNLINK a", NULL);
	integer(1);
	expect_done(1);
}

static void
after_a_loss_everything_unanswered_is_sent_again_in_order(void **state)
{
	key("a");
	message(1);
	expect_sent("UNLINK a", NULL);
	key("b");
	message(2);
	expect_sent("UNLINK b", NULL);
	key("c");
	message(3);
	integer(1);
	expect_done(1);
	deletion_lost(deletion, DELETION_NODE);
	expect_none_done();
	key("b"); /* not merged into what was sent once */
	message(4);
	expect_sent("UNLINK b", "UNLINK c b", NULL);
	integer(1);
	expect_done(2);
	integer(2);
	expect_done(3);
	expect_done(4);
	assert_int_equal(deletion_waiting_bytes(deletion), 0);
}

static void
a_refusal_is_no_success_and_is_probed_until_it_passes(void **state)
{
	key("a");
	message(1);
	expect_sent("UNLINK a", NULL);
	assert_int_equal(refusal("READONLY You can't write against a read only replica."),
	                 DELETION_PASSING);
	assert_string_equal(error, "UNLINK: READONLY You can't write against a read only replica.");
	deletion_lost(deletion, DELETION_NODE);
	assert_true(deletion_is_troubled(deletion, DELETION_NODE));
	key("b");
	message(2);
	expect_sent("UNLINK a", NULL); /* that alone */
	assert_int_equal(refusal("NOPERM"), DELETION_SETTINGS);
	deletion_lost(deletion, DELETION_NODE);
	expect_none_done();
	expect_sent("UNLINK a", NULL);
	integer(1);
	assert_false(deletion_is_troubled(deletion, DELETION_NODE));
	expect_none_done(); /* the probe was no message's */
	expect_sent("UNLINK a", "UNLINK b", NULL);
	integer(0);
	integer(1);
	expect_done(1);
	expect_done(2);
}

static void
an_answer_of_the_wrong_type_is_no_success(void **state)
{
	key("a");
	message(1);
	expect_sent("UNLINK a", NULL);
	assert_int_equal(reply((redisReply){.type = REDIS_REPLY_STATUS, .str = "OK", .len = 2}),
	                 DELETION_PASSING);
	deletion_lost(deletion, DELETION_NODE);
	expect_none_done();
}

static void
an_answer_nobody_asked_for_is_an_error(void **state)
{
	assert_int_equal(reply((redisReply){.type = REDIS_REPLY_INTEGER}), DELETION_PASSING);
	assert_string_equal(error, "an answer nobody asked for");
}

static void
a_pattern_is_scanned_and_what_it_finds_deleted(void **state)
{
	pattern("p:*");
	message(1);
	expect_sent("SCAN 0 MATCH p:* COUNT 500", NULL);
	step("17", "p:1", "p:2", NULL);
	expect_sent("UNLINK p:1 p:2", "SCAN 17 MATCH p:* COUNT 500", NULL);
	integer(2);
	step("0", "p:3", NULL);
	expect_none_done();
	expect_sent("UNLINK p:3", NULL);
	expect_none_done();
	integer(1);
	expect_done(1);
	expect_sent(NULL, NULL);
}

static void
exact_keys_pass_a_scan(void **state)
{
	pattern("p:*");
	message(1);
	key("a");
	message(2);
	expect_sent("SCAN 0 MATCH p:* COUNT 500", "UNLINK a", NULL);
	step("5", NULL);
	integer(1);
	expect_done(2);
	expect_none_done();
	expect_sent("SCAN 5 MATCH p:* COUNT 500", NULL);
	step("0", NULL);
	expect_done(1);
}

static void
equal_patterns_that_wait_are_merged_one_under_way_is_not(void **state)
{
	pattern("q");
	message(1);
	pattern("p:*");
	message(2);
	pattern("p:*");
	message(3);
	expect_sent("SCAN 0 MATCH q COUNT 500", NULL);
	step("0", NULL);
	expect_done(1);
	expect_sent("SCAN 0 MATCH p:* COUNT 500", NULL);
	pattern("p:*");
	message(4);
	step("0", NULL);
	expect_done(2);
	expect_done(3);
	expect_none_done();
	expect_sent("SCAN 0 MATCH p:* COUNT 500", NULL);
	step("0", NULL);
	expect_done(4);
	assert_int_equal(deletion_counters(deletion)->patterns, 3);
	assert_int_equal(deletion_waiting_bytes(deletion), 0);
}

static void
a_scan_begins_anew_on_another_connection(void **state)
{
	pattern("p:*");
	message(1);
	expect_sent("SCAN 0 MATCH p:* COUNT 500", NULL);
	step("7", "p:1", NULL);
	expect_sent("UNLINK p:1", "SCAN 7 MATCH p:* COUNT 500", NULL);
	deletion_lost(deletion, DELETION_NODE);
	expect_sent("SCAN 0 MATCH p:* COUNT 500", NULL);
	step("0", NULL);
	expect_done(1);
}

static void
a_refused_scan_holds_only_patterns(void **state)
{
	pattern("p:*");
	message(1);
	expect_sent("SCAN 0 MATCH p:* COUNT 500", NULL);
	assert_int_equal(refusal("NOPERM this user has no permissions"), DELETION_DONE);
	assert_string_equal(deletion_scan_problem(deletion),
	                    "SCAN: NOPERM this user has no permissions");
	key("a");
	message(2);
	expect_sent("UNLINK a", NULL);
	integer(1);
	expect_done(2);
	expect_none_done();
	assert_true(deletion_due_us(deletion, DELETION_NODE) > 1 &&
	            deletion_due_us(deletion, DELETION_NODE) < 1000002);
	deletion_send(deletion, DELETION_NODE, deletion_due_us(deletion, DELETION_NODE));
	assert_int_equal(script.count, 1);
	step("0", NULL);
	assert_string_equal(deletion_scan_problem(deletion), "");
	expect_done(1);
}

static void
forgotten_work_is_not_done_and_not_sent_again(void **state)
{
	key("a");
	message(1);
	pattern("p:*");
	message(2);
	expect_sent("SCAN 0 MATCH p:* COUNT 500", "UNLINK a", NULL);
	key("b");
	message(3);
	deletion_forget(deletion);
	key("c");
	message(4);
	expect_sent("UNLINK c", NULL);
	step("9", "p:1", NULL); /* late answers of forgotten work */
	integer(1);
	expect_none_done();
	expect_sent(NULL, NULL);
	integer(1);
	expect_done(4);
	key("d");
	message(5);
	expect_sent("UNLINK d", NULL);
	deletion_forget(deletion);
	deletion_lost(deletion, DELETION_NODE);
	expect_sent(NULL, NULL);
	expect_none_done();
}

static void
the_prefix_goes_before_keys_and_escaped_before_patterns(void **state)
{
	deletion_free(deletion);
	assert_int_equal(with_prefix("app[1]:"), 0);
	key("a");
	pattern("b:*");
	message(1);
	key("a");
	pattern("b:*");
	message(2);
	expect_sent("SCAN 0 MATCH app\\[1\\]:b:* COUNT 500", "UNLINK app[1]:a", NULL);
	step("0", "app[1]:b:1", NULL);
	integer(1);
	expect_sent("UNLINK app[1]:b:1", NULL); /* as found */
	integer(1);
	expect_done(1);
	expect_done(2);
}

static void
replies_are_classified(void **state)
{
	static const char *const settings[] = {"NOAUTH Authentication required.",
	                                       "WRONGPASS invalid",
	                                       "NOPERM this user",
	                                       "MOVED 1 h:1",
	                                       "CROSSSLOT Keys",
	                                       "ERR unknown command 'UNLINK'",
	                                       "DENIED Redis is running in protected"};
	static const char *const passing[] = {"READONLY You",
	                                      "LOADING Redis",
	                                      "BUSY Redis",
	                                      "NOREPLICAS Not",
	                                      "MISCONF Redis",
	                                      "MASTERDOWN Link",
	                                      "CLUSTERDOWN Hash",
	                                      "TRYAGAIN Multiple",
	                                      "ERR max number of clients reached",
	                                      "WHAT is this",
	                                      ""};

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		assert_int_equal(refusal_classify(settings[i], strlen(settings[i])), DELETION_SETTINGS);
	for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++)
		assert_int_equal(refusal_classify(passing[i], strlen(passing[i])), DELETION_PASSING);
}

static void
errors_do_not_show_keys(void **state)
{
	key("a");
	message(1);
	expect_sent("UNLINK a", NULL);
	refusal("ERR unknown command 'UNLINK', with args beginning with: 'secret' ");
	assert_string_equal(error, "UNLINK: ERR unknown command 'UNLINK'");
	deletion_lost(deletion, DELETION_NODE);
}

/* A random run against a Redis that answers, refuses and dies: every message is done exactly once,
 * and never before each of its keys was deleted after the message had come. */
static void
random_faults_lose_no_key(void **state)
{
	enum
	{
		MESSAGES = 3000,
		KEYS = 40
	};
	static int   deleted_at[KEYS], came_at[MESSAGES + 1], keys_of[MESSAGES + 1][3];
	static char *flight[MAX_SENT];
	int          added = 0, done = 0, clock = 0, first = 0, last = 0;

	srandom(3);
	while (done < MESSAGES)
	{
		TagRef ref;

		clock++;
		if (added < MESSAGES && random() % 2)
		{
			char name[16];

			added++;
			came_at[added] = clock;
			for (int i = 0; i < 3; i++)
			{
				keys_of[added][i] = (int) (random() % KEYS);
				snprintf(name, sizeof(name), "%d", keys_of[added][i]);
				key(name);
			}
			message((uint64_t) added);
		}
		if (random() % 3 == 0)
			deletion_send(deletion, DELETION_NODE, clock);
		for (int i = 0; i < script.count; i++)
			flight[last++ % MAX_SENT] = script.sent[i];
		script.count = 0;
		if (first < last && random() % 2)
		{
			char *command = flight[first % MAX_SENT];
			bool  refused = random() % 20 == 0;

			if (refused)
			{
				refusal("LOADING");
				deletion_lost(deletion, DELETION_NODE);
				while (first < last)
					free(flight[first++ % MAX_SENT]);
			}
			else
			{
				char *rest = command + strlen("UNLINK ");
				char *word;

				while ((word = strsep(&rest, " ")) != NULL)
					deleted_at[atoi(word)] = clock;
				integer(1);
				free(command);
				first++;
			}
		}
		while (deletion_next_done(deletion, &ref))
		{
			assert_int_equal(ref.tag, ++done);
			for (int i = 0; i < 3; i++)
				assert_true(deleted_at[keys_of[done][i]] >= came_at[done]);
		}
	}
	while (first < last)
		free(flight[first++ % MAX_SENT]);
	assert_int_equal(deletion_waiting_bytes(deletion), 0);
}

static void
keys_are_deleted_a_second_time(void **state)
{
	key("a");
	message(1);
	expect_sent("UNLINK a", NULL);
	integer(1);
	expect_done(1);
	assert_true(deletion_has_second(deletion));
	now_us += 1999999;
	expect_sent(NULL, NULL);
	assert_true(deletion_due_us(deletion, DELETION_NODE) > now_us);
	now_us = deletion_due_us(deletion, DELETION_NODE);
	expect_sent("UNLINK a", NULL);
	assert_true(deletion_has_second(deletion));
	integer(1);
	assert_false(deletion_has_second(deletion));
	now_us += 10000000;
	expect_sent(NULL, NULL);
	assert_int_equal(deletion_counters(deletion)->keys_again, 1);
}

static void
second_deletions_of_one_moment_are_joined_and_none_is_early(void **state)
{
	int64_t last_us;

	for (int i = 0; i < 3; i++)
	{
		key(i == 0 ? "a" : i == 1 ? "b" : "c");
		message((uint64_t) i + 1);
		deletion_send(deletion, DELETION_NODE, now_us);
		forget_sent();
		integer(0);
		last_us = now_us;
		now_us += 40000;
	}
	now_us = deletion_due_us(deletion, DELETION_NODE);
	expect_sent("UNLINK a b", NULL);
	assert_true(now_us >= 40001 + 2000000);
	integer(0);
	now_us = deletion_due_us(deletion, DELETION_NODE);
	assert_true(now_us >= last_us + 2000000);
	expect_sent("UNLINK c", NULL);
	integer(0);
}

static void
second_deletions_survive_losses_and_wait_for_no_one_at_the_end(void **state)
{
	key("a");
	message(1);
	expect_sent("UNLINK a", NULL);
	integer(1);
	deletion_forget(deletion); /* the broker is gone */
	deletion_hurry(deletion);
	assert_true(deletion_due_us(deletion, DELETION_NODE) <= now_us);
	expect_sent("UNLINK a", NULL);
	assert_int_equal(deletion_due_us(deletion, DELETION_NODE), INT64_MAX);
	deletion_lost(deletion, DELETION_NODE); /* and Redis */
	assert_true(deletion_has_second(deletion));
	expect_sent("UNLINK a", NULL);
	integer(0);
	assert_false(deletion_has_second(deletion));
}

static void
second_deletions_are_bounded(void **state)
{
	SecondQueue queue = {.delay_us = 1000000, .max_bytes = SECOND_MAX_BYTES};
	ChunkQueue  spare = {0};
	char        bytes[1000] = {0};
	int         waiting = 0;

	for (int i = 0; i < 20000; i++)
	{
		Chunk *chunk = chunk_get(&spare);

		assert_true(chunk_append(chunk, mq_bytes(NULL, 0), mq_bytes(bytes, sizeof(bytes))));
		second_add(&queue, &spare, chunk, i);
		while ((chunk = second_take(&queue, i)) != NULL)
			chunk_release(&spare, chunk);
		assert_true(queue.held_bytes <= SECOND_MAX_BYTES);
	}
	for (const Chunk *chunk = queue.list.head; chunk != NULL; chunk = chunk->next)
		waiting += (int) chunk->count;
	assert_in_range(waiting, 3000, 8400);
	second_free(&queue, &spare);
	assert_int_equal(queue.held_bytes, 0);
	chunks_free(&spare);
}

/* ---- what another server may not have (recent.h) ---- */

static int
setup_recent(void **state)
{
	if (with_prefix("pre*:") != 0)
		return 1;
	deletion_keep_recent(deletion, 60000000);
	return 0;
}

static void
what_was_answered_is_sent_again_after_a_loss(void **state)
{
	key("a");
	message(1);
	expect_sent("UNLINK pre*:a", NULL);
	integer(1);
	expect_done(1);
	key("b");
	message(2);
	expect_sent("UNLINK pre*:b", NULL);
	deletion_lost(deletion, DELETION_NODE);
	assert_true(deletion_has_again(deletion));
	expect_sent("UNLINK pre*:a", "UNLINK pre*:b", NULL);
	deletion_lost(deletion, DELETION_NODE); /* the next one dies, too */
	expect_sent("UNLINK pre*:a", "UNLINK pre*:b", NULL);
	integer(1);
	expect_none_done(); /* it was done before */
	integer(1);
	expect_done(2);
	assert_false(deletion_has_again(deletion));
	deletion_lost(deletion, DELETION_NODE);
	expect_sent("UNLINK pre*:a pre*:b", NULL);
	integer(0);
	expect_none_done();
}

static void
what_every_replica_has_is_not_sent_again(void **state)
{
	Role role = {.is_master = true, .offset = 100, .replicas = 1, .acknowledged = 50};

	key("a");
	message(1);
	expect_sent("UNLINK pre*:a", NULL);
	integer(1);
	deletion_replicas(deletion, DELETION_NODE, &role, true, now_us);
	key("b");
	message(2);
	expect_sent("UNLINK pre*:b", NULL);
	integer(1);
	role = (Role){.is_master = true, .offset = 200, .replicas = 1, .acknowledged = 100};
	deletion_replicas(deletion, DELETION_NODE, &role, true, now_us);
	deletion_lost(deletion, DELETION_NODE);
	expect_sent("UNLINK pre*:b", NULL);
	integer(1);
}

static void
patterns_are_scanned_again_behind_those_of_messages(void **state)
{
	pattern("p:*");
	message(1);
	expect_sent("SCAN 0 MATCH pre\\*:p:* COUNT 500", NULL);
	step("0", "pre*:p:1", NULL);
	expect_sent("UNLINK pre*:p:1", NULL);
	integer(1);
	expect_done(1);
	pattern("q:*");
	message(2);
	deletion_lost(deletion, DELETION_NODE);
	expect_sent("SCAN 0 MATCH pre\\*:q:* COUNT 500", "UNLINK pre*:p:1", NULL);
	step("0", NULL);
	expect_done(2);
	integer(0);
	expect_sent("SCAN 0 MATCH pre\\*:p:* COUNT 500", NULL);
	/* The broker forgets us: nobody will send it again. */
	deletion_forget(deletion);
	assert_true(deletion_has_again(deletion));
	step("7", NULL); /* late */
	expect_sent("SCAN 0 MATCH pre\\*:p:* COUNT 500", NULL);
	step("0", "pre*:p:2", NULL);
	expect_sent("UNLINK pre*:p:2", NULL);
	integer(1);
	expect_none_done();
	assert_false(deletion_has_again(deletion));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_message_is_one_command),
		TEST(what_has_arrived_is_merged),
		TEST(a_key_in_flight_is_sent_again),
		TEST(a_message_without_keys_is_a_ping),
		TEST(a_ping_is_sent_until_it_is_answered),
		TEST(commands_are_bounded_in_keys_and_bytes),
		TEST(the_window_is_bounded_and_refilled),
		TEST(a_full_output_is_tried_again),
		TEST(after_a_loss_everything_unanswered_is_sent_again_in_order),
		TEST(a_refusal_is_no_success_and_is_probed_until_it_passes),
		TEST(an_answer_of_the_wrong_type_is_no_success),
		TEST(an_answer_nobody_asked_for_is_an_error),
		TEST(a_pattern_is_scanned_and_what_it_finds_deleted),
		TEST(exact_keys_pass_a_scan),
		TEST(equal_patterns_that_wait_are_merged_one_under_way_is_not),
		TEST(a_scan_begins_anew_on_another_connection),
		TEST(a_refused_scan_holds_only_patterns),
		TEST(forgotten_work_is_not_done_and_not_sent_again),
		TEST(the_prefix_goes_before_keys_and_escaped_before_patterns),
		TEST(replies_are_classified),
		TEST(errors_do_not_show_keys),
		TEST(random_faults_lose_no_key),
		cmocka_unit_test_setup_teardown(what_was_answered_is_sent_again_after_a_loss, setup_recent,
	                                    teardown),
		cmocka_unit_test_setup_teardown(what_every_replica_has_is_not_sent_again, setup_recent,
	                                    teardown),
		cmocka_unit_test_setup_teardown(patterns_are_scanned_again_behind_those_of_messages,
	                                    setup_recent, teardown),
		cmocka_unit_test_setup_teardown(keys_are_deleted_a_second_time, setup_second, teardown),
		cmocka_unit_test_setup_teardown(second_deletions_of_one_moment_are_joined_and_none_is_early,
	                                    setup_second, teardown),
		cmocka_unit_test_setup_teardown(
			second_deletions_survive_losses_and_wait_for_no_one_at_the_end, setup_second, teardown),
		cmocka_unit_test(second_deletions_are_bounded),
	};

	return cmocka_run_group_tests_name("deletion", tests, NULL, NULL);
}
