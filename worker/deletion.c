/*
 * deletion.c
 *    See deletion.h.
 */
#include "worker/deletion.h"

#include "wire/backoff.h"
#include "worker/chunks.h"
#include "worker/patterns.h"
#include "worker/recent.h"
#include "worker/refusal.h"
#include "worker/resp.h"
#include "worker/role.h"
#include "worker/second.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCAN_FIRST_PAUSE_US ((int64_t) 1000000)
#define SCAN_LONGEST_PAUSE_US ((int64_t) 30000000)
#define SCAN_CURSOR_BYTES 24 /* 64 bits in decimal */
#define PROBLEM_BYTES 512

typedef enum CommandKind
{
	COMMAND_KEYS,  /* UNLINK of a chunk of the queue */
	COMMAND_SCAN,  /* one step */
	COMMAND_FOUND, /* UNLINK of what a step found */
	COMMAND_SECOND, /* UNLINK of what was deleted a while ago */
	COMMAND_AGAIN, /* UNLINK of what another server may not have deleted */
	COMMAND_PROBE  /* the refused UNLINK once more */
} CommandKind;

typedef struct Command
{
	CommandKind kind;
	Chunk      *chunk;  /* KEYS, FOUND, SECOND, AGAIN: owned */
	int64_t     sent_us;
	bool        orphan; /* its tickets are forgotten */
} Command;

typedef struct Ticket
{
	TagRef   ref;
	uint64_t keys_until;     /* done once this chunk is */
	uint64_t patterns_until; /* and this pattern */
} Ticket;

/* A ring; capacity is a power of two or 0. */
typedef struct TicketQueue
{
	Ticket *tickets;
	size_t  capacity, first, count;
} TicketQueue;

typedef struct Scan
{
	char      cursor[SCAN_CURSOR_BYTES];
	MqBuffer  command; /* of a step */
	bool      step_in_flight;
	bool      at_end; /* the cursor is back at 0 */
	ChunkList found; /* to be deleted */
	size_t    found_in_flight;
	int64_t   due_us; /* not before; 0: at once */
	Backoff   pause;
	char      problem[PROBLEM_BYTES];
	RecentPattern *again; /* what the head is a copy of; NULL: it is a message's */
} Scan;

struct Deletion
{
	DeletionOutput output;
	char          *prefix;

	ChunkQueue   keys;
	uint64_t     keys_done;    /* answered up to this chunk */
	uint64_t     keys_touched; /* by the open ticket */
	PatternQueue patterns;
	uint64_t     patterns_done;
	uint64_t     patterns_touched;
	Scan         scan;
	TicketQueue  on_keys;     /* in order of arrival */
	TicketQueue  on_patterns; /* their keys are done */

	SecondQueue second;
	size_t      second_in_flight;
	Recent      recent;
	size_t      again_in_flight;

	Command in_flight[DELETION_WINDOW];
	size_t  flight_first, flight_count;

	Chunk *probe; /* a copy of the refused one; NULL: no trouble */

	DeletionCounters counters;
};

/* ---- tickets ---- */

static bool
tickets_reserve(TicketQueue *queue, size_t count)
{
	size_t  capacity = queue->capacity == 0 ? 256 : queue->capacity;
	Ticket *tickets;

	if (count <= queue->capacity)
		return true;
	while (capacity < count)
		capacity *= 2;
	tickets = malloc(capacity * sizeof(Ticket));
	if (tickets == NULL)
		return false;
	for (size_t i = 0; i < queue->count; i++)
		tickets[i] = queue->tickets[(queue->first + i) & (queue->capacity - 1)];
	free(queue->tickets);
	queue->tickets = tickets;
	queue->capacity = capacity;
	queue->first = 0;
	return true;
}

/* There must be room. */
static void
tickets_push(TicketQueue *queue, Ticket ticket)
{
	queue->tickets[(queue->first + queue->count++) & (queue->capacity - 1)] = ticket;
}

static Ticket *
tickets_head(TicketQueue *queue)
{
	return queue->count == 0 ? NULL : &queue->tickets[queue->first];
}

