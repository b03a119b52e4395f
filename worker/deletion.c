/*
 * deletion.c
 *    See deletion.h.
 */
#include "worker/deletion_private.h"

#include "worker/refusal.h"
#include "worker/role.h"

#include <assert.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBLEM_BYTES 512
#define PING "*1\r\n$4\r\nPING\r\n"

/* ---- nodes ---- */

/* Several share what one may hold. */
static void
share_memory(Deletion *deletion)
{
	size_t count = 0;

	for (int i = 0; i < deletion->node_end; i++)
		count += deletion->nodes[i] != NULL;
	for (int i = 0; i < deletion->node_end; i++)
	{
		if (deletion->nodes[i] == NULL)
			continue;
		deletion->nodes[i]->second.max_bytes = SECOND_MAX_BYTES / count;
		deletion->nodes[i]->recent.max_bytes = RECENT_MAX_BYTES / count;
	}
}

int
deletion_add_node(Deletion *deletion)
{
	Node *node;
	int   i = 0;

	while (i < deletion->node_end && deletion->nodes[i] != NULL)
		i++;
	if (i == DELETION_MAX_NODES || (node = calloc(1, sizeof(*node))) == NULL)
		return DELETION_NO_NODE;
	node->index = i;
	node->keys.form = has_many_nodes(deletion) ? CHUNK_SINGLY : CHUNK_TOGETHER;
	node->second.delay_us = deletion->second_delete_us;
	node->second.hurried = deletion->hurried;
	node->recent.keep_us = deletion->keep_us;
	scan_init(&node->scan, (uint64_t) (uintptr_t) node);
	deletion->nodes[i] = node;
	if (i == deletion->node_end)
		deletion->node_end++;
	share_memory(deletion);
	return i;
}

void
deletion_node_is_scanned(Deletion *deletion, int node, bool scanned)
{
	deletion->nodes[node]->is_scanned = scanned;
}

static void
node_free(Node *node)
{
	scan_free(&node->scan, &node->keys);
	chunk_release(&node->keys, node->probe);
	chunk_release(&node->keys, node->ping);
	second_free(&node->second, &node->keys);
	recent_free(&node->recent, &node->keys);
	chunks_free(&node->keys);
	free(node);
}

Deletion *
deletion_new(DeletionOutput output, const char *key_prefix, int64_t second_delete_us)
{
	Deletion *deletion = calloc(1, sizeof(*deletion));

	if (deletion == NULL)
		return NULL;
	deletion->output = output;
	deletion->second_delete_us = second_delete_us;
	deletion->open_ticket = TICKET_NONE;
	tickets_init(&deletion->tickets);
	deletion->round_ticket = tickets_open(&deletion->tickets);
	deletion->prefix = strdup(key_prefix);
	if (deletion->round_ticket != TICKET_NONE && deletion->prefix != NULL &&
	    patterns_init(&deletion->patterns, deletion->prefix) &&
	    deletion_add_node(deletion) == DELETION_NODE)
	{
		deletion->nodes[DELETION_NODE]->is_scanned = !has_many_nodes(deletion);
		return deletion;
	}
	deletion_free(deletion);
	return NULL;
}

/* Where a key waits. */
static Node *
owner_of(const Deletion *deletion, MqBytes whole_key)
{
	int node = deletion->output.owner(deletion->output.send_context, whole_key);

	return deletion->nodes[node == DELETION_NO_NODE ? DELETION_NODE : node];
}

/* NULL: out of memory. */
static Node *
owner_of_new(Deletion *deletion, MqBytes key)
{
	MqBuffer *whole = &deletion->whole_key;
	size_t    prefix_size;

	if (!has_many_nodes(deletion))
		return deletion->nodes[DELETION_NODE];
	prefix_size = strlen(deletion->prefix);
	if (prefix_size == 0)
		return owner_of(deletion, key);
	whole->size = 0;
	if (mq_buffer_append(whole, deletion->prefix, prefix_size) != MQ_OK ||
	    mq_buffer_append(whole, key.data, key.size) != MQ_OK)
		return NULL;
	return owner_of(deletion, mq_bytes(whole->data, whole->size));
}

