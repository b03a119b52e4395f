/*
 * cluster_test.c
 *    Deleting from many nodes: redirections, lost connections, owners that change, nodes that go; by
 *    scripted answers, and by random runs against a small cluster made of arrays.
 */
#include "t/unit/unit.h"

#include "worker/deletion.h"
#include "worker/resp.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>

#define NODES 4 /* numbered from 1, as the deletion does */
#define KEYS 40 /* "k0" ... */
#define QUEUE 4096

typedef enum Verb
{
	VERB_UNLINK,
	VERB_ASKING,
	VERB_SCAN,
	VERB_QUESTION
} Verb;

/* A node: what it was sent and has not answered. */
typedef struct Server
{
	struct
	{
		Verb verb;
		int  key;
	} queue[QUEUE];
	int  count;
	bool asking; /* the last command was ASKING */
} Server;

static Server    servers[NODES + 1];
static int       owner[KEYS];    /* in truth */
static int       target[KEYS];   /* it moves there; 0: it does not */
static bool      is_there[KEYS]; /* already */
static uint64_t  deleted_at[KEYS], now;
static int       mapped[KEYS]; /* as we believe */
static bool      full;         /* outputs take nothing */
static int       answers;      /* to questions */
static Deletion *deletion;
static char      error[512];

static int
key_number(MqBytes key)
{
	char text[16];

	assert_true(key.size > 1 && key.size < sizeof(text) && key.data[0] == 'k');
	memcpy(text, key.data, key.size);
	text[key.size] = '\0';
	return atoi(text + 1);
}

static MqResult
take_commands(void *context, int node, MqBytes commands, size_t count)
{
	redisReader *reader = redisReaderCreate();
	Server      *server = &servers[node];

	(void) context;
	assert_in_range(node, 1, NODES);
	if (full)
	{
		redisReaderFree(reader);
		return MQ_FULL;
	}
	assert_int_equal(redisReaderFeed(reader, commands.data, commands.size), REDIS_OK);
	for (size_t i = 0; i < count; i++)
	{
		redisReply *words = NULL;
		const char *verb;

		assert_int_equal(redisReaderGetReply(reader, (void **) &words), REDIS_OK);
		assert_non_null(words);
		verb = words->element[0]->str;
		assert_true(server->count < QUEUE);
		server->queue[server->count].key = -1;
		server->queue[server->count].verb = strcmp(verb, "ASKING") == 0   ? VERB_ASKING
		                                    : strcmp(verb, "SCAN") == 0   ? VERB_SCAN
		                                    : strcmp(verb, "UNLINK") == 0 ? VERB_UNLINK
		                                                                  : VERB_QUESTION;
		if (strcmp(verb, "UNLINK") == 0)
		{
			assert_int_equal(words->elements, 2); /* one key each */
			server->queue[server->count].key =
				key_number(mq_bytes(words->element[1]->str, words->element[1]->len));
		}
		server->count++;
		freeReplyObject(words);
	}
	redisReaderFree(reader);
	return MQ_OK;
}

static int
find_owner(void *context, MqBytes key)
{
	(void) context;
	return mapped[key_number(key)];
}

/* "MOVED key node", "ASK key node" */
static int
follow(void *context, int node, MqBytes text, bool *asking)
{
	char words[64];
	int  key, to;

	(void) context;
	(void) node;
	snprintf(words, sizeof(words), "%.*s", (int) text.size, text.data);
	*asking = sscanf(words, "ASK %d %d", &key, &to) == 2;
	if (*asking)
		return to;
	if (sscanf(words, "MOVED %d %d", &key, &to) != 2)
		return DELETION_NO_NODE;
	mapped[key] = to;
	return to;
}

static DeletionVerdict
take_answer(void *context, int node, uint64_t question, const struct redisReply *reply, char *text)
{
	(void) context;
	(void) text;
	assert_int_equal(question, 100 + (unsigned) node);
	assert_int_equal(reply->type, REDIS_REPLY_STATUS);
	answers++;
	return DELETION_DONE;
}

static int
setup(void **state)
{
	DeletionOutput output = {
		.send = take_commands, .owner = find_owner, .redirected = follow, .answered = take_answer};

	(void) state;
	memset(servers, 0, sizeof(servers));
	memset(target, 0, sizeof(target));
	memset(is_there, 0, sizeof(is_there));
	memset(deleted_at, 0, sizeof(deleted_at));
	full = false;
	answers = 0;
	now = 1;
	deletion = deletion_new(output, "", 0);
	for (int i = 1; i <= NODES; i++)
	{
		assert_int_equal(deletion_add_node(deletion), i);
		deletion_node_is_scanned(deletion, i, true);
	}
	for (int i = 0; i < KEYS; i++)
		owner[i] = mapped[i] = 1 + i % NODES;
	return 0;
}

