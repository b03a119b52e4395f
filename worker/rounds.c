/*
 * rounds.c
 *    Patterns: one after the other, each scanned on every node that takes part, step by step.
 */
#include "worker/deletion_private.h"

#include <stdlib.h>

/* ---- rounds ---- */

void
rounds_mind(Deletion *deletion)
{
	if (deletion->phase != ROUND_SCANNING ||
	    tickets_holds(&deletion->tickets, deletion->round_ticket) > 0)
		return;
	for (int i = 0; i < deletion->node_end; i++)
	{
		const Node *node = deletion->nodes[i];

		if (node != NULL && node->in_round && (!node->scan.at_end || node->scan.found.head != NULL))
			return;
	}
	deletion->phase = ROUND_SCANNED;
	if (!has_many_nodes(deletion))
		deletion_end_pattern(deletion);
}

bool
deletion_wants_survey(const Deletion *deletion)
{
	return has_many_nodes(deletion) && deletion->phase != ROUND_SCANNING &&
	       patterns_head(&deletion->patterns) != NULL;
}

bool
deletion_round_is_over(const Deletion *deletion)
{
	return deletion->phase == ROUND_SCANNED;
}

void
rounds_stop(Deletion *deletion)
{
	for (int i = 0; i < deletion->node_end; i++)
	{
		Node *node = deletion->nodes[i];

		if (node == NULL)
			continue;
		/* A step whose answer is still to come must not be taken for one of the next round. */
		for (size_t j = 0; j < node->flight_count; j++)
		{
			Command *command = &node->in_flight[(node->flight_first + j) % DELETION_WINDOW];

			if (command->kind == COMMAND_SCAN)
				command->orphan = true;
		}
		scan_restart(&node->scan, &node->keys);
		node->in_round = false;
	}
	deletion->phase = ROUND_NONE;
}

void
deletion_begin_round(Deletion *deletion)
{
	rounds_stop(deletion);
	for (int i = 0; i < deletion->node_end; i++)
		if (deletion->nodes[i] != NULL)
			deletion->nodes[i]->in_round = deletion->nodes[i]->is_scanned;
	deletion->phase = ROUND_SCANNING;
}

void
deletion_break_round(Deletion *deletion)
{
	if (deletion->phase != ROUND_NONE)
		rounds_stop(deletion);
}

void
deletion_end_pattern(Deletion *deletion)
{
	Pattern *pattern = patterns_head(&deletion->patterns);

	for (int i = 0; i < deletion->node_end; i++)
		if (deletion->nodes[i] != NULL && deletion->nodes[i]->in_round)
			deletion->counters.patterns_unkept +=
				recent_add_pattern(&deletion->nodes[i]->recent, pattern->bytes);
	waiters_end(&pattern->waiters, &deletion->tickets);
	deletion->counters.patterns++;
	patterns_remove_head(&deletion->patterns);
	free(deletion->again);
	deletion->again = NULL;
	rounds_stop(deletion);
}

/* ---- steps ---- */

/* Of the chunks that a step found, those that fit. false: some are left. */
static bool
send_found(Deletion *deletion, Node *node, int64_t now_us)
{
	ChunkList *found = &node->scan.found;

	while (found->head != NULL)
	{
		Waiters *waiters = &found->head->waiters;

		if (window_is_full(node) ||
		    !waiters_add(waiters, &deletion->tickets, deletion->round_ticket))
			return false;
		if (node_send(deletion, node, found->head) != MQ_OK)
		{
			waiters_end(waiters, &deletion->tickets);
			return false;
		}
		node_push(
			deletion, node,
			(Command){.kind = COMMAND_FOUND, .chunk = chunk_list_take(found), .sent_us = now_us});
	}
	return true;
}

/* At most one step is in flight, and none before the last one's finds are sent: exact keys wait
 * for no more than that. */
static void
send_scan(Deletion *deletion, Node *node, int64_t now_us)
{
	Scan          *scan = &node->scan;
	const Pattern *pattern = patterns_head(&deletion->patterns);
	MqBytes        command;

	if (pattern == NULL || deletion->phase != ROUND_SCANNING || !node->in_round ||
	    scan->step_in_flight || scan->at_end || now_us < scan->due_us || window_is_full(node))
		return;
	command = scan_command(scan, pattern->bytes);
	if (command.data == NULL ||
	    deletion->output.send(deletion->output.send_context, node->index, command, 1) != MQ_OK)
		return;
	patterns_begin(&deletion->patterns);
	scan->step_in_flight = true;
	node_push(deletion, node, (Command){.kind = COMMAND_SCAN, .sent_us = now_us});
}

/* A pattern that was scanned on another server waits behind those of messages. */
static void
queue_pattern_again(Deletion *deletion)
{
	size_t prefix_size = strlen(deletion->patterns.prefix);
	Node  *node = NULL;

	if (patterns_head(&deletion->patterns) != NULL)
		return;
	for (int i = 0; i < deletion->node_end && deletion->again == NULL; i++)
	{
		node = deletion->nodes[i];
		if (node != NULL)
			deletion->again = recent_take_pattern(&node->recent);
	}
	if (deletion->again == NULL ||
	    patterns_add(&deletion->patterns, mq_bytes(deletion->again->bytes.data + prefix_size,
	                                               deletion->again->bytes.size - prefix_size)) !=
	        NULL)
		return;
	recent_put_back_pattern(&node->recent, deletion->again);
	deletion->again = NULL;
}

void
rounds_send(Deletion *deletion, Node *node, int64_t now_us)
{
	queue_pattern_again(deletion);
	if (!has_many_nodes(deletion) && deletion->phase == ROUND_NONE &&
	    patterns_head(&deletion->patterns) != NULL)
		deletion_begin_round(deletion);
	if (send_found(deletion, node, now_us))
		send_scan(deletion, node, now_us);
}

/* A refused SCAN (an ACL without it, say) holds its patterns only: exact keys go on. */
void
rounds_step_answered(Deletion *deletion, Node *node, const struct redisReply *reply, int64_t now_us)
{
	if (!node_pop(deletion, node, now_us).orphan &&
	    scan_answered(&node->scan, &node->keys, reply, now_us))
		rounds_mind(deletion);
}