static Ticket
tickets_pop(TicketQueue *queue)
{
	Ticket ticket = queue->tickets[queue->first];

	queue->first = (queue->first + 1) & (queue->capacity - 1);
	queue->count--;
	return ticket;
}

/* ---- making and adding ---- */

Deletion *
deletion_new(DeletionOutput output, const char *key_prefix, int64_t second_delete_us)
{
	Deletion *deletion = calloc(1, sizeof(*deletion));

	if (deletion == NULL)
		return NULL;
	deletion->output = output;
	deletion->second.delay_us = second_delete_us;
	deletion->prefix = strdup(key_prefix);
	strcpy(deletion->scan.cursor, "0");
	backoff_init(&deletion->scan.pause, SCAN_FIRST_PAUSE_US, SCAN_LONGEST_PAUSE_US,
				 (uint64_t) (uintptr_t) deletion);
	if (deletion->prefix != NULL && patterns_init(&deletion->patterns, deletion->prefix))
		return deletion;
	deletion_free(deletion);
	return NULL;
}

bool
deletion_add_key(Deletion *deletion, MqBytes key)
{
	uint64_t seq;

	switch (chunks_add(&deletion->keys, mq_bytes_of(deletion->prefix), key, &seq))
	{
	case CHUNK_NOMEM:
		return false;
	case CHUNK_MERGED:
		deletion->counters.keys_merged++;
		break;
	case CHUNK_ADDED:
		break;
	}
	if (seq > deletion->keys_touched)
		deletion->keys_touched = seq;
	return true;
}

bool
deletion_add_pattern(Deletion *deletion, MqBytes pattern)
{
	uint64_t seq = patterns_add(&deletion->patterns, pattern);

	if (seq == 0)
		return false;
	if (seq > deletion->patterns_touched)
		deletion->patterns_touched = seq;
	return true;
}

bool
deletion_close_ticket(Deletion *deletion, TagRef ref)
{
	Ticket ticket;
	size_t count = deletion->on_keys.count + deletion->on_patterns.count + 1;

	if (!tickets_reserve(&deletion->on_keys, count) ||
		!tickets_reserve(&deletion->on_patterns, count))
		return false;
	if (deletion->keys_touched == 0 && deletion->patterns_touched == 0 &&
		(deletion->keys_touched = chunks_last(&deletion->keys)) == 0)
		return false;
	ticket = (Ticket){ref, deletion->keys_touched, deletion->patterns_touched};
	tickets_push(&deletion->on_keys, ticket);
	deletion->keys_touched = 0;
	deletion->patterns_touched = 0;
	return true;
}

bool
deletion_next_done(Deletion *deletion, TagRef *ref)
{
	Ticket *head;

	while ((head = tickets_head(&deletion->on_keys)) != NULL &&
		   head->keys_until <= deletion->keys_done)
	{
		Ticket ticket = tickets_pop(&deletion->on_keys);

		if (ticket.patterns_until > deletion->patterns_done)
		{
			tickets_push(&deletion->on_patterns, ticket);
			continue;
		}
		*ref = ticket.ref;
		return true;
	}
	head = tickets_head(&deletion->on_patterns);
	if (head == NULL || head->patterns_until > deletion->patterns_done)
		return false;
	*ref = tickets_pop(&deletion->on_patterns).ref;
	return true;
}

/* ---- sending ---- */

static MqResult
send_unlink(Deletion *deletion, Chunk *chunk)
{
	return deletion->output.send(deletion->output.send_context, chunk_unlink(chunk));
}

static bool
window_is_full(const Deletion *deletion)
{
	return deletion->flight_count == DELETION_WINDOW;
}

static void
flight_push(Deletion *deletion, CommandKind kind, Chunk *chunk, int64_t now_us)
{
	size_t i = (deletion->flight_first + deletion->flight_count++) % DELETION_WINDOW;

	deletion->in_flight[i] = (Command){.kind = kind, .chunk = chunk, .sent_us = now_us};
	if (kind == COMMAND_KEYS || kind == COMMAND_FOUND)
		deletion->counters.keys_sent += chunk->count;
}