static int
teardown(void **state)
{
	(void) state;
	deletion_free(deletion);
	return 0;
}

static void
key(int number)
{
	char text[16];

	snprintf(text, sizeof(text), "k%d", number);
	assert_true(deletion_add_key(deletion, mq_bytes_of(text)));
}

static void
message(uint64_t tag)
{
	assert_true(deletion_close_ticket(deletion, (TagRef){.tag = tag}));
}

static DeletionVerdict
say(int node, int type, const char *text)
{
	redisReply reply = {
		.type = type, .integer = 1, .str = (char *) text, .len = text == NULL ? 0 : strlen(text)};

	return deletion_reply(deletion, node, &reply, (int64_t) now, error);
}

static void
say_scanned(int node)
{
	redisReply  cursor = {.type = REDIS_REPLY_STRING, .str = (char *) "0", .len = 1};
	redisReply  found[KEYS], *elements[KEYS];
	char        texts[KEYS][16];
	redisReply  keys = {.type = REDIS_REPLY_ARRAY, .element = elements};
	redisReply *both[2] = {&cursor, &keys};
	redisReply  reply = {.type = REDIS_REPLY_ARRAY, .elements = 2, .element = both};

	for (int i = 0; i < KEYS; i++)
	{
		if (owner[i] != node)
			continue;
		snprintf(texts[i], sizeof(texts[i]), "k%d", i);
		found[i] =
			(redisReply){.type = REDIS_REPLY_STRING, .str = texts[i], .len = strlen(texts[i])};
		elements[keys.elements++] = &found[i];
	}
	assert_int_equal(deletion_reply(deletion, node, &reply, (int64_t) now, error), DELETION_DONE);
}

/* Answers the oldest command, as a node of a cluster does. */
static void
serve(int node)
{
	Server *server = &servers[node];
	Verb    verb = server->queue[0].verb;
	int     k = server->queue[0].key;
	bool    asking = server->asking;
	char    text[64];

	memmove(server->queue, server->queue + 1, sizeof(server->queue[0]) * (size_t) --server->count);
	server->asking = verb == VERB_ASKING;
	if (verb == VERB_ASKING || verb == VERB_QUESTION)
		assert_int_equal(say(node, REDIS_REPLY_STATUS, "OK"), DELETION_DONE);
	else if (verb == VERB_SCAN)
		say_scanned(node);
	else if ((owner[k] == node && !is_there[k]) || (asking && target[k] == node))
	{
		deleted_at[k] = ++now;
		assert_int_equal(say(node, REDIS_REPLY_INTEGER, NULL), DELETION_DONE);
	}
	else
	{
		snprintf(text, sizeof(text), owner[k] == node ? "ASK %d %d" : "MOVED %d %d", k,
		         owner[k] == node ? target[k] : owner[k]);
		if (say(node, REDIS_REPLY_ERROR, text) == DELETION_DONE)
			return;
		/* Sent on too often: as after any refusal. */
		server->count = 0;
		deletion_lost(deletion, node);
	}
}

static void
send_all(void)
{
	for (int i = 1; i <= NODES; i++)
		deletion_send(deletion, i, (int64_t) now);
}

static void
serve_all(void)
{
	send_all();
	for (int i = 1; i <= NODES; i++)
		while (servers[i].count > 0)
			serve(i);
}

static bool
is_done(uint64_t tag)
{
	TagRef ref;

	if (!deletion_next_done(deletion, &ref))
		return false;
	assert_int_equal(ref.tag, tag);
	return true;
}

static void
each_key_goes_to_its_owner(void **state)
{
	(void) state;
	for (int i = 0; i < KEYS; i++)
		key(i);
	message(1);
	send_all();
	for (int i = 1; i <= NODES; i++)
		assert_int_equal(servers[i].count, KEYS / NODES);
	assert_false(is_done(1));
	serve_all();
	assert_true(is_done(1));
	assert_false(is_done(2));
}

static void
nodes_do_not_wait_for_each_other(void **state)
{
	(void) state;
	key(0);
	message(1);
	key(1);
	message(2);
	key(0);
	key(1);
	message(3);
	send_all();
	serve(2);
	assert_true(is_done(2));
	assert_false(is_done(3));
	serve(1);
	assert_true(is_done(1));
	assert_true(is_done(3));
}

