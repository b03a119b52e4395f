/*
 * slots.c
 *    See slots.h.
 */
#include "worker/slots.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>

#define CRC16_POLYNOMIAL 0x1021 /* XMODEM: most significant bit first, begins with 0 */

/* ---- the slot of a key ---- */

static uint16_t crc16_table[256];

static void __attribute__((constructor)) fill_crc16_table(void)
{
	for (unsigned i = 0; i < 256; i++)
	{
		unsigned crc = i << 8;

		for (int bit = 0; bit < 8; bit++)
			crc = (crc & 0x8000) != 0 ? crc << 1 ^ CRC16_POLYNOMIAL : crc << 1;
		crc16_table[i] = (uint16_t) crc;
	}
}

static unsigned
crc16(MqBytes bytes)
{
	unsigned crc = 0;

	for (size_t i = 0; i < bytes.size; i++)
		crc = (crc << 8 & 0xFFFF) ^ crc16_table[crc >> 8 ^ (unsigned char) bytes.data[i]];
	return crc;
}

int
slot_of(MqBytes key)
{
	const char *end = key.data + key.size;
	const char *open = key.size == 0 ? NULL : memchr(key.data, '{', key.size);
	const char *close = open == NULL ? NULL : memchr(open, '}', (size_t) (end - open));

	if (close != NULL && close > open + 1)
		key = mq_bytes(open + 1, (size_t) (close - open - 1));
	return (int) (crc16(key) % SLOT_COUNT);
}

/* ---- numbers and addresses ---- */

/* A decimal number of at most five digits, low to high. */
static bool
parse_number(MqBytes text, int low, int high, int *value)
{
	int result = 0;

	if (text.size == 0 || text.size > 5)
		return false;
	for (size_t i = 0; i < text.size; i++)
	{
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
		result = result * 10 + (text.data[i] - '0');
	}
	*value = result;
	return result >= low && result <= high;
}

/* Empty, and "?" where names are preferred and there is none: the address that we know already. */
static bool
set_host(RedisHost *host, MqBytes name, int port, const RedisHost *asked)
{
	if (name.size >= sizeof(host->host) || port < 1 || port > UINT16_MAX ||
	    (name.size > 0 && memchr(name.data, '\0', name.size) != NULL))
		return false;
	if (name.size == 0 || mq_bytes_equal(name, mq_bytes_of("?")))
		*host = *asked;
	else
		snprintf(host->host, sizeof(host->host), "%.*s", (int) name.size, name.data);
	host->port = (uint16_t) port;
	return true;
}

/* ---- CLUSTER SLOTS ---- */

static MqBytes
text_of(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS
	           ? mq_bytes(reply->str, reply->len)
	           : mq_bytes("", 0);
}

/* Behind the id, from Redis 7 on: other addresses, as names and values. */
static MqBytes
other_address(const redisReply *node, const char *name)
{
	const redisReply *list = node->elements < 4 ? NULL : node->element[3];

	if (list == NULL || list->type != REDIS_REPLY_ARRAY)
		return mq_bytes("", 0);
	for (size_t i = 0; i + 1 < list->elements; i += 2)
		if (mq_bytes_equal(text_of(list->element[i]), mq_bytes_of(name)))
			return text_of(list->element[i + 1]);
	return mq_bytes("", 0);
}