/* Of the chunks that a step found, those that fit. false: some are left. */
static bool
send_found(Deletion *deletion, int64_t now_us)
{
	Scan *scan = &deletion->scan;

	while (scan->found.head != NULL)
	{
		if (window_is_full(deletion) || send_unlink(deletion, scan->found.head) != MQ_OK)
			return false;
		scan->found_in_flight++;
		flight_push(deletion, COMMAND_FOUND, chunk_list_take(&scan->found), now_us);
	}
	return true;
}

/* At most one step is in flight, and none before the last one's finds are sent: exact keys wait
 * for no more than that. */
static void
send_scan(Deletion *deletion, int64_t now_us)
{
	Scan          *scan = &deletion->scan;
	const Pattern *pattern = patterns_head(&deletion->patterns);
	MqBytes        words[] = {mq_bytes_of("SCAN"),  mq_bytes_of(scan->cursor),
							  mq_bytes_of("MATCH"), {0},
							  mq_bytes_of("COUNT"), mq_bytes_of(DELETION_SCAN_COUNT)};

	if (pattern == NULL || scan->step_in_flight || scan->at_end || now_us < scan->due_us ||
		window_is_full(deletion))
		return;
	words[3] = pattern->bytes;
	scan->command.size = 0;
	if (!resp_append_command(&scan->command, words, sizeof(words) / sizeof(words[0])) ||
		deletion->output.send(deletion->output.send_context,
							  mq_bytes(scan->command.data, scan->command.size)) != MQ_OK)
		return;
	patterns_begin(&deletion->patterns);
	scan->step_in_flight = true;
	flight_push(deletion, COMMAND_SCAN, NULL, now_us);
}

static void
send_keys(Deletion *deletion, int64_t now_us)
{
	while (deletion->keys.list.head != NULL && !window_is_full(deletion))
	{
		if (send_unlink(deletion, deletion->keys.list.head) != MQ_OK)
			return;
		flight_push(deletion, COMMAND_KEYS, chunks_take(&deletion->keys), now_us);
	}
}

static bool
second_has_room(const Deletion *deletion)
{
	return !window_is_full(deletion) && deletion->second_in_flight < DELETION_SECOND_WINDOW;
}

static void
send_second(Deletion *deletion, int64_t now_us)
{
	Chunk *chunk;

	while (second_has_room(deletion) &&
		   (chunk = second_take(&deletion->second, now_us)) != NULL)
	{
		if (send_unlink(deletion, chunk) != MQ_OK)
		{
			second_put_back(&deletion->second, chunk);
			return;
		}
		deletion->second_in_flight++;
		deletion->counters.keys_again += chunk->count;
		flight_push(deletion, COMMAND_SECOND, chunk, now_us);
	}
}

static void
send_again(Deletion *deletion, int64_t now_us)
{
	Chunk *chunk;

	while (!window_is_full(deletion) && deletion->again_in_flight < DELETION_AGAIN_WINDOW &&
		   (chunk = recent_take(&deletion->recent)) != NULL)
	{
		if (send_unlink(deletion, chunk) != MQ_OK)
		{
			recent_put_back(&deletion->recent, chunk);
			return;
		}
		deletion->again_in_flight++;
		flight_push(deletion, COMMAND_AGAIN, chunk, now_us);
	}
}

/* A pattern that was scanned on another server waits behind those of messages. */
static void
queue_pattern_again(Deletion *deletion)
{
	Scan  *scan = &deletion->scan;
	size_t prefix_size = strlen(deletion->patterns.prefix);

	if (patterns_head(&deletion->patterns) != NULL ||
		(scan->again = recent_take_pattern(&deletion->recent)) == NULL)
		return;
	if (patterns_add(&deletion->patterns,
					 mq_bytes(scan->again->bytes.data + prefix_size,
							  scan->again->bytes.size - prefix_size)) != 0)
		return;
	recent_put_back_pattern(&deletion->recent, scan->again);
	scan->again = NULL;
}

