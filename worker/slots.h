/*
 * slots.h
 *    Which node of a Redis Cluster owns which of the 16384 slots, as nodes tell it.
 *
 * A key's slot is the CRC16 of the key, or of what stands between its first "{" and the next "}" if
 * that is not empty. Source: the Redis cluster specification.
 */
#ifndef WORKER_SLOTS_H
#define WORKER_SLOTS_H

#include "wire/bytes.h"
#include "wire/url.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redisReply; /* hiredis */

#define SLOT_COUNT 16384
#define SLOTS_MAX_MASTERS 400
#define SLOT_NO_OWNER (-1)
#define SLOT_ID_BYTES 64 /* of a node's id, which has 40 digits */

typedef struct SlotMaster
{
	RedisHost host;
	char      id[SLOT_ID_BYTES];
	int       replicas;
} SlotMaster;

/* What one node knows. */
typedef struct SlotMap
{
	SlotMaster masters[SLOTS_MAX_MASTERS];
	int        master_count;
	int16_t    owner[SLOT_COUNT]; /* index of a master, or SLOT_NO_OWNER */
} SlotMap;

typedef struct SlotSet
{
	uint64_t words[SLOT_COUNT / 64];
} SlotSet;

/* What a node says of itself. */
typedef struct SlotClaims
{
	SlotSet owned;
	SlotSet moving;   /* from it or to it, key by key, at this moment */
	bool    stranger; /* some of them from or to a node that is not in the map */
} SlotClaims;

/* Where a node sends us. */
typedef struct SlotRedirect
{
	bool      asking; /* ASK: for this key only */
	int       slot;
	RedisHost host;
} SlotRedirect;

int slot_of(MqBytes key);

/* The answer to CLUSTER SLOTS. asked: who gave it; a node that does not know its own address means
 * that one. false: it is no such answer, or has too many masters. */
bool slot_map_parse(SlotMap *map, const struct redisReply *reply, const RedisHost *asked);

/* The answer to CLUSTER NODES. false: it is no such answer. */
bool slot_claims_parse(SlotClaims *claims, MqBytes text, const SlotMap *map);

/* MOVED or ASK. false: it is neither. */
bool slot_redirect_parse(SlotRedirect *redirect, MqBytes error, const RedisHost *asked);

static inline void
slot_set_add(SlotSet *set, int slot)
{
	set->words[slot / 64] |= (uint64_t) 1 << slot % 64;
}

static inline bool
slot_set_has(const SlotSet *set, int slot)
{
	return (set->words[slot / 64] >> slot % 64 & 1) != 0;
}

static inline bool
slot_set_is_empty(const SlotSet *set)
{
	for (int i = 0; i < SLOT_COUNT / 64; i++)
		if (set->words[i] != 0)
			return false;
	return true;
}

/* Have the two a slot in common? */
static inline bool
slot_set_meets(const SlotSet *a, const SlotSet *b)
{
	for (int i = 0; i < SLOT_COUNT / 64; i++)
		if ((a->words[i] & b->words[i]) != 0)
			return true;
	return false;
}

#endif
