/*
 * batch.c
 *    Gathers keys into a message until it is full or its window ends.
 *
 * Duplicates are found in an open-addressing table of twice the keys that a message may hold; its
 * entries point into the JSON text that is being built, since equal keys have equal JSON.
 */
#include "relay/batch.h"

#include "wire/plain.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define BODY_FRAME_BYTES 32 /* {"keys":[],"patterns":[]} */
#define OUR_HEADERS 8
#define JSON_MOST_BYTES(size) (2 + 6 * (size)) /* if each byte is a \u00.. */

/* A list of JSON strings, with commas between them. */
typedef struct KeyList
{
	MqBuffer json;
	size_t   count;
} KeyList;

typedef struct TableEntry
{
	uint32_t generation; /* of the message; others are empty */
	bool     is_pattern;
	uint32_t hash;
	uint32_t offset, size; /* in the list's json */
} TableEntry;

struct Batch
{
	BatchOptions options;
	uint64_t     window;
	char         lsn[40];

	KeyList     keys, patterns;
	TableEntry *table;
	size_t      table_size; /* a power of two */
	uint32_t    generation;
	uint64_t    coalesced;

	int64_t  first_id, last_id; /* of the message being gathered; first_id 0: none */
	int64_t  created_at_us;
	int64_t  part;
	uint32_t events, attempts;
	char     traceparent[256];

	MqBuffer body, raw;
};

Batch *
batch_new(const BatchOptions *options)
{
	Batch *batch = calloc(1, sizeof(*batch));

	if (batch == NULL)
		return NULL;
	batch->options = *options;
	batch->table_size = 64;
	while (batch->table_size < 2 * options->max_keys)
		batch->table_size *= 2;
	batch->table = calloc(batch->table_size, sizeof(*batch->table));
	batch->generation = 1;
	if (batch->table == NULL)
	{
		free(batch);
		return NULL;
	}
	return batch;
}

void
batch_free(Batch *batch)
{
	if (batch == NULL)
		return;
	mq_buffer_free(&batch->keys.json);
	mq_buffer_free(&batch->patterns.json);
	mq_buffer_free(&batch->body);
	mq_buffer_free(&batch->raw);
	free(batch->table);
	free(batch);
}

static void
begin_message(Batch *batch)
{
	batch->keys.json.size = batch->keys.count = 0;
	batch->patterns.json.size = batch->patterns.count = 0;
	batch->first_id = 0;
	batch->events = 0;
	batch->traceparent[0] = '\0';
	if (++batch->generation == 0)
	{
		memset(batch->table, 0, batch->table_size * sizeof(*batch->table));
		batch->generation = 1;
	}
}

void
batch_begin(Batch *batch, uint64_t window, const char *lsn)
{
	batch->window = window;
	snprintf(batch->lsn, sizeof(batch->lsn), "%s", lsn);
	batch->part = 1;
	batch->attempts = 0;
	begin_message(batch);
}

/* ---- properties ------------------------------------------------------------------------------- */

/* What every message carries beside the caller's headers. */
typedef struct Origin
{
	int64_t first_id, last_id, part, created_at_us;
} Origin;

static size_t
our_headers(const Batch *batch, const Origin *origin, MqField out[OUR_HEADERS])
{
	size_t count = 0;

	out[count++] = mq_field_string("x-outbox-instance", mq_bytes_of(batch->options.instance));
	out[count++] = mq_field_string("x-outbox-database", batch->options.database);
	out[count++] = mq_field_int64("x-outbox-first-id", origin->first_id);
	out[count++] = mq_field_int64("x-outbox-last-id", origin->last_id);
	out[count++] = mq_field_int64("x-outbox-part", origin->part);
	out[count++] = mq_field_int64("x-outbox-created-at", origin->created_at_us);
	out[count++] = mq_field_string("x-outbox-lsn", mq_bytes_of(batch->lsn));
	return count;
}

/* Sets what all our messages have in common. */
static void
complete_properties(MqProperties *properties, const Origin *origin, const MqField *headers,
                    size_t header_count)
{
	properties->app_id = mq_bytes_of("pg_outbox");
	properties->delivery_mode = 2;
	properties->timestamp_s = origin->created_at_us / 1000000;
	properties->headers = headers;
	properties->header_count = header_count;
}

/* Encodes and hands over. */
static MqResult
emit(Batch *batch, OutMessage *message, const MqProperties *properties, MqError *error)
{
	MqResult result;

	batch->raw.size = 0;
	result = batch->options.encode(batch->options.context, properties, &batch->raw, error);
	if (result != MQ_OK)
		return result;
	message->window = batch->window;
	message->raw_properties = mq_bytes(batch->raw.data, batch->raw.size);
	result = batch->options.sink(batch->options.context, message);
	if (result != MQ_OK)
		mq_error_set(error, result, "out of memory");
	return result;
}