/* ---- adding ---- */

static bool
wait_for(Deletion *deletion, Waiters *waiters)
{
	if (deletion->open_ticket == TICKET_NONE)
		deletion->open_ticket = tickets_open(&deletion->tickets);
	return deletion->open_ticket != TICKET_NONE &&
	       waiters_add(waiters, &deletion->tickets, deletion->open_ticket);
}

bool
deletion_add_key(Deletion *deletion, MqBytes key)
{
	Node  *node = owner_of_new(deletion, key);
	Chunk *chunk;

	if (node == NULL)
		return false;
	switch (chunks_add(&node->keys, mq_bytes_of(deletion->prefix), key, &chunk))
	{
	case CHUNK_NOMEM:
		return false;
	case CHUNK_MERGED:
		deletion->counters.keys_merged++;
		break;
	case CHUNK_ADDED:
		break;
	}
	return wait_for(deletion, &chunk->waiters);
}

bool
deletion_add_pattern(Deletion *deletion, MqBytes pattern)
{
	Pattern *waits = patterns_add(&deletion->patterns, pattern);

	return waits != NULL && wait_for(deletion, &waits->waiters);
}

/* The newest chunk that is not answered yet, a PING where there is none. NULL: out of memory. */
static Chunk *
newest_chunk(Node *node)
{
	if (node->keys.list.tail != NULL)
		return node->keys.list.tail;
	for (size_t i = node->flight_count; i-- > 0;)
	{
		const Command *command = &node->in_flight[(node->flight_first + i) % DELETION_WINDOW];

		if (command->kind == COMMAND_KEYS && !command->orphan)
			return command->chunk;
	}
	if (node->ping == NULL)
		node->ping = chunk_get(&node->keys);
	return node->ping;
}

/* A message without keys (a canary) tells how long those take that came before it, or Redis where
 * none did. */
static bool
wait_for_those_before(Deletion *deletion)
{
	for (int i = 0; i < deletion->node_end; i++)
	{
		Chunk *chunk;

		if (deletion->nodes[i] == NULL || !deletion->nodes[i]->is_scanned)
			continue;
		chunk = newest_chunk(deletion->nodes[i]);
		if (chunk == NULL || !wait_for(deletion, &chunk->waiters))
			return false;
	}
	return true;
}

bool
deletion_close_ticket(Deletion *deletion, TagRef ref)
{
	if (deletion->open_ticket == TICKET_NONE)
	{
		deletion->open_ticket = tickets_open(&deletion->tickets);
		if (deletion->open_ticket == TICKET_NONE || !wait_for_those_before(deletion))
			return false;
	}
	tickets_close(&deletion->tickets, deletion->open_ticket, ref);
	deletion->open_ticket = TICKET_NONE;
	return true;
}

bool
deletion_next_done(Deletion *deletion, TagRef *ref)
{
	return tickets_next_done(&deletion->tickets, ref);
}

/* ---- keys that go elsewhere ---- */

/* Its messages wait for it there too. false: out of memory. */
static bool
move_key(Deletion *deletion, const Chunk *from, size_t i, Node *to, ChunkForm form, int hops)
{
	Chunk *chunk = chunks_add_moved(&to->keys, form, hops, chunk_key(from, i));

	deletion->counters.keys_moved++;
	return chunk != NULL && waiters_copy(&chunk->waiters, &from->waiters, &deletion->tickets);
}

static bool
move_all_keys(Deletion *deletion, const Chunk *from)
{
	for (size_t i = 0; i < from->count; i++)
		if (!move_key(deletion, from, i, owner_of(deletion, chunk_key(from, i)), CHUNK_SINGLY, 0))
			return false;
	return true;
}

static bool
belongs_to(const Deletion *deletion, const Chunk *chunk, const Node *node)
{
	for (size_t i = 0; i < chunk->count; i++)
		if (owner_of(deletion, chunk_key(chunk, i)) != node)
			return false;
	return true;
}

