/*
 * slots_test.c
 *    The slot of a key, and what nodes of a cluster tell.
 */
#include "t/unit/unit.h"

#include "worker/slots.h"
#include "worker/survey.h"

#include <hiredis/hiredis.h>
#include <string.h>

static const RedisHost asked = {"10.0.0.9", 7009};
static SlotMap         map;

static int
slot(const char *key)
{
	return slot_of(mq_bytes_of(key));
}

/* Vectors of the cluster specification, of redis-cli (CLUSTER KEYSLOT), and of XMODEM itself. */
static void
slots_are_crc16(void **state)
{
	(void) state;
	assert_int_equal(slot("123456789"), 0x31C3);
	assert_int_equal(slot("foo"), 12182);
	assert_int_equal(slot("somekey"), 11058);
	assert_int_equal(slot(""), 0);
	assert_int_equal(slot_of(mq_bytes("a\0b", 3)), slot_of(mq_bytes("a\0b", 3)));
	assert_int_not_equal(slot_of(mq_bytes("a\0b", 3)), slot("a"));
}

static void
hash_tags_count_alone(void **state)
{
	(void) state;
	assert_int_equal(slot("{user1000}.following"), slot("user1000"));
	assert_int_equal(slot("x{user1000}y"), slot("user1000"));
	assert_int_equal(slot("foo{{bar}}zap"), slot("{bar"));
	assert_int_equal(slot("foo{bar}{zap}"), slot("bar"));
	/* Nothing between them, or not both: the whole key. */
	assert_int_equal(slot("foo{}{bar}"), 8363);
	assert_int_not_equal(slot("foo{}{bar}"), slot("bar"));
	assert_int_not_equal(slot("{}"), slot(""));
	assert_int_not_equal(slot("foo{bar"), slot("bar"));
	assert_int_not_equal(slot("foo}bar{"), slot("bar"));
	assert_int_equal(slot("}{a}"), slot("a"));
}

/* An answer as it comes from the wire. */
static redisReply *
answer(const char *bytes)
{
	redisReader *reader = redisReaderCreate();
	void        *reply = NULL;

	assert_int_equal(redisReaderFeed(reader, bytes, strlen(bytes)), REDIS_OK);
	assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
	assert_non_null(reply);
	redisReaderFree(reader);
	return reply;
}

static bool
take_map(const char *bytes)
{
	redisReply *reply = answer(bytes);
	bool        fine = slot_map_parse(&map, reply, &asked);

	freeReplyObject(reply);
	return fine;
}

static void
a_map_has_ranges_and_masters(void **state)
{
	(void) state;
	assert_true(take_map("*3\r\n"
	                     "*4\r\n:0\r\n:99\r\n*3\r\n$8\r\n10.0.0.1\r\n:7001\r\n$2\r\naa\r\n"
	                     "*3\r\n$8\r\n10.0.0.4\r\n:7004\r\n$2\r\ndd\r\n"
	                     "*3\r\n:100\r\n:100\r\n*4\r\n$5\r\nnode2\r\n:7002\r\n$2\r\nbb\r\n*0\r\n"
	                     "*3\r\n:200\r\n:16383\r\n*3\r\n$8\r\n10.0.0.1\r\n:7001\r\n$2\r\naa\r\n"));
	assert_int_equal(map.master_count, 2);
	assert_string_equal(map.masters[0].host.host, "10.0.0.1");
	assert_int_equal(map.masters[0].host.port, 7001);
	assert_string_equal(map.masters[0].id, "aa");
	assert_string_equal(map.masters[1].host.host, "node2");
	assert_int_equal(map.owner[0], 0);
	assert_int_equal(map.owner[99], 0);
	assert_int_equal(map.owner[100], 1);
	assert_int_equal(map.owner[101], SLOT_NO_OWNER);
	assert_int_equal(map.owner[16383], 0);
	assert_true(take_map("*0\r\n"));
	assert_int_equal(map.master_count, 0);
}