static void
moved_keys_keep_their_messages_open(void **state)
{
	(void) state;
	owner[0] = 2;
	key(0);
	key(4);
	message(1);
	send_all();
	serve(1); /* MOVED */
	serve(1);
	assert_false(is_done(1));
	assert_int_equal(mapped[0], 2);
	serve_all();
	assert_true(is_done(1));
	assert_int_equal(deletion_counters(deletion)->keys_moved, 1);
}

static void
ask_is_for_one_key(void **state)
{
	(void) state;
	target[0] = 3;
	is_there[0] = true;
	key(0);
	message(1);
	send_all();
	serve(1);
	assert_int_equal(mapped[0], 1);
	send_all();
	assert_int_equal(servers[3].count, 2);
	assert_int_equal(servers[3].queue[0].verb, VERB_ASKING);
	serve(3);
	assert_false(is_done(1));
	serve(3);
	assert_true(is_done(1));
}

/* An ACL without ASKING: that is no answer to UNLINK. */
static void
a_refused_asking_is_a_refusal(void **state)
{
	(void) state;
	target[0] = 3;
	is_there[0] = true;
	key(0);
	message(1);
	send_all();
	serve(1);
	send_all();
	assert_int_equal(say(3, REDIS_REPLY_ERROR, "NOPERM no"), DELETION_SETTINGS);
	assert_string_equal(error, "ASKING: NOPERM no");
	assert_true(deletion_is_troubled(deletion, 3));
	assert_false(is_done(1));
}

static void
circles_are_left(void **state)
{
	DeletionVerdict verdict = DELETION_DONE;
	int             hops = 0;

	(void) state;
	key(0);
	message(1);
	for (int node = 1; verdict == DELETION_DONE; node = 3 - node)
	{
		send_all();
		assert_int_equal(servers[node].count, 1);
		servers[node].count = 0;
		verdict = say(node, REDIS_REPLY_ERROR, node == 1 ? "MOVED 0 2" : "MOVED 0 1");
		hops++;
	}
	assert_int_equal(verdict, DELETION_SETTINGS);
	assert_int_equal(hops, DELETION_MAX_HOPS + 1);
	assert_false(is_done(1));
}

/* Only its own; and to whoever owns them then. */
static void
a_lost_node_keeps_its_keys_until_they_have_an_owner(void **state)
{
	(void) state;
	key(0);
	message(1);
	key(1);
	message(2);
	send_all();
	servers[1].count = 0;
	deletion_lost(deletion, 1);
	serve(2);
	assert_true(is_done(2));
	mapped[0] = DELETION_NO_NODE;
	assert_true(deletion_reroute(deletion));
	serve_all();
	assert_false(is_done(1));
	owner[0] = mapped[0] = 4;
	assert_true(deletion_reroute(deletion));
	serve_all();
	assert_true(is_done(1));
}

static void
a_removed_node_leaves_nothing_behind(void **state)
{
	(void) state;
	for (int i = 0; i < KEYS; i++)
		key(i);
	message(1);
	send_all();
	for (int i = 0; i < KEYS; i++)
		if (owner[i] == 1)
			owner[i] = mapped[i] = 2;
	servers[1].count = 0;
	assert_true(deletion_remove_node(deletion, 1));
	assert_int_equal(deletion_add_node(deletion), 1);
	serve_all();
	serve_all();
	assert_true(is_done(1));
}

static void
questions_go_in_between(void **state)
{
	(void) state;
	key(0);
	message(1);
	send_all();
	assert_int_equal(deletion_ask(deletion, 1, mq_bytes_of("*1\r\n$4\r\nROLE\r\n"), 101, 1), MQ_OK);
	key(4);
	message(2);
	serve_all();
	assert_int_equal(answers, 1);
	assert_true(is_done(1));
	assert_true(is_done(2));
}

static void
a_pattern_is_done_when_its_owner_says_so(void **state)
{
	(void) state;
	assert_true(deletion_add_pattern(deletion, mq_bytes_of("k*")));
	message(1);
	serve_all();
	assert_true(deletion_wants_survey(deletion));
	assert_false(deletion_round_is_over(deletion));
	for (int round = 0; round < 2; round++)
	{
		deletion_begin_round(deletion);
		assert_false(deletion_wants_survey(deletion));
		owner[round] = 3; /* found at the old one, MOVED */
		serve_all();
		assert_false(deletion_round_is_over(deletion));
		serve_all();
		serve_all();
		assert_true(deletion_round_is_over(deletion));
		assert_false(is_done(1));
	}
	deletion_end_pattern(deletion);
	assert_true(is_done(1));
	assert_false(deletion_wants_survey(deletion));
}