/* What is to be deleted again goes where it belongs now. false: out of memory. */
static bool
reroute_again(Deletion *deletion, Node *node)
{
	ChunkList kept = {0};
	Chunk    *chunk;
	bool      fine = true;

	while (fine && (chunk = recent_take(&node->recent)) != NULL)
	{
		bool stays = belongs_to(deletion, chunk, node);

		fine = stays || move_all_keys(deletion, chunk);
		if (stays || !fine)
			chunk_list_prepend(&kept, chunk);
		else
			chunk_release(&node->keys, chunk);
	}
	while ((chunk = chunk_list_take(&kept)) != NULL)
		recent_put_back(&node->recent, chunk);
	return fine;
}

/* What waits here and belongs elsewhere goes there. false: out of memory, the rest stays. */
static bool
reroute_node(Deletion *deletion, Node *node)
{
	ChunkList waiting = {0}, kept = {0};
	Chunk    *chunk;
	bool      fine = true;

	while ((chunk = chunks_take(&node->keys)) != NULL)
		chunk_list_append(&waiting, chunk);
	while ((chunk = chunk_list_take(&waiting)) != NULL)
	{
		if (fine && !belongs_to(deletion, chunk, node))
		{
			fine = move_all_keys(deletion, chunk);
			if (fine)
			{
				waiters_end(&chunk->waiters, &deletion->tickets);
				chunk_release(&node->keys, chunk);
				continue;
			}
		}
		chunk_list_prepend(&kept, chunk);
	}
	while ((chunk = chunk_list_take(&kept)) != NULL)
		chunks_put_back(&node->keys, chunk);
	return fine && reroute_again(deletion, node);
}

bool
deletion_reroute(Deletion *deletion)
{
	bool fine = true;

	for (int i = 0; i < deletion->node_end; i++)
		if (deletion->nodes[i] != NULL)
			fine &= reroute_node(deletion, deletion->nodes[i]);
	return fine;
}

bool
deletion_remove_node(Deletion *deletion, int index)
{
	Node          *node = deletion->nodes[index];
	Chunk         *chunk;
	RecentPattern *pattern;

	deletion_lost(deletion, index);
	/* Earlier than it should be, but deleted a second time. */
	node->second.hurried = true;
	while ((chunk = second_take(&node->second, 0)) != NULL)
		chunks_put_back(&node->keys, chunk);
	if (!reroute_node(deletion, node) || node->keys.list.head != NULL)
		return false;
	while ((pattern = recent_take_pattern(&node->recent)) != NULL)
		recent_put_back_pattern(&deletion->nodes[DELETION_NODE]->recent, pattern);
	if (node->ping != NULL)
		waiters_end(&node->ping->waiters, &deletion->tickets);
	if (node->in_round)
		deletion_break_round(deletion);
	deletion->nodes[index] = NULL;
	node_free(node);
	share_memory(deletion);
	return true;
}

/* ---- sending ---- */

MqResult
node_send(const Deletion *deletion, const Node *node, Chunk *chunk)
{
	return deletion->output.send(deletion->output.send_context, node->index, chunk_commands(chunk),
	                             chunk_answers(chunk));
}

void
node_push(Deletion *deletion, Node *node, Command command)
{
	size_t i = (node->flight_first + node->flight_count++) % DELETION_WINDOW;

	node->in_flight[i] = command;
	if (command.kind == COMMAND_KEYS || command.kind == COMMAND_FOUND)
		deletion->counters.keys_sent += command.chunk->count;
}

static void
send_keys(Deletion *deletion, Node *node, int64_t now_us)
{
	while (node->keys.list.head != NULL && !window_is_full(node))
	{
		if (node_send(deletion, node, node->keys.list.head) != MQ_OK)
			return;
		node_push(
			deletion, node,
			(Command){.kind = COMMAND_KEYS, .chunk = chunks_take(&node->keys), .sent_us = now_us});
	}
}

static bool
second_has_room(const Node *node)
{
	return !window_is_full(node) && node->second_in_flight < DELETION_SECOND_WINDOW;
}

