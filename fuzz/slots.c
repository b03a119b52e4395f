/*
 * slots.c
 *    Any bytes as what a node of a cluster says: the map of slots, its claims, a redirection.
 */
#include "fuzz/fuzz.h"

#include "worker/slots.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>

static const RedisHost asked = {"127.0.0.1", 6379};
static SlotMap         map;

static void
check_map(void)
{
	for (int i = 0; i < SLOT_COUNT; i++)
		if (map.owner[i] < SLOT_NO_OWNER || map.owner[i] >= map.master_count)
			abort();
	for (int i = 0; i < map.master_count; i++)
		if (map.masters[i].host.port == 0 || map.masters[i].host.host[0] == '\0')
			abort();
}

static void
parse_map(MqBytes bytes)
{
	redisReader *reader = redisReaderCreate();
	void        *reply = NULL;

	if (reader != NULL && redisReaderFeed(reader, bytes.data, bytes.size) == REDIS_OK &&
	    redisReaderGetReply(reader, &reply) == REDIS_OK && reply != NULL)
	{
		if (slot_map_parse(&map, reply, &asked))
			check_map();
		freeReplyObject(reply);
	}
	redisReaderFree(reader);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static SlotClaims claims;
	SlotRedirect      redirect;
	MqBytes           bytes = mq_bytes(data, size);
	int               slot = slot_of(bytes);

	if (slot < 0 || slot >= SLOT_COUNT)
		abort();
	parse_map(bytes);
	slot_claims_parse(&claims, bytes, &map);
	if (slot_redirect_parse(&redirect, bytes, &asked) &&
	    (redirect.slot < 0 || redirect.slot >= SLOT_COUNT || redirect.host.port == 0))
		abort();
	return 0;
}