/* ---- invalidations ---------------------------------------------------------------------------- */

/* {"keys":[...]} with "patterns":[...] beside it where there are any. */
static MqResult
build_body(Batch *batch)
{
	MqBuffer *body = &batch->body;

	body->size = 0;
	if (mq_buffer_append(body, "{\"keys\":[", 9) != MQ_OK ||
	    mq_buffer_append(body, batch->keys.json.data, batch->keys.json.size) != MQ_OK ||
	    mq_buffer_append(body, "]", 1) != MQ_OK)
		return MQ_NOMEM;
	if (batch->patterns.count > 0 &&
	    (mq_buffer_append(body, ",\"patterns\":[", 13) != MQ_OK ||
	     mq_buffer_append(body, batch->patterns.json.data, batch->patterns.json.size) != MQ_OK ||
	     mq_buffer_append(body, "]", 1) != MQ_OK))
		return MQ_NOMEM;
	return mq_buffer_append(body, "}", 1);
}

/* Sends what is gathered, if anything is. not_full: it could have taken more. */
static MqResult
flush(Batch *batch, bool not_full, MqError *error)
{
	Origin       origin = {batch->first_id, batch->last_id, batch->part, batch->created_at_us};
	MqField      headers[OUR_HEADERS];
	size_t       header_count;
	char         message_id[128];
	MqProperties properties = {.priority = -1};
	OutMessage   message = {
		  .invalidations = true,
		  .not_full = not_full,
		  .attempts = batch->attempts,
		  .first_id = batch->first_id,
		  .last_id = batch->last_id,
		  .part = batch->part,
		  .events = batch->events,
		  .keys = (uint32_t) (batch->keys.count + batch->patterns.count),
		  .exchange = batch->options.exchange,
		  .routing_key = batch->options.routing_key,
    };
	MqResult result;

	if (batch->first_id == 0)
		return MQ_OK;
	if (build_body(batch) != MQ_OK)
		return mq_error_set(error, MQ_NOMEM, "out of memory");
	header_count = our_headers(batch, &origin, headers);
	if (batch->traceparent[0] != '\0')
		headers[header_count++] = mq_field_string("traceparent", mq_bytes_of(batch->traceparent));
	snprintf(message_id, sizeof(message_id), "%s/%" PRId64 "/%" PRId64, batch->options.instance,
	         batch->last_id, batch->part);
	properties.content_type = mq_bytes_of("application/json");
	properties.type = mq_bytes_of("cache.invalidate");
	properties.message_id = mq_bytes_of(message_id);
	complete_properties(&properties, &origin, headers, header_count);
	message.body = mq_bytes(batch->body.data, batch->body.size);
	result = emit(batch, &message, &properties, error);
	batch->part++;
	begin_message(batch);
	return result;
}

/* Finds the JSON text in the table, or the empty place for it. */
static TableEntry *
table_find(Batch *batch, const KeyList *list, bool is_pattern, const char *json, size_t size,
           uint32_t hash)
{
	for (size_t i = hash;; i++)
	{
		TableEntry *entry = &batch->table[i & (batch->table_size - 1)];

		if (entry->generation != batch->generation)
			return entry;
		if (entry->hash == hash && entry->is_pattern == is_pattern && entry->size == size &&
		    memcmp(list->json.data + entry->offset, json, size) == 0)
			return entry;
	}
}

/* Appends one key unless the message has it. The text is encoded in place and cut off again if it
 * turns out to be there. */
static MqResult
append_key(Batch *batch, KeyList *list, bool is_pattern, MqBytes key)
{
	size_t      before = list->json.size;
	size_t      offset, size;
	uint32_t    hash;
	TableEntry *entry;

	if (before > 0 && mq_buffer_append(&list->json, ",", 1) != MQ_OK)
		return MQ_NOMEM;
	offset = list->json.size;
	if (mq_buffer_append_json(&list->json, key) != MQ_OK)
		return MQ_NOMEM;
	size = list->json.size - offset;
	hash = mq_hash(mq_bytes(list->json.data + offset, size), (uint64_t) (uintptr_t) batch);
	entry = table_find(batch, list, is_pattern, list->json.data + offset, size, hash);
	if (entry->generation == batch->generation)
	{
		list->json.size = before;
		batch->coalesced++;
		return MQ_OK;
	}
	*entry = (TableEntry){batch->generation, is_pattern, hash, (uint32_t) offset, (uint32_t) size};
	list->count++;
	return MQ_OK;
}