static void
a_round_breaks_with_its_node(void **state)
{
	(void) state;
	assert_true(deletion_add_pattern(deletion, mq_bytes_of("k*")));
	message(1);
	deletion_begin_round(deletion);
	send_all();
	for (int i = 0; i < KEYS; i++)
		if (mapped[i] == 1)
			owner[i] = mapped[i] = 2;
	servers[1].count = 0;
	assert_true(deletion_remove_node(deletion, 1));
	assert_int_equal(deletion_add_node(deletion), 1);
	assert_true(deletion_wants_survey(deletion));
	assert_false(deletion_round_is_over(deletion));
	serve_all(); /* late answers are not of the next round */
	deletion_begin_round(deletion);
	for (int i = 0; i < 4; i++)
		serve_all();
	assert_true(deletion_round_is_over(deletion));
	deletion_end_pattern(deletion);
	assert_true(is_done(1));
}

/* ---- random runs ---- */

#define MESSAGES 400
#define MESSAGE_KEYS 5

typedef struct Sent
{
	uint64_t at;
	int      keys[MESSAGE_KEYS];
	bool     done;
} Sent;

static uint64_t random_state;

static int
random_below(int limit)
{
	random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (int) ((random_state >> 33) % (uint64_t) limit);
}

static Sent sent[MESSAGES];

/* Done once, and only after each of its keys was deleted by its owner, later than it was asked for. */
static int
take_done(void)
{
	TagRef ref;
	int    count = 0;

	while (deletion_next_done(deletion, &ref))
	{
		Sent *one = &sent[ref.tag];

		assert_false(one->done);
		one->done = true;
		for (int i = 0; i < MESSAGE_KEYS; i++)
			assert_true(deleted_at[one->keys[i]] > one->at);
		count++;
	}
	return count;
}

static void
send_random_message(int number)
{
	sent[number] = (Sent){.at = ++now};
	for (int i = 0; i < MESSAGE_KEYS; i++)
		key(sent[number].keys[i] = random_below(KEYS));
	message((uint64_t) number);
}

static void
change_cluster(void)
{
	int k = random_below(KEYS);
	int node = 1 + random_below(NODES);

	switch (random_below(6))
	{
	case 0: /* a fail-over, or a slot that has moved */
		target[k] = 0;
		is_there[k] = false;
		owner[k] = node;
		break;
	case 1: /* a move begins */
		if (node != owner[k])
			target[k] = node;
		break;
	case 2:
		is_there[k] = target[k] != 0;
		break;
	case 3: /* and ends */
		if (!is_there[k])
			break;
		owner[k] = target[k];
		target[k] = 0;
		is_there[k] = false;
		break;
	case 4: /* we are told */
		for (int i = 0; i < KEYS; i++)
			mapped[i] = random_below(20) == 0 ? DELETION_NO_NODE : owner[i];
		assert_true(deletion_reroute(deletion));
		break;
	case 5: /* a connection is lost */
		servers[node].count = 0;
		servers[node].asking = false;
		deletion_lost(deletion, node);
		break;
	}
}

static void
no_message_is_done_before_its_keys(void **state)
{
	for (uint64_t seed = 1; seed <= 60; seed++)
	{
		int begun = 0, done = 0;

		random_state = seed;
		while (done < MESSAGES)
		{
			int what = random_below(10);

			if (what < 3 && begun < MESSAGES)
				send_random_message(begun++);
			else if (what == 3)
				change_cluster();
			else if (what == 4)
				full = !full && random_below(3) == 0;
			else
			{
				int node = 1 + random_below(NODES);

				deletion_send(deletion, node, (int64_t) now);
				for (int n = random_below(20); n > 0 && servers[node].count > 0; n--)
					serve(node);
			}
			done += take_done();
		}
		assert_int_equal(deletion_waiting_bytes(deletion), 0);
		teardown(state);
		setup(state);
	}
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(each_key_goes_to_its_owner),
		TEST(nodes_do_not_wait_for_each_other),
		TEST(moved_keys_keep_their_messages_open),
		TEST(ask_is_for_one_key),
		TEST(a_refused_asking_is_a_refusal),
		TEST(circles_are_left),
		TEST(a_lost_node_keeps_its_keys_until_they_have_an_owner),
		TEST(a_removed_node_leaves_nothing_behind),
		TEST(questions_go_in_between),
		TEST(a_pattern_is_done_when_its_owner_says_so),
		TEST(a_round_breaks_with_its_node),
		TEST(no_message_is_done_before_its_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