static bool
is_same_host(const RedisHost *a, const RedisHost *b)
{
	return a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* Address, port, id of a master: its index, or SLOT_NO_OWNER. */
static int
find_or_add_master(SlotMap *map, const redisReply *node, const RedisHost *asked)
{
	SlotMaster master = {0};
	MqBytes    name, id;

	if (node->type != REDIS_REPLY_ARRAY || node->elements < 2 ||
	    node->element[1]->type != REDIS_REPLY_INTEGER)
		return SLOT_NO_OWNER;
	name = text_of(node->element[0]);
	if (mq_bytes_equal(name, mq_bytes_of("?")))
		name = other_address(node, "ip");
	if (node->element[1]->integer > UINT16_MAX ||
	    !set_host(&master.host, name, (int) node->element[1]->integer, asked))
		return SLOT_NO_OWNER;
	id = node->elements < 3 ? mq_bytes("", 0) : text_of(node->element[2]);
	snprintf(master.id, sizeof(master.id), "%.*s", (int) (id.size > 63 ? 63 : id.size), id.data);
	for (int i = 0; i < map->master_count; i++)
		if (is_same_host(&map->masters[i].host, &master.host))
			return i;
	if (map->master_count == SLOTS_MAX_MASTERS)
		return SLOT_NO_OWNER;
	map->masters[map->master_count] = master;
	return map->master_count++;
}

static bool
parse_range(SlotMap *map, const redisReply *range, const RedisHost *asked)
{
	long long first, last;
	int       owner;

	if (range->type != REDIS_REPLY_ARRAY || range->elements < 3 ||
	    range->element[0]->type != REDIS_REPLY_INTEGER ||
	    range->element[1]->type != REDIS_REPLY_INTEGER)
		return false;
	first = range->element[0]->integer;
	last = range->element[1]->integer;
	if (first < 0 || first > last || last >= SLOT_COUNT)
		return false;
	owner = find_or_add_master(map, range->element[2], asked);
	for (long long slot = first; slot <= last; slot++)
		map->owner[slot] = (int16_t) owner;
	if (owner != SLOT_NO_OWNER)
		map->masters[owner].replicas = (int) range->elements - 3;
	return owner != SLOT_NO_OWNER;
}

bool
slot_map_parse(SlotMap *map, const struct redisReply *reply, const RedisHost *asked)
{
	map->master_count = 0;
	for (int i = 0; i < SLOT_COUNT; i++)
		map->owner[i] = SLOT_NO_OWNER;
	if (reply->type != REDIS_REPLY_ARRAY)
		return false;
	for (size_t i = 0; i < reply->elements; i++)
		if (!parse_range(map, reply->element[i], asked))
			return false;
	return true;
}

/* ---- CLUSTER NODES ---- */

/* Cuts off what stands before the separator. false: nothing is left. */
static bool
next_field(MqBytes *rest, char separator, MqBytes *field)
{
	const char *end;

	if (rest->size == 0)
		return false;
	end = memchr(rest->data, separator, rest->size);
	*field = mq_bytes(rest->data, end == NULL ? rest->size : (size_t) (end - rest->data));
	*rest = end == NULL ? mq_bytes(NULL, 0) : mq_bytes(end + 1, rest->size - field->size - 1);
	return true;
}

static bool
is_in_map(const SlotMap *map, MqBytes id)
{
	for (int i = 0; i < map->master_count; i++)
		if (mq_bytes_equal(id, mq_bytes_of(map->masters[i].id)))
			return true;
	return false;
}

/* "[slot->-id]" goes there, "[slot-<-id]" comes from there. text: what stands in the brackets. */
static bool
parse_move(SlotClaims *claims, MqBytes text, const SlotMap *map)
{
	const char *dash = text.size == 0 ? NULL : memchr(text.data, '-', text.size);
	size_t      number_size = dash == NULL ? 0 : (size_t) (dash - text.data);
	int         slot;

	if (dash == NULL || text.size < number_size + 3 ||
	    !parse_number(mq_bytes(text.data, number_size), 0, SLOT_COUNT - 1, &slot))
		return false;
	slot_set_add(&claims->moving, slot);
	if (!is_in_map(map, mq_bytes(dash + 3, text.size - number_size - 3)))
		claims->stranger = true;
	return true;
}

/* "slot", "first-last", or a move in brackets. */
static bool
parse_claim(SlotClaims *claims, MqBytes field, const SlotMap *map)
{
	const char *dash;
	int         first, last;

	if (field.size > 2 && field.data[0] == '[' && field.data[field.size - 1] == ']')
		return parse_move(claims, mq_bytes(field.data + 1, field.size - 2), map);
	dash = field.size == 0 ? NULL : memchr(field.data, '-', field.size);
	if (!parse_number(
			mq_bytes(field.data, dash == NULL ? field.size : (size_t) (dash - field.data)), 0,
			SLOT_COUNT - 1, &first))
		return false;
	last = first;
	if (dash != NULL &&
	    !parse_number(mq_bytes(dash + 1, (size_t) (field.data + field.size - dash - 1)), first,
	                  SLOT_COUNT - 1, &last))
		return false;
	for (int slot = first; slot <= last; slot++)
		slot_set_add(&claims->owned, slot);
	return true;
}

/* "myself" among the flags, "myself,master". */
static bool
is_myself(MqBytes flags)
{
	MqBytes flag;

	while (next_field(&flags, ',', &flag))
		if (mq_bytes_equal(flag, mq_bytes_of("myself")))
			return true;
	return false;
}

/* id address flags master ping pong epoch link, then claims. */
static bool
parse_myself(SlotClaims *claims, MqBytes line, const SlotMap *map, bool *found)
{
	MqBytes field;

	for (int i = 0; i < 8; i++)
	{
		if (!next_field(&line, ' ', &field))
			return true;
		if (i == 2 && !is_myself(field))
			return true;
	}
	*found = true;
	while (next_field(&line, ' ', &field))
		if (!parse_claim(claims, field, map))
			return false;
	return true;
}

bool
slot_claims_parse(SlotClaims *claims, MqBytes text, const SlotMap *map)
{
	bool    found = false;
	MqBytes line;

	memset(claims, 0, sizeof(*claims));
	while (!found && next_field(&text, '\n', &line))
	{
		if (line.size > 0 && line.data[line.size - 1] == '\r')
			line.size--;
		if (!parse_myself(claims, line, map, &found))
			return false;
	}
	return found;
}

/* ---- MOVED and ASK ---- */

bool
slot_redirect_parse(SlotRedirect *redirect, MqBytes error, const RedisHost *asked)
{
	MqBytes     word, slot;
	const char *colon;
	int         port;

	if (!next_field(&error, ' ', &word))
		return false;
	redirect->asking = mq_bytes_equal(word, mq_bytes_of("ASK"));
	if ((!redirect->asking && !mq_bytes_equal(word, mq_bytes_of("MOVED"))) ||
	    !next_field(&error, ' ', &slot) || !parse_number(slot, 0, SLOT_COUNT - 1, &redirect->slot))
		return false;
	colon = error.size == 0 ? NULL : memrchr(error.data, ':', error.size);
	return colon != NULL &&
	       parse_number(mq_bytes(colon + 1, (size_t) (error.data + error.size - colon - 1)), 1,
	                    UINT16_MAX, &port) &&
	       set_host(&redirect->host, mq_bytes(error.data, (size_t) (colon - error.data)), port,
	                asked);
}