void
deletion_send(Deletion *deletion, int64_t now_us)
{
	if (deletion->probe != NULL)
	{
		if (deletion->flight_count == 0 && send_unlink(deletion, deletion->probe) == MQ_OK)
			flight_push(deletion, COMMAND_PROBE, NULL, now_us);
		return;
	}
	queue_pattern_again(deletion);
	if (send_found(deletion, now_us))
		send_scan(deletion, now_us);
	send_again(deletion, now_us);
	send_second(deletion, now_us);
	send_keys(deletion, now_us);
}

/* ---- replies ---- */

static Command
flight_pop(Deletion *deletion)
{
	Command command = deletion->in_flight[deletion->flight_first];

	deletion->flight_first = (deletion->flight_first + 1) % DELETION_WINDOW;
	deletion->flight_count--;
	return command;
}

/* Is the head pattern scanned to its end, and everything found deleted? */
static void
finish_pattern(Deletion *deletion)
{
	Scan *scan = &deletion->scan;

	if (!scan->at_end || scan->found.head != NULL || scan->found_in_flight > 0)
		return;
	deletion->patterns_done = patterns_head(&deletion->patterns)->seq;
	deletion->counters.patterns++;
	recent_add_pattern(&deletion->recent, patterns_head(&deletion->patterns)->bytes);
	patterns_remove_head(&deletion->patterns);
	free(scan->again);
	scan->again = NULL;
	scan->at_end = false;
}

static bool
scan_add_found(Deletion *deletion, MqBytes key)
{
	Scan  *scan = &deletion->scan;
	Chunk *chunk = scan->found.tail;

	if (chunk == NULL || !chunk_has_room(chunk, key.size))
	{
		chunk = chunk_get(&deletion->keys);
		if (chunk == NULL)
			return false;
		chunk_list_append(&scan->found, chunk);
	}
	return chunk_append(chunk, mq_bytes(NULL, 0), key);
}

/* From the start again: the next step may be on another connection. */
static void
scan_restart(Deletion *deletion)
{
	Scan *scan = &deletion->scan;

	chunk_list_release(&scan->found, &deletion->keys);
	strcpy(scan->cursor, "0");
	scan->at_end = false;
	scan->step_in_flight = false;
	scan->found_in_flight = 0;
}

/* Cursor and keys, as SCAN answers. */
static bool
take_step(Deletion *deletion, const redisReply *reply)
{
	Scan             *scan = &deletion->scan;
	const redisReply *cursor, *keys;

	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
		return false;
	cursor = reply->element[0];
	keys = reply->element[1];
	if (cursor->type != REDIS_REPLY_STRING || cursor->len >= SCAN_CURSOR_BYTES ||
		keys->type != REDIS_REPLY_ARRAY)
		return false;
	for (size_t i = 0; i < keys->elements; i++)
	{
		const redisReply *key = keys->element[i];

		if (key->type != REDIS_REPLY_STRING || !scan_add_found(deletion, mq_bytes(key->str, key->len)))
			return false;
	}
	memcpy(scan->cursor, cursor->str, cursor->len);
	scan->cursor[cursor->len] = '\0';
	scan->at_end = strcmp(scan->cursor, "0") == 0;
	return true;
}

/* A refused SCAN (an ACL without it, say) holds its patterns only: exact keys go on. */
static void
scan_answered(Deletion *deletion, const redisReply *reply, int64_t now_us)
{
	Scan *scan = &deletion->scan;

	scan->step_in_flight = false;
	if (take_step(deletion, reply))
	{
		scan->problem[0] = '\0';
		backoff_reset(&scan->pause);
		scan->due_us = 0;
		finish_pattern(deletion);
		return;
	}
	refusal_describe(scan->problem, PROBLEM_BYTES, reply, "SCAN");
	scan_restart(deletion);
	scan->due_us = now_us + backoff_next_us(&scan->pause);
}