static void
send_second(Deletion *deletion, Node *node, int64_t now_us)
{
	Chunk *chunk;

	while (second_has_room(node) && (chunk = second_take(&node->second, now_us)) != NULL)
	{
		if (node_send(deletion, node, chunk) != MQ_OK)
		{
			second_put_back(&node->second, chunk);
			return;
		}
		node->second_in_flight++;
		deletion->counters.keys_again += chunk->count;
		node_push(deletion, node,
		          (Command){.kind = COMMAND_SECOND, .chunk = chunk, .sent_us = now_us});
	}
}

static void
send_again(Deletion *deletion, Node *node, int64_t now_us)
{
	Chunk *chunk;

	while (!window_is_full(node) && node->again_in_flight < DELETION_AGAIN_WINDOW &&
	       (chunk = recent_take(&node->recent)) != NULL)
	{
		if (node_send(deletion, node, chunk) != MQ_OK)
		{
			recent_put_back(&node->recent, chunk);
			return;
		}
		node->again_in_flight++;
		node_push(deletion, node,
		          (Command){.kind = COMMAND_AGAIN, .chunk = chunk, .sent_us = now_us});
	}
}

static void
send_probe(Deletion *deletion, Node *node, int64_t now_us)
{
	if (node->probe_in_flight || window_is_full(node) ||
	    node_send(deletion, node, node->probe) != MQ_OK)
		return;
	node->probe_in_flight = true;
	node_push(deletion, node,
	          (Command){.kind = COMMAND_PROBE, .chunk = node->probe, .sent_us = now_us});
}

static void
send_ping(Deletion *deletion, Node *node, int64_t now_us)
{
	if (node->ping == NULL || node->ping_in_flight || window_is_full(node) ||
	    deletion->output.send(deletion->output.send_context, node->index, mq_bytes_of(PING), 1) !=
	        MQ_OK)
		return;
	node->ping_in_flight = true;
	node_push(deletion, node,
	          (Command){.kind = COMMAND_PING, .chunk = node->ping, .sent_us = now_us});
}

void
deletion_send(Deletion *deletion, int index, int64_t now_us)
{
	Node *node = deletion->nodes[index];

	if (node->probe != NULL)
	{
		send_probe(deletion, node, now_us);
		return;
	}
	rounds_send(deletion, node, now_us);
	send_again(deletion, node, now_us);
	send_second(deletion, node, now_us);
	send_keys(deletion, node, now_us);
	send_ping(deletion, node, now_us);
}

MqResult
deletion_ask(Deletion *deletion, int index, MqBytes command, uint64_t question, int64_t now_us)
{
	Node    *node = deletion->nodes[index];
	MqResult result;

	if (window_is_full(node))
		return MQ_FULL;
	result = deletion->output.send(deletion->output.send_context, index, command, 1);
	if (result == MQ_OK)
		node_push(deletion, node,
		          (Command){.kind = COMMAND_ASKED, .question = question, .sent_us = now_us});
	return result;
}

/* ---- replies ---- */

static Command *
flight_head(Node *node)
{
	return &node->in_flight[node->flight_first];
}

Command
node_pop(Deletion *deletion, Node *node, int64_t now_us)
{
	Command command = *flight_head(node);

	node->flight_first = (node->flight_first + 1) % DELETION_WINDOW;
	node->flight_count--;
	histogram_add(&deletion->counters.round_trip, now_us - command.sent_us);
	return command;
}

static void
tell_deleted(const Deletion *deletion, const Chunk *chunk, size_t answer)
{
	size_t first = chunk_key_of_answer(chunk, answer);
	size_t end = chunk->form == CHUNK_TOGETHER ? chunk->count : first + 1;

	if (deletion->output.deleted == NULL)
		return;
	for (size_t i = first; i < end; i++)
		deletion->output.deleted(deletion->output.context, chunk_key(chunk, i));
}