/* nil and "": the address that we know; "?": there is no name, the number stands beside it. */
static void
an_unknown_address_is_the_one_asked(void **state)
{
	(void) state;
	assert_true(take_map("*3\r\n*3\r\n:0\r\n:1\r\n*3\r\n$-1\r\n:7001\r\n$1\r\na\r\n"
	                     "*3\r\n:2\r\n:3\r\n*3\r\n$0\r\n\r\n:7002\r\n$1\r\nb\r\n"
	                     "*3\r\n:4\r\n:5\r\n*4\r\n$1\r\n?\r\n:7003\r\n$1\r\nc\r\n"
	                     "*2\r\n$2\r\nip\r\n$8\r\n10.0.0.3\r\n"));
	assert_string_equal(map.masters[0].host.host, "10.0.0.9");
	assert_int_equal(map.masters[0].host.port, 7001);
	assert_string_equal(map.masters[1].host.host, "10.0.0.9");
	assert_int_equal(map.masters[1].host.port, 7002);
	assert_string_equal(map.masters[2].host.host, "10.0.0.3");
}

static void
broken_maps_are_refused(void **state)
{
	static const char *const bad[] = {"+OK\r\n",
	                                  "*1\r\n:1\r\n",
	                                  "*1\r\n*2\r\n:0\r\n:1\r\n",
	                                  "*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n",
	                                  "*1\r\n*3\r\n:-1\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n",
	                                  "*1\r\n*3\r\n:2\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n",
	                                  "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:65536\r\n",
	                                  "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:0\r\n",
	                                  "*1\r\n*3\r\n:0\r\n:1\r\n*1\r\n$1\r\na\r\n",
	                                  "*1\r\n*3\r\n$1\r\n0\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n"};

	(void) state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(take_map(bad[i]));
}

static void
redirections(void **state)
{
	SlotRedirect to;

	(void) state;
	assert_true(slot_redirect_parse(&to, mq_bytes_of("MOVED 3999 127.0.0.1:6381"), &asked));
	assert_false(to.asking);
	assert_int_equal(to.slot, 3999);
	assert_string_equal(to.host.host, "127.0.0.1");
	assert_int_equal(to.host.port, 6381);
	assert_true(slot_redirect_parse(&to, mq_bytes_of("ASK 0 fe80::1:6381"), &asked));
	assert_true(to.asking);
	assert_string_equal(to.host.host, "fe80::1");
	assert_true(slot_redirect_parse(&to, mq_bytes_of("MOVED 1 :6381"), &asked));
	assert_string_equal(to.host.host, "10.0.0.9");
	assert_int_equal(to.host.port, 6381);
	assert_false(slot_redirect_parse(&to, mq_bytes_of("MOVED 16384 a:1"), &asked));
	assert_false(slot_redirect_parse(&to, mq_bytes_of("MOVED x a:1"), &asked));
	assert_false(slot_redirect_parse(&to, mq_bytes_of("MOVED 1 a"), &asked));
	assert_false(slot_redirect_parse(&to, mq_bytes_of("MOVED 1 a:0"), &asked));
	assert_false(slot_redirect_parse(&to, mq_bytes_of("MOVED 1"), &asked));
	assert_false(slot_redirect_parse(&to, mq_bytes_of("MOVED"), &asked));
	assert_false(slot_redirect_parse(&to, mq_bytes_of("TRYAGAIN 1 a:1"), &asked));
	assert_false(slot_redirect_parse(&to, mq_bytes_of(""), &asked));
}

/* ---- claims and surveys ---- */

static void
a_node_tells_what_it_owns_and_what_moves(void **state)
{
	static SlotClaims claims;

	(void) state;
	a_map_has_ranges_and_masters(state);
	map.master_count = 1;
	strcpy(map.masters[0].id, "aa");
	assert_true(slot_claims_parse(
		&claims,
		mq_bytes_of("bb 10.0.0.2:7002@17002 master - 0 1 2 connected 500-600\n"
	                "cc 10.0.0.1:7001@17001,name myself,master - 0 0 1 connected 0-2 7 [5->-aa]\n"),
		&map));
	assert_true(slot_set_has(&claims.owned, 0));
	assert_true(slot_set_has(&claims.owned, 2));
	assert_false(slot_set_has(&claims.owned, 3));
	assert_true(slot_set_has(&claims.owned, 7));
	assert_false(slot_set_has(&claims.owned, 500));
	assert_true(slot_set_has(&claims.moving, 5));
	assert_false(claims.stranger);
	assert_true(slot_claims_parse(
		&claims, mq_bytes_of("cc h:1@2 myself,master - 0 0 1 connected [9-<-dd]"), &map));
	assert_true(claims.stranger);
	assert_true(slot_claims_parse(&claims,
	                              mq_bytes_of("cc h:1@2 myself,slave aa 0 0 1 connected\n"), &map));
	assert_true(slot_set_is_empty(&claims.owned));
	assert_false(
		slot_claims_parse(&claims, mq_bytes_of("cc h:1@2 master - 0 0 1 connected 1\n"), &map));
	assert_false(slot_claims_parse(
		&claims, mq_bytes_of("cc h:1@2 myself,master - 0 0 1 connected 1-16384\n"), &map));
	assert_false(slot_claims_parse(
		&claims, mq_bytes_of("cc h:1@2 myself,master - 0 0 1 connected [x->-aa]\n"), &map));
	assert_false(slot_claims_parse(&claims, mq_bytes_of(""), &map));
}