static void
tell_deleted(const Deletion *deletion, const Chunk *chunk)
{
	if (deletion->output.deleted == NULL || chunk == NULL)
		return;
	for (size_t i = 0; i < chunk->count; i++)
		deletion->output.deleted(deletion->output.context, chunk_key(chunk, i));
}

/* A chunk without keys is a PING: a message without keys waits for it, or for an UNLINK. */
static bool
is_ping(const Deletion *deletion, const Command *command)
{
	const Chunk *chunk = command->kind == COMMAND_PROBE ? deletion->probe : command->chunk;

	return chunk != NULL && chunk->count == 0;
}

static void
unlink_answered(Deletion *deletion, const Command *command, const redisReply *reply,
				int64_t now_us)
{
	tell_deleted(deletion, command->chunk);
	if (command->chunk != NULL)
		recent_add(&deletion->recent, &deletion->keys, command->chunk);
	deletion->counters.keys_deleted += reply->integer > 0 ? (uint64_t) reply->integer : 0;
	if (!command->orphan && command->kind == COMMAND_KEYS)
		deletion->keys_done = command->chunk->seq;
	if (!command->orphan && command->kind == COMMAND_FOUND)
	{
		deletion->scan.found_in_flight--;
		finish_pattern(deletion);
	}
	if (command->kind == COMMAND_PROBE)
	{
		chunk_release(&deletion->keys, deletion->probe);
		deletion->probe = NULL;
	}
	if (command->kind == COMMAND_SECOND)
		deletion->second_in_flight--;
	if (command->kind == COMMAND_AGAIN)
		deletion->again_in_flight--;
	if ((command->kind == COMMAND_KEYS || command->kind == COMMAND_FOUND) && command->chunk->count > 0)
		second_add(&deletion->second, &deletion->keys, command->chunk, now_us);
	else
		chunk_release(&deletion->keys, command->chunk);
}

/* Remembers what was refused, to try just that until it is taken. Out of memory: without a probe
 * the whole work is tried again instead. */
static void
keep_probe(Deletion *deletion, const Chunk *chunk)
{
	Chunk *probe = chunk_get(&deletion->keys);
	bool   fine = probe != NULL;

	for (size_t i = 0; fine && i < chunk->count; i++)
		fine = chunk_append(probe, mq_bytes(NULL, 0), chunk_key(chunk, i));
	if (!fine)
	{
		chunk_release(&deletion->keys, probe);
		probe = NULL;
	}
	chunk_release(&deletion->keys, deletion->probe);
	deletion->probe = probe;
}

/* It stays in flight: deletion_lost puts it back with the others. */
static DeletionVerdict
unlink_refused(Deletion *deletion, const Command *command, const redisReply *reply, char *error)
{
	refusal_describe(error, PROBLEM_BYTES, reply, is_ping(deletion, command) ? "PING" : "UNLINK");
	if (command->kind != COMMAND_PROBE)
		keep_probe(deletion, command->chunk);
	return reply->type == REDIS_REPLY_ERROR ? refusal_classify(reply->str, reply->len)
											: DELETION_PASSING;
}

DeletionVerdict
deletion_reply(Deletion *deletion, const struct redisReply *reply, int64_t now_us, char *error)
{
	Command *head = &deletion->in_flight[deletion->flight_first];
	Command  command;

	if (deletion->flight_count == 0)
	{
		snprintf(error, PROBLEM_BYTES, "an answer nobody asked for");
		return DELETION_PASSING;
	}
	if (head->kind != COMMAND_SCAN &&
		reply->type != (is_ping(deletion, head) ? REDIS_REPLY_STATUS : REDIS_REPLY_INTEGER))
		return unlink_refused(deletion, head, reply, error);
	command = flight_pop(deletion);
	histogram_add(&deletion->counters.round_trip, now_us - command.sent_us);
	if (command.kind != COMMAND_SCAN)
		unlink_answered(deletion, &command, reply, now_us);
	else if (!command.orphan)
		scan_answered(deletion, reply, now_us);
	return DELETION_DONE;
}