/* Its last answer has come. */
static void
chunk_answered(Deletion *deletion, Node *node, int64_t now_us)
{
	Command command = node_pop(deletion, node, now_us);

	waiters_end(&command.chunk->waiters, &deletion->tickets);
	if (command.kind != COMMAND_PROBE)
		deletion->counters.keys_unkept += recent_add(&node->recent, &node->keys, command.chunk);
	switch (command.kind)
	{
	case COMMAND_KEYS:
	case COMMAND_FOUND:
		second_add(&node->second, &node->keys, command.chunk, now_us);
		break;
	case COMMAND_SECOND:
		node->second_in_flight--;
		chunk_release(&node->keys, command.chunk);
		break;
	case COMMAND_AGAIN:
		node->again_in_flight--;
		chunk_release(&node->keys, command.chunk);
		break;
	case COMMAND_PROBE:
		chunk_release(&node->keys, node->probe);
		node->probe = NULL;
		node->probe_in_flight = false;
		break;
	case COMMAND_PING:
	case COMMAND_SCAN:
	case COMMAND_ASKED:
		assert(false);
	}
	rounds_mind(deletion);
}

/* Remembers what was refused, to try just that until it is taken. Out of memory: without a probe
 * the whole work is tried again instead. */
static void
keep_probe(Node *node, const Command *command)
{
	const Chunk *chunk = command->chunk;
	size_t       first = chunk_key_of_answer(chunk, command->answered);
	size_t       end = chunk->form == CHUNK_TOGETHER ? chunk->count : first + 1;
	Chunk       *probe = chunk_get(&node->keys);
	bool         fine = probe != NULL;

	for (size_t i = first; fine && i < end; i++)
		fine = chunk_append(probe, mq_bytes(NULL, 0), chunk_key(chunk, i));
	if (!fine)
	{
		chunk_release(&node->keys, probe);
		probe = NULL;
	}
	chunk_release(&node->keys, node->probe);
	node->probe = probe;
}

/* It stays in flight: deletion_lost puts it back with the others. */
static DeletionVerdict
unlink_refused(Node *node, const Command *command, const redisReply *reply, char *error)
{
	bool asking = chunk_answer_is_asking(command->chunk, command->answered);

	refusal_describe(error, PROBLEM_BYTES, reply, asking ? "ASKING" : "UNLINK");
	if (command->kind != COMMAND_PROBE)
		keep_probe(node, command);
	return reply->type == REDIS_REPLY_ERROR ? refusal_classify(reply->str, reply->len)
	                                        : DELETION_PASSING;
}

/* Sends the key where the node says it is. false: it says nothing of the kind, or too often. */
static bool
follow(Deletion *deletion, const Node *node, const Command *command, const redisReply *reply)
{
	bool asking = false;
	int  hops = command->chunk->hops + 1;
	int  to;

	if (reply->type != REDIS_REPLY_ERROR || !has_many_nodes(deletion) || hops > DELETION_MAX_HOPS)
		return false;
	to = deletion->output.redirected(deletion->output.send_context, node->index,
	                                 mq_bytes(reply->str, reply->len), &asking);
	if (to == DELETION_NO_NODE)
		return false;
	if (command->orphan || command->kind == COMMAND_PROBE)
		return true;
	return move_key(deletion, command->chunk,
	                chunk_key_of_answer(command->chunk, command->answered), deletion->nodes[to],
	                asking ? CHUNK_ASKING : CHUNK_SINGLY, hops);
}

static DeletionVerdict
unlink_answered(Deletion *deletion, Node *node, const redisReply *reply, int64_t now_us,
                char *error)
{
	Command *command = flight_head(node);

	if (chunk_answer_is_asking(command->chunk, command->answered))
	{
		if (reply->type != REDIS_REPLY_STATUS)
			return unlink_refused(node, command, reply, error);
	}
	else if (reply->type == REDIS_REPLY_INTEGER)
	{
		tell_deleted(deletion, command->chunk, command->answered);
		deletion->counters.keys_deleted += reply->integer > 0 ? (uint64_t) reply->integer : 0;
	}
	else if (!follow(deletion, node, command, reply))
		return unlink_refused(node, command, reply, error);
	if (++command->answered == chunk_answers(command->chunk))
		chunk_answered(deletion, node, now_us);
	return DELETION_DONE;
}