static Survey survey;

/* Two nodes: the second has the slots from here on; this slot moves (-1: none). */
static SurveyVerdict
see(int second_from, int moving, bool scanned)
{
	static SlotClaims claims[2];

	memset(claims, 0, sizeof(claims));
	for (int i = 0; i < SLOT_COUNT; i++)
		slot_set_add(&claims[i >= second_from].owned, i);
	if (moving >= 0)
		slot_set_add(&claims[0].moving, moving);
	survey_begin(&survey);
	survey_claim(&survey, 1, &claims[0]);
	survey_claim(&survey, 2, &claims[1]);
	return survey_judge(&survey, scanned);
}

static void
one_round_is_enough_where_nothing_moves(void **state)
{
	(void) state;
	assert_int_equal(see(8000, -1, false), SURVEY_SCAN);
	assert_int_equal(see(8000, -1, true), SURVEY_COMPLETE);
}

static void
two_rounds_are_where_slots_move_once(void **state)
{
	(void) state;
	assert_int_equal(see(8000, 8000, false), SURVEY_SCAN);
	assert_int_equal(see(8001, 8001, true), SURVEY_SCAN);
	assert_int_equal(see(8002, 8002, true), SURVEY_COMPLETE);
	/* Slow: the same one all the time. */
	assert_int_equal(see(8000, 8000, false), SURVEY_SCAN);
	assert_int_equal(see(8000, 8000, true), SURVEY_SCAN);
	assert_int_equal(see(8000, 8000, true), SURVEY_COMPLETE);
	/* Began during the round, and is over, or not. */
	assert_int_equal(see(8000, -1, false), SURVEY_SCAN);
	assert_int_equal(see(8000, 8000, true), SURVEY_SCAN);
	assert_int_equal(see(8000, -1, false), SURVEY_SCAN);
	assert_int_equal(see(8001, -1, true), SURVEY_SCAN);
}

static void
a_slot_that_moves_twice_needs_more(void **state)
{
	(void) state;
	assert_int_equal(see(8000, -1, false), SURVEY_SCAN);
	assert_int_equal(see(8001, -1, true), SURVEY_SCAN);
	assert_int_equal(see(8000, -1, true), SURVEY_SCAN);   /* and back */
	assert_int_equal(see(8000, 8000, true), SURVEY_SCAN); /* and on its way again */
	assert_int_equal(see(8000, -1, true), SURVEY_COMPLETE);
}

static void
a_move_to_a_stranger_is_waited_for(void **state)
{
	SlotClaims claims = {.stranger = true};

	(void) state;
	survey_begin(&survey);
	slot_set_add(&claims.moving, 1);
	survey_claim(&survey, 1, &claims);
	assert_int_equal(survey_judge(&survey, false), SURVEY_WAIT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_are_crc16),
		cmocka_unit_test(hash_tags_count_alone),
		cmocka_unit_test(a_map_has_ranges_and_masters),
		cmocka_unit_test(an_unknown_address_is_the_one_asked),
		cmocka_unit_test(broken_maps_are_refused),
		cmocka_unit_test(redirections),
		cmocka_unit_test(a_node_tells_what_it_owns_and_what_moves),
		cmocka_unit_test(one_round_is_enough_where_nothing_moves),
		cmocka_unit_test(two_rounds_are_where_slots_move_once),
		cmocka_unit_test(a_slot_that_moves_twice_needs_more),
		cmocka_unit_test(a_move_to_a_stranger_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
