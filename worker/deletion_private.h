/*
 * deletion_private.h
 *    What deletion.c and rounds.c share.
 */
#ifndef WORKER_DELETION_PRIVATE_H
#define WORKER_DELETION_PRIVATE_H

#include "worker/chunks.h"
#include "worker/deletion.h"
#include "worker/patterns.h"
#include "worker/recent.h"
#include "worker/scan.h"
#include "worker/second.h"
#include "worker/tickets.h"

typedef enum CommandKind
{
	COMMAND_KEYS,   /* a chunk of the queue */
	COMMAND_SCAN,   /* one step */
	COMMAND_FOUND,  /* what a step found */
	COMMAND_SECOND, /* what was deleted a while ago */
	COMMAND_AGAIN,  /* what another server may not have deleted */
	COMMAND_PROBE,  /* the refused UNLINK once more */
	COMMAND_PING,   /* for messages without keys */
	COMMAND_ASKED   /* a question of our owner's */
} CommandKind;

typedef struct Command
{
	CommandKind kind;
	Chunk      *chunk;    /* owned; PROBE, PING: the node's */
	size_t      answered; /* so many of the chunk's answers have come */
	uint64_t    question; /* ASKED */
	int64_t     sent_us;
	bool        orphan; /* its tickets are forgotten */
} Command;

typedef struct Node
{
	int         index;
	ChunkQueue  keys;
	SecondQueue second;
	size_t      second_in_flight;
	Recent      recent;
	size_t      again_in_flight;
	Scan        scan;
	bool        is_scanned; /* takes part in rounds to come */
	bool        in_round;   /* in the present one */
	Command     in_flight[DELETION_WINDOW];
	size_t      flight_first, flight_count;
	Chunk      *probe; /* a copy of what was refused; NULL: no trouble */
	bool        probe_in_flight;
	Chunk      *ping; /* without keys, for messages that have none; NULL: none waits */
	bool        ping_in_flight;
} Node;

typedef enum RoundPhase
{
	ROUND_NONE,     /* next: SCANNING */
	ROUND_SCANNING, /* the head pattern; next: SCANNED, NONE */
	ROUND_SCANNED   /* every node to its end, and what was found is deleted; next: SCANNING, NONE */
} RoundPhase;

struct Deletion
{
	DeletionOutput output;
	char          *prefix;
	MqBuffer       whole_key; /* with its prefix */
	int64_t        second_delete_us;
	bool           hurried;
	int64_t        keep_us;

	Node *nodes[DELETION_MAX_NODES]; /* NULL: free */
	int   node_end;                  /* behind the last */

	PatternQueue   patterns;
	RecentPattern *again; /* what the head is a copy of; NULL: it is a message's */
	RoundPhase     phase;
	Tickets        tickets;
	uint32_t       open_ticket;  /* of the message that is being added */
	uint32_t       round_ticket; /* waits for what the round found; never closed */

	DeletionCounters counters;
};

static inline bool
has_many_nodes(const Deletion *deletion)
{
	return deletion->output.owner != NULL;
}

static inline bool
window_is_full(const Node *node)
{
	return node->flight_count == DELETION_WINDOW;
}

/* Sends a chunk; whoever did pushes what is under way now. */
MqResult node_send(const Deletion *deletion, const Node *node, Chunk *chunk);
void     node_push(Deletion *deletion, Node *node, Command command);

/* The oldest command under way, which was answered, is not any more. */
Command node_pop(Deletion *deletion, Node *node, int64_t now_us);

/* ---- rounds.c: patterns, one after the other, each scanned on all nodes in a round ---- */

/* What was found goes first, then the next step. */
void rounds_send(Deletion *deletion, Node *node, int64_t now_us);

void rounds_step_answered(Deletion *deletion, Node *node, const struct redisReply *reply,
                          int64_t now_us);

/* Is every node at its end, and everything found deleted? */
void rounds_mind(Deletion *deletion);

/* There is no round any more: what its steps still bring counts for nothing. */
void rounds_stop(Deletion *deletion);

#endif