/* Refused, it stays in flight, too. */
static DeletionVerdict
ping_answered(Deletion *deletion, Node *node, const redisReply *reply, int64_t now_us, char *error)
{
	if (reply->type != REDIS_REPLY_STATUS)
	{
		refusal_describe(error, PROBLEM_BYTES, reply, "PING");
		return reply->type == REDIS_REPLY_ERROR ? refusal_classify(reply->str, reply->len)
		                                        : DELETION_PASSING;
	}
	(void) node_pop(deletion, node, now_us);
	waiters_end(&node->ping->waiters, &deletion->tickets);
	chunk_release(&node->keys, node->ping);
	node->ping = NULL;
	node->ping_in_flight = false;
	return DELETION_DONE;
}

DeletionVerdict
deletion_reply(Deletion *deletion, int index, const struct redisReply *reply, int64_t now_us,
               char *error)
{
	Node *node = deletion->nodes[index];

	if (node->flight_count == 0)
	{
		snprintf(error, PROBLEM_BYTES, "an answer nobody asked for");
		return DELETION_PASSING;
	}
	switch (flight_head(node)->kind)
	{
	case COMMAND_KEYS:
	case COMMAND_FOUND:
	case COMMAND_SECOND:
	case COMMAND_AGAIN:
	case COMMAND_PROBE:
		return unlink_answered(deletion, node, reply, now_us, error);
	case COMMAND_PING:
		return ping_answered(deletion, node, reply, now_us, error);
	case COMMAND_SCAN:
		rounds_step_answered(deletion, node, reply, now_us);
		break;
	case COMMAND_ASKED:
		return deletion->output.answered(deletion->output.send_context, index,
		                                 node_pop(deletion, node, now_us).question, reply, error);
	}
	return DELETION_DONE;
}

/* ---- losing and forgetting ---- */

static void
command_lost(Deletion *deletion, Node *node, const Command *command)
{
	switch (command->kind)
	{
	case COMMAND_KEYS:
		if (!command->orphan)
		{
			chunks_put_back(&node->keys, command->chunk);
			return;
		}
		chunk_release(&node->keys, command->chunk);
		break;
	case COMMAND_FOUND: /* to be found again */
		waiters_end(&command->chunk->waiters, &deletion->tickets);
		chunk_release(&node->keys, command->chunk);
		break;
	case COMMAND_SECOND:
		second_put_back(&node->second, command->chunk);
		break;
	case COMMAND_AGAIN:
		recent_put_back(&node->recent, command->chunk);
		break;
	case COMMAND_PROBE:
	case COMMAND_PING:
	case COMMAND_SCAN:
	case COMMAND_ASKED:
		break;
	}
}

void
deletion_lost(Deletion *deletion, int index)
{
	Node *node = deletion->nodes[index];

	while (node->flight_count > 0)
	{
		size_t last = (node->flight_first + --node->flight_count) % DELETION_WINDOW;

		command_lost(deletion, node, &node->in_flight[last]);
	}
	node->second_in_flight = 0;
	node->again_in_flight = 0;
	node->probe_in_flight = false;
	node->ping_in_flight = false;
	recent_again(&node->recent);
	scan_restart(&node->scan, &node->keys);
	node->scan.due_us = 0;
}

void
deletion_keep_recent(Deletion *deletion, int64_t keep_us)
{
	deletion->keep_us = keep_us;
	for (int i = 0; i < deletion->node_end; i++)
		if (deletion->nodes[i] != NULL)
			deletion->nodes[i]->recent.keep_us = keep_us;
}

void
deletion_replicas(Deletion *deletion, int index, const Role *role, bool replicated, int64_t now_us)
{
	Node *node = deletion->nodes[index];

	recent_role(&node->recent, &node->keys, role->offset, replicated, role->acknowledged, now_us);
}