/* This event takes part in the message being gathered. */
static void
join_message(Batch *batch, const RelayEvent *event)
{
	if (batch->first_id == 0)
	{
		batch->first_id = event->id;
		batch->created_at_us = event->created_at_us;
	}
	batch->last_id = event->id;
	if (event->created_at_us < batch->created_at_us)
		batch->created_at_us = event->created_at_us;
	if (batch->traceparent[0] == '\0' && event->traceparent.data != NULL &&
	    event->traceparent.size < sizeof(batch->traceparent))
	{
		memcpy(batch->traceparent, event->traceparent.data, event->traceparent.size);
		batch->traceparent[event->traceparent.size] = '\0';
	}
}

/* Exactly only where it matters. */
static bool
has_room_for(const Batch *batch, MqBytes key)
{
	size_t size = batch->keys.json.size + batch->patterns.json.size + BODY_FRAME_BYTES;

	return batch->keys.count + batch->patterns.count < batch->options.max_keys &&
	       (size + JSON_MOST_BYTES(key.size) <= BATCH_MAX_BODY_BYTES ||
	        size + mq_json_string_size(key) <= BATCH_MAX_BODY_BYTES);
}

static MqResult
add_keys(Batch *batch, const RelayEvent *event, KeyList *list, bool is_pattern, const MqBytes *keys,
         size_t count, MqError *error)
{
	for (size_t i = 0; i < count; i++)
	{
		if (!has_room_for(batch, keys[i]))
		{
			MqResult result = flush(batch, false, error);

			if (result != MQ_OK)
				return result;
		}
		join_message(batch, event);
		if (append_key(batch, list, is_pattern, keys[i]) != MQ_OK)
			return mq_error_set(error, MQ_NOMEM, "out of memory");
	}
	return MQ_OK;
}

static MqResult
add_invalidation(Batch *batch, const RelayEvent *event, MqError *error)
{
	MqResult result;

	/* What is tried again out of its order shares no message with what is not. */
	if (event->attempts != batch->attempts)
	{
		result = flush(batch, true, error);
		if (result != MQ_OK)
			return result;
		batch->attempts = event->attempts;
	}
	result = add_keys(batch, event, &batch->keys, false, event->keys, event->key_count, error);
	if (result == MQ_OK)
		result = add_keys(batch, event, &batch->patterns, true, event->patterns,
		                  event->pattern_count, error);
	batch->events++;
	return result;
}

/* ---- messages --------------------------------------------------------------------------------- */

/* The caller's headers with ours behind them; the caller frees. NULL: out of memory. */
static MqField *
merge_headers(const Batch *batch, const RelayEvent *event, const Origin *origin, size_t *count)
{
	size_t   theirs = event->properties.header_count;
	MqField *headers = malloc((theirs + OUR_HEADERS) * sizeof(*headers));

	if (headers == NULL)
		return NULL;
	if (theirs > 0)
		memcpy(headers, event->properties.headers, theirs * sizeof(*headers));
	*count = theirs + our_headers(batch, origin, headers + theirs);
	return headers;
}

static MqResult
emit_message(Batch *batch, const RelayEvent *event, MqError *error)
{
	Origin       origin = {event->id, event->id, 1, event->created_at_us};
	MqProperties properties = event->properties;
	OutMessage   message = {
		  .first_id = event->id,
		  .last_id = event->id,
		  .part = 1,
		  .events = 1,
		  .attempts = event->attempts,
		  .exchange = event->exchange,
		  .routing_key = event->routing_key,
		  .body = event->body,
    };
	char     message_id[128];
	size_t   header_count;
	MqField *headers = merge_headers(batch, event, &origin, &header_count);
	MqResult result;

	if (headers == NULL)
		return mq_error_set(error, MQ_NOMEM, "out of memory");
	snprintf(message_id, sizeof(message_id), "%s/%" PRId64, batch->options.instance, event->id);
	if (properties.message_id.data == NULL)
		properties.message_id = mq_bytes_of(message_id);
	if (properties.type.data == NULL)
		properties.type = mq_bytes_of("outbox.message");
	complete_properties(&properties, &origin, headers, header_count);
	result = emit(batch, &message, &properties, error);
	free(headers);
	return result;
}

MqResult
batch_add(Batch *batch, const RelayEvent *event, MqError *error)
{
	if (event->is_invalidation)
		return add_invalidation(batch, event, error);
	/* To the same destination in the order of the events. */
	if (mq_bytes_equal(event->exchange, batch->options.exchange) &&
	    mq_bytes_equal(event->routing_key, batch->options.routing_key))
	{
		MqResult result = flush(batch, true, error);

		if (result != MQ_OK)
			return result;
	}
	return emit_message(batch, event, error);
}

MqResult
batch_end(Batch *batch, MqError *error)
{
	return flush(batch, true, error);
}

uint64_t
batch_take_coalesced(Batch *batch)
{
	uint64_t coalesced = batch->coalesced;

	batch->coalesced = 0;
	return coalesced;
}