void
deletion_lost(Deletion *deletion)
{
	while (deletion->flight_count > 0)
	{
		size_t   last = (deletion->flight_first + --deletion->flight_count) % DELETION_WINDOW;
		Command *command = &deletion->in_flight[last];

		if (command->kind == COMMAND_KEYS && !command->orphan)
			chunks_put_back(&deletion->keys, command->chunk);
		else if (command->kind == COMMAND_SECOND)
			second_put_back(&deletion->second, command->chunk);
		else if (command->kind == COMMAND_AGAIN)
			recent_put_back(&deletion->recent, command->chunk);
		else
			chunk_release(&deletion->keys, command->chunk);
	}
	deletion->second_in_flight = 0;
	deletion->again_in_flight = 0;
	recent_again(&deletion->recent);
	scan_restart(deletion);
	deletion->scan.due_us = 0;
}

void
deletion_keep_recent(Deletion *deletion, int64_t keep_us)
{
	deletion->recent.keep_us = keep_us;
}

void
deletion_replicas(Deletion *deletion, const Role *role, bool replicated, int64_t now_us)
{
	recent_role(&deletion->recent, &deletion->keys, role->offset, replicated, role->acknowledged,
				now_us);
}

bool
deletion_has_again(const Deletion *deletion)
{
	return recent_has_again(&deletion->recent) || deletion->again_in_flight > 0 ||
		   deletion->scan.again != NULL;
}

void
deletion_hurry(Deletion *deletion)
{
	deletion->second.hurried = true;
}

bool
deletion_has_second(const Deletion *deletion)
{
	return deletion->second.list.head != NULL || deletion->second_in_flight > 0;
}

void
deletion_forget(Deletion *deletion)
{
	deletion->on_keys.count = 0;
	deletion->on_patterns.count = 0;
	deletion->keys_touched = 0;
	deletion->patterns_touched = 0;
	for (size_t i = 0; i < deletion->flight_count; i++)
		deletion->in_flight[(deletion->flight_first + i) % DELETION_WINDOW].orphan = true;
	chunks_clear(&deletion->keys);
	scan_restart(deletion);
	deletion->scan.problem[0] = '\0';
	deletion->scan.due_us = 0;
	patterns_clear(&deletion->patterns);
	if (deletion->scan.again != NULL)
		recent_put_back_pattern(&deletion->recent, deletion->scan.again);
	deletion->scan.again = NULL;
}

/* ---- asking ---- */

bool
deletion_is_troubled(const Deletion *deletion)
{
	return deletion->probe != NULL;
}

const char *
deletion_scan_problem(const Deletion *deletion)
{
	return deletion->scan.problem;
}

int64_t
deletion_due_us(const Deletion *deletion)
{
	const Scan *scan = &deletion->scan;
	int64_t     due_us = INT64_MAX;

	if (deletion->probe != NULL)
		return due_us;
	if (second_has_room(deletion))
		due_us = second_due_us(&deletion->second);
	if (scan->due_us > 0 && scan->due_us < due_us && !scan->step_in_flight &&
		patterns_head(&deletion->patterns) != NULL)
		due_us = scan->due_us;
	return due_us;
}

size_t
deletion_waiting_bytes(const Deletion *deletion)
{
	return deletion->keys.held_bytes + deletion->patterns.held_bytes;
}

size_t
deletion_in_flight(const Deletion *deletion)
{
	return deletion->flight_count;
}

const DeletionCounters *
deletion_counters(const Deletion *deletion)
{
	return &deletion->counters;
}

void
deletion_free(Deletion *deletion)
{
	if (deletion == NULL)
		return;
	deletion_forget(deletion);
	deletion_lost(deletion);
	chunk_release(&deletion->keys, deletion->probe);
	second_free(&deletion->second, &deletion->keys);
	recent_free(&deletion->recent, &deletion->keys);
	chunks_free(&deletion->keys);
	patterns_free(&deletion->patterns);
	mq_buffer_free(&deletion->scan.command);
	free(deletion->on_keys.tickets);
	free(deletion->on_patterns.tickets);
	free(deletion->prefix);
	free(deletion);
}