bool
deletion_keeps_recent(const Deletion *deletion, int node)
{
	return recent_has_kept(&deletion->nodes[node]->recent);
}

bool
deletion_has_again(const Deletion *deletion)
{
	for (int i = 0; i < deletion->node_end; i++)
	{
		const Node *node = deletion->nodes[i];

		if (node != NULL && (recent_has_again(&node->recent) || node->again_in_flight > 0))
			return true;
	}
	return deletion->again != NULL;
}

void
deletion_hurry(Deletion *deletion)
{
	deletion->hurried = true;
	for (int i = 0; i < deletion->node_end; i++)
		if (deletion->nodes[i] != NULL)
			deletion->nodes[i]->second.hurried = true;
}

bool
deletion_has_second(const Deletion *deletion)
{
	for (int i = 0; i < deletion->node_end; i++)
	{
		const Node *node = deletion->nodes[i];

		if (node != NULL && (node->second.list.head != NULL || node->second_in_flight > 0))
			return true;
	}
	return false;
}

static void
node_forget(Node *node)
{
	for (size_t i = 0; i < node->flight_count; i++)
	{
		Command *command = &node->in_flight[(node->flight_first + i) % DELETION_WINDOW];

		command->orphan = true;
		if (command->chunk != NULL)
			waiters_forget(&command->chunk->waiters);
	}
	if (node->ping != NULL)
		waiters_forget(&node->ping->waiters);
	chunks_clear(&node->keys);
	scan_forgive(&node->scan);
}

void
deletion_forget(Deletion *deletion)
{
	for (int i = 0; i < deletion->node_end; i++)
		if (deletion->nodes[i] != NULL)
			node_forget(deletion->nodes[i]);
	rounds_stop(deletion);
	patterns_clear(&deletion->patterns);
	if (deletion->again != NULL)
		recent_put_back_pattern(&deletion->nodes[DELETION_NODE]->recent, deletion->again);
	deletion->again = NULL;
	tickets_clear(&deletion->tickets);
	deletion->open_ticket = TICKET_NONE;
	deletion->round_ticket = tickets_open(&deletion->tickets); /* there is a slot */
}

/* ---- asking ---- */

bool
deletion_is_troubled(const Deletion *deletion, int node)
{
	return deletion->nodes[node]->probe != NULL;
}

const char *
deletion_scan_problem(const Deletion *deletion)
{
	for (int i = 0; i < deletion->node_end; i++)
		if (deletion->nodes[i] != NULL && deletion->nodes[i]->scan.problem[0] != '\0')
			return deletion->nodes[i]->scan.problem;
	return "";
}

int64_t
deletion_due_us(const Deletion *deletion, int index)
{
	const Node *node = deletion->nodes[index];
	const Scan *scan = &node->scan;
	int64_t     due_us = INT64_MAX;

	if (node->probe != NULL)
		return due_us;
	if (second_has_room(node))
		due_us = second_due_us(&node->second);
	if (scan->due_us > 0 && scan->due_us < due_us && !scan->step_in_flight &&
	    patterns_head(&deletion->patterns) != NULL)
		due_us = scan->due_us;
	return due_us;
}

size_t
deletion_waiting_bytes(const Deletion *deletion)
{
	size_t bytes = deletion->patterns.held_bytes;

	for (int i = 0; i < deletion->node_end; i++)
		if (deletion->nodes[i] != NULL)
			bytes += deletion->nodes[i]->keys.held_bytes;
	return bytes;
}

size_t
deletion_in_flight(const Deletion *deletion, int node)
{
	return deletion->nodes[node]->flight_count;
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
	if (deletion->round_ticket != TICKET_NONE)
		deletion_forget(deletion);
	for (int i = 0; i < deletion->node_end; i++)
	{
		if (deletion->nodes[i] == NULL)
			continue;
		deletion_lost(deletion, i);
		node_free(deletion->nodes[i]);
	}
	patterns_free(&deletion->patterns);
	tickets_free(&deletion->tickets);
	mq_buffer_free(&deletion->whole_key);
	free(deletion->prefix);
	free(deletion);
}
