/*
 * cluster.c
 *    See cluster.h.
 */
#include "worker/cluster.h"

#include "wire/stream.h"
#include "worker/polled.h"
#include "worker/redis.h"
#include "worker/refusal.h"
#include "worker/role.h"
#include "worker/survey.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_SLOTS "*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n"
#define ASK_NODES "*2\r\n$7\r\nCLUSTER\r\n$5\r\nNODES\r\n"
#define ASK_ROLE "*1\r\n$4\r\nROLE\r\n"
#define ANSWER_LIMIT_US ((int64_t) 2000000)
#define MAP_PAUSE_US ((int64_t) 100000)    /* the map is asked for no more often */
#define MAP_PATIENCE_US ((int64_t) 500000) /* then another node is asked for it */
#define MAP_AGAIN_US ((int64_t) 250000)    /* while not all is well */
#define SURVEY_PAUSE_US ((int64_t) 100000) /* after one that led to nothing */
#define KEEP_US ((int64_t) 10000000)       /* a node that is not in the map, after its last ASK */
#define ROLE_US ((int64_t) 1000000)
#define RECENT_US ((int64_t) 45000000) /* what no replica has; a fail-over takes less */

typedef struct ClusterNode
{
	RedisHost  host;
	char       name[280];
	RedisLink *link;
	bool       in_map;
	bool       was_ready;
	bool       confirmed;
	uint64_t   ready_serial; /* maps asked for later may confirm it */
	int64_t    used_us;      /* the last ASK */
	bool       surveyed;     /* has been asked in the present survey */
	int        replicas;     /* by the map */
	bool       role_asked;
	int64_t    role_due_us;
	char       problem[CACHE_PROBLEM_BYTES];
} ClusterNode;

struct Cluster
{
	RedisUrl     url;
	char         name[600];
	TlsContext  *certificates;
	uint64_t     seed;
	Deletion    *deletion;
	ClusterNode *nodes[DELETION_MAX_NODES]; /* by the deletion's number; NULL: free */
	int          node_end;
	int64_t      now_us; /* of this turn */

	bool     has_map;
	int16_t  owner[SLOT_COUNT];
	int      unowned;     /* slots */
	SlotMap  map;         /* the last answer */
	uint64_t map_asked;   /* serial of the last question */
	uint64_t map_applied; /* of the newest answer */
	bool     map_wanted;
	int64_t  map_asked_us;
	int      map_node; /* asked last */

	Survey   survey;
	int64_t  survey_due_us;
	uint64_t survey_map;  /* the map that the survey rests on; 0: none runs */
	int      survey_open; /* answers that are still to come */
	bool     survey_waits;

	CacheHealth health;
	char        problem[CACHE_PROBLEM_BYTES];
};

/* What is asked, beside the serial. */
typedef enum Question
{
	QUESTION_MAP,
	QUESTION_CLAIMS,
	QUESTION_ROLE
} Question;

static uint64_t
question(uint64_t serial, Question kind)
{
	return serial << 2 | kind;
}

/* ---- nodes ---- */

static bool
is_ready(const ClusterNode *node)
{
	return redis_link_state(node->link) == REDIS_READY;
}

static bool
is_usable(const Cluster *cluster, int i)
{
	const ClusterNode *node = cluster->nodes[i];

	return is_ready(node) && (node->confirmed || !node->in_map) &&
	       !deletion_is_troubled(cluster->deletion, i);
}

static bool
is_host(const RedisHost *a, const RedisHost *b)
{
	return a->port == b->port && strcmp(a->host, b->host) == 0;
}

static ClusterNode *
node_new(const Cluster *cluster, const RedisHost *host, uint64_t seed)
{
	ClusterNode *node = calloc(1, sizeof(*node));
	RedisUrl     url = cluster->url;

	if (node == NULL)
		return NULL;
	node->host = *host;
	redis_host_describe(host, node->name, sizeof(node->name));
	memcpy(url.host, host->host, sizeof(url.host));
	url.port = host->port;
	node->link = redis_link_new(&url, cluster->certificates, seed);
	explicit_bzero(&url, sizeof(url));
	if (node->link == NULL)
	{
		free(node);
		return NULL;
	}
	redis_link_limit_answers(node->link, ANSWER_LIMIT_US);
	return node;
}

static void
node_free(ClusterNode *node)
{
	redis_link_free(node->link);
	free(node);
}

/* The deletion's number of the node at this address, which is made if it is not there.
 * DELETION_NO_NODE: too many, or out of memory. */
static int
node_at(Cluster *cluster, const RedisHost *host)
{
	ClusterNode *node;
	int          i;

	for (i = 0; i < cluster->node_end; i++)
		if (cluster->nodes[i] != NULL && is_host(&cluster->nodes[i]->host, host))
			return i;
	i = deletion_add_node(cluster->deletion);
	if (i == DELETION_NO_NODE)
		return i;
	node = node_new(cluster, host, cluster->seed + (uint64_t) i);
	if (node == NULL)
	{
		deletion_remove_node(cluster->deletion, i); /* nothing waits there yet */
		return DELETION_NO_NODE;
	}
	cluster->nodes[i] = node;
	if (i >= cluster->node_end)
		cluster->node_end = i + 1;
	return i;
}

static void
node_failed(Cluster *cluster, int i, const char *reason)
{
	ClusterNode *node = cluster->nodes[i];

	deletion_lost(cluster->deletion, i);
	snprintf(node->problem, sizeof(node->problem), "node %s%s: %.180s", node->name,
	         node->in_map && !node->was_ready ? ", as the cluster announces it" : "", reason);
	node->confirmed = false;
	node->role_asked = false;
	cluster->map_wanted = true;
	if (cluster->survey_map != 0 && node->surveyed)
		cluster->survey_map = 0; /* its answer does not come */
}

/* ---- the map ---- */

static bool
has_ready_owner(const Cluster *cluster)
{
	for (int i = 0; i < cluster->node_end; i++)
		if (cluster->nodes[i] != NULL && cluster->nodes[i]->in_map && is_ready(cluster->nodes[i]))
			return true;
	return false;
}

/* Is there anybody else who could name this one? */
static bool
has_other_ready_owner(const Cluster *cluster, int self)
{
	for (int i = 0; i < cluster->node_end; i++)
		if (i != self && cluster->nodes[i] != NULL && cluster->nodes[i]->in_map &&
		    is_ready(cluster->nodes[i]))
			return true;
	return false;
}

static bool
has_ready_node(const Cluster *cluster)
{
	for (int i = 0; i < cluster->node_end; i++)
		if (cluster->nodes[i] != NULL && is_ready(cluster->nodes[i]))
			return true;
	return false;
}

/* The nodes of the URL are asked while no owner is there. */
static void
mind_seeds(Cluster *cluster)
{
	if (has_ready_owner(cluster))
		return;
	for (int i = 0; i < cluster->url.host_count; i++)
		node_at(cluster, &cluster->url.hosts[i]);
}

static bool
is_seed(const Cluster *cluster, const ClusterNode *node)
{
	for (int i = 0; i < cluster->url.host_count; i++)
		if (is_host(&cluster->url.hosts[i], &node->host))
			return true;
	return false;
}

/* Gives up nodes that own nothing and are not needed any more. */
static void
sweep(Cluster *cluster)
{
	bool needs_seeds = !has_ready_owner(cluster);

	for (int i = 0; i < cluster->node_end; i++)
	{
		ClusterNode *node = cluster->nodes[i];

		if (node == NULL || node->in_map || (needs_seeds && is_seed(cluster, node)) ||
		    (node->used_us != 0 && cluster->now_us < node->used_us + KEEP_US))
			continue;
		if (!deletion_remove_node(cluster->deletion, i))
			continue;
		node_free(node);
		cluster->nodes[i] = NULL;
	}
}

/* Asks the next ready node. false: none has room for a question. */
static bool
ask_map(Cluster *cluster)
{
	for (int n = 0; n < cluster->node_end; n++)
	{
		int i = (cluster->map_node + 1 + n) % cluster->node_end;

		if (cluster->nodes[i] == NULL || !is_ready(cluster->nodes[i]) ||
		    deletion_ask(cluster->deletion, i, mq_bytes_of(ASK_SLOTS),
		                 question(cluster->map_asked + 1, QUESTION_MAP), cluster->now_us) != MQ_OK)
			continue;
		cluster->map_asked++;
		cluster->map_asked_us = cluster->now_us;
		cluster->map_node = i;
		cluster->map_wanted = false;
		return true;
	}
	cluster->map_asked_us = cluster->now_us; /* not at once again */
	return false;
}

/* When to ask for the map again. */
static int64_t
map_due_us(const Cluster *cluster)
{
	if (cluster->map_wanted)
		return cluster->map_asked_us +
		       (cluster->map_asked > cluster->map_applied ? MAP_PATIENCE_US : MAP_PAUSE_US);
	if (cluster->map_asked > cluster->map_applied)
		return cluster->map_asked_us + MAP_PATIENCE_US;
	return cluster->health == CACHE_WORKS ? STREAM_NEVER : cluster->map_asked_us + MAP_AGAIN_US;
}

/* Who was connected to before the map was asked for, and is named by another node, is an owner indeed. */
static void
confirm_owners(Cluster *cluster, int teller, uint64_t serial)
{
	for (int i = 0; i < cluster->node_end; i++)
	{
		ClusterNode *node = cluster->nodes[i];

		if (node == NULL || !node->in_map || node->confirmed || !is_ready(node))
			continue;
		if (serial > node->ready_serial && (i != teller || !has_other_ready_owner(cluster, i)))
			node->confirmed = true;
		else
			cluster->map_wanted = true;
	}
}

/* Takes what one node knows of all slots. */
static void
apply_map(Cluster *cluster)
{
	int16_t numbers[SLOTS_MAX_MASTERS] = {0};
	bool    changed = false;

	for (int i = 0; i < cluster->map.master_count; i++)
	{
		numbers[i] = (int16_t) node_at(cluster, &cluster->map.masters[i].host);
		if (numbers[i] != DELETION_NO_NODE)
			cluster->nodes[numbers[i]]->replicas = cluster->map.masters[i].replicas;
	}
	for (int i = 0; i < cluster->node_end; i++)
		if (cluster->nodes[i] != NULL)
			cluster->nodes[i]->in_map = false;
	cluster->unowned = 0;
	for (int slot = 0; slot < SLOT_COUNT; slot++)
	{
		int     master = cluster->map.owner[slot];
		int16_t owner = master == SLOT_NO_OWNER ? SLOT_NO_OWNER : numbers[master];

		changed |= owner != cluster->owner[slot];
		cluster->owner[slot] = owner;
		if (owner != SLOT_NO_OWNER)
			cluster->nodes[owner]->in_map = true;
		else
			cluster->unowned++;
	}
	for (int i = 0; i < cluster->node_end; i++)
		if (cluster->nodes[i] != NULL)
			deletion_node_is_scanned(cluster->deletion, i, cluster->nodes[i]->in_map);
	cluster->has_map = true;
	if (changed && !deletion_reroute(cluster->deletion))
		cluster->map_wanted = true; /* out of memory: what is left is sent on by MOVED */
}

/* A plain server, a node that may not be asked. */
static DeletionVerdict
refuse_map(const redisReply *reply, char *error)
{
	if (reply->type == REDIS_REPLY_ERROR)
	{
		refusal_describe(error, CACHE_PROBLEM_BYTES, reply, "CLUSTER SLOTS");
		return refusal_classify(reply->str, reply->len);
	}
	snprintf(error, CACHE_PROBLEM_BYTES, "CLUSTER SLOTS: an answer that is not understood");
	return DELETION_SETTINGS;
}

static DeletionVerdict
take_map(Cluster *cluster, int from, uint64_t serial, const redisReply *reply, char *error)
{
	ClusterNode *node = cluster->nodes[from];

	if (serial <= cluster->map_applied)
		return DELETION_DONE; /* a newer one was faster */
	if (!slot_map_parse(&cluster->map, reply, &node->host))
		return refuse_map(reply, error);
	if (cluster->map.master_count == 0)
	{
		snprintf(error, CACHE_PROBLEM_BYTES, "it knows no node that owns slots");
		return DELETION_PASSING;
	}
	cluster->map_applied = serial;
	apply_map(cluster);
	confirm_owners(cluster, from, serial);
	if (!node->in_map)
	{
		node->problem[0] = '\0';
		redis_link_worked(node->link);
	}
	return DELETION_DONE;
}

/* ---- the survey ---- */

static DeletionVerdict
take_claims(Cluster *cluster, int from, uint64_t serial, const redisReply *reply, char *error)
{
	SlotClaims claims;

	if (reply->type == REDIS_REPLY_ERROR)
	{
		refusal_describe(error, CACHE_PROBLEM_BYTES, reply, "CLUSTER NODES");
		return refusal_classify(reply->str, reply->len);
	}
	if (reply->type != REDIS_REPLY_STRING ||
	    !slot_claims_parse(&claims, mq_bytes(reply->str, reply->len), &cluster->map))
	{
		snprintf(error, CACHE_PROBLEM_BYTES, "CLUSTER NODES: an answer that is not understood");
		return DELETION_SETTINGS;
	}
	if (serial != cluster->survey_map)
		return DELETION_DONE; /* of a survey that was given up */
	survey_claim(&cluster->survey, from, &claims);
	cluster->survey_open--;
	return DELETION_DONE;
}

static bool
all_owners_are_usable(const Cluster *cluster)
{
	for (int i = 0; i < cluster->node_end; i++)
		if (cluster->nodes[i] != NULL && cluster->nodes[i]->in_map && !is_usable(cluster, i))
			return false;
	return cluster->has_map;
}

/* A map that is asked for from now on, so that no master is missing. */
static void
begin_survey(Cluster *cluster)
{
	if (!ask_map(cluster))
	{
		cluster->survey_due_us = cluster->now_us + SURVEY_PAUSE_US;
		return;
	}
	survey_begin(&cluster->survey);
	cluster->survey_map = cluster->map_asked;
	cluster->survey_open = 0;
	for (int i = 0; i < cluster->node_end; i++)
		if (cluster->nodes[i] != NULL)
			cluster->nodes[i]->surveyed = false;
}

/* false: some owner could not be asked yet. */
static bool
ask_claims(Cluster *cluster)
{
	for (int i = 0; i < cluster->node_end; i++)
	{
		ClusterNode *node = cluster->nodes[i];

		if (node == NULL || !node->in_map || node->surveyed)
			continue;
		if (deletion_ask(cluster->deletion, i, mq_bytes_of(ASK_NODES),
		                 question(cluster->survey_map, QUESTION_CLAIMS), cluster->now_us) != MQ_OK)
			return false;
		node->surveyed = true;
		cluster->survey_open++;
	}
	return true;
}

static void
judge_survey(Cluster *cluster)
{
	SurveyVerdict verdict =
		survey_judge(&cluster->survey, deletion_round_is_over(cluster->deletion));

	if (verdict == SURVEY_COMPLETE)
	{
		deletion_end_pattern(cluster->deletion);
		cluster->survey_waits = false;
		if (!deletion_wants_survey(cluster->deletion))
			return;
		verdict = survey_judge(&cluster->survey, false); /* it serves the next pattern as well */
	}
	cluster->survey_waits = verdict == SURVEY_WAIT;
	if (verdict == SURVEY_SCAN)
		deletion_begin_round(cluster->deletion);
	else
	{
		deletion_break_round(cluster->deletion);
		cluster->survey_due_us = cluster->now_us + SURVEY_PAUSE_US;
	}
}

static void
mind_survey(Cluster *cluster)
{
	if (!deletion_wants_survey(cluster->deletion) || !all_owners_are_usable(cluster))
	{
		cluster->survey_map = 0;
		return;
	}
	if (cluster->survey_map == 0)
	{
		if (cluster->now_us >= cluster->survey_due_us)
			begin_survey(cluster);
		return;
	}
	if (cluster->map_applied < cluster->survey_map || !ask_claims(cluster) ||
	    cluster->survey_open > 0)
		return;
	cluster->survey_map = 0;
	judge_survey(cluster);
}

/* ---- replicas ---- */

/* Once a second, while a deletion is kept that they may not have. */
static void
ask_role(Cluster *cluster, int i)
{
	ClusterNode *node = cluster->nodes[i];

	if (!is_ready(node) || node->role_asked || cluster->now_us < node->role_due_us ||
	    !deletion_keeps_recent(cluster->deletion, i) ||
	    deletion_ask(cluster->deletion, i, mq_bytes_of(ASK_ROLE), question(0, QUESTION_ROLE),
	                 cluster->now_us) != MQ_OK)
		return;
	node->role_asked = true;
	node->role_due_us = cluster->now_us + ROLE_US;
}

/* A node that does not tell (an ACL without ROLE) is taken for one whose replicas are away. */
static DeletionVerdict
take_role(Cluster *cluster, int from, const redisReply *reply)
{
	ClusterNode *node = cluster->nodes[from];
	Role         role;
	bool         told = role_parse(reply, &role) && role.is_master;

	node->role_asked = false;
	if (told && role.replicas == 0 && node->replicas == 0)
		role.acknowledged = role.offset; /* nobody will take over */
	deletion_replicas(cluster->deletion, from, &role, told && role.replicas >= node->replicas,
	                  cluster->now_us);
	return DELETION_DONE;
}

/* ---- what the deletion wants to know ---- */

static MqResult
send_commands(void *context, int node, MqBytes commands, size_t count)
{
	const Cluster *cluster = context;

	return redis_link_send(cluster->nodes[node]->link, cluster->now_us, commands, count);
}

static int
find_owner(void *context, MqBytes key)
{
	const Cluster *cluster = context;
	int            owner = cluster->owner[slot_of(key)];

	return owner == SLOT_NO_OWNER ? DELETION_NO_NODE : owner;
}

static int
follow_redirect(void *context, int from, MqBytes error, bool *asking)
{
	Cluster     *cluster = context;
	SlotRedirect redirect;
	int          to;

	if (!slot_redirect_parse(&redirect, error, &cluster->nodes[from]->host))
		return DELETION_NO_NODE;
	to = node_at(cluster, &redirect.host);
	if (to == DELETION_NO_NODE)
		return to;
	*asking = redirect.asking;
	if (redirect.asking)
		cluster->nodes[to]->used_us = cluster->now_us;
	else
	{
		cluster->unowned -= cluster->owner[redirect.slot] == SLOT_NO_OWNER;
		cluster->owner[redirect.slot] = (int16_t) to;
		cluster->nodes[to]->in_map = true;
		cluster->map_wanted = true;
	}
	return to;
}

static DeletionVerdict
take_answer(void *context, int node, uint64_t asked, const struct redisReply *reply, char *error)
{
	switch ((Question) (asked & 3))
	{
	case QUESTION_MAP:
		return take_map(context, node, asked >> 2, reply, error);
	case QUESTION_CLAIMS:
		return take_claims(context, node, asked >> 2, reply, error);
	case QUESTION_ROLE:
		break;
	}
	return take_role(context, node, reply);
}

void
cluster_output(Cluster *cluster, DeletionOutput *output)
{
	output->send_context = cluster;
	output->send = send_commands;
	output->owner = find_owner;
	output->redirected = follow_redirect;
	output->answered = take_answer;
}

/* ---- one turn ---- */

static void
take_event(Cluster *cluster, int i, const RedisEvent *event)
{
	ClusterNode    *node = cluster->nodes[i];
	char            error[CACHE_PROBLEM_BYTES];
	DeletionVerdict verdict;

	switch (event->kind)
	{
	case REDIS_EVENT_READY:
		node->was_ready = true;
		node->ready_serial = cluster->map_asked;
		cluster->map_wanted = true;
		break;
	case REDIS_EVENT_LOST:
		node_failed(cluster, i, event->text);
		break;
	case REDIS_EVENT_REPLY:
		verdict = deletion_reply(cluster->deletion, i, event->reply, cluster->now_us, error);
		if (verdict == DELETION_DONE)
			break;
		redis_link_drop(node->link, verdict == DELETION_SETTINGS, cluster->now_us);
		node_failed(cluster, i, error);
		break;
	case REDIS_EVENT_ROLE: /* of a Master alone */
		break;
	}
}

static bool
node_turn(Cluster *cluster, int i)
{
	ClusterNode *node = cluster->nodes[i];
	RedisEvent   event;
	bool         busy = false;

	redis_link_step(node->link, cluster->now_us);
	while (redis_link_next(node->link, cluster->now_us, &event))
	{
		busy = true;
		take_event(cluster, i, &event);
	}
	ask_role(cluster, i);
	if ((node->in_map || node->used_us != 0) && node->problem[0] != '\0' && is_usable(cluster, i))
	{
		node->problem[0] = '\0';
		redis_link_worked(node->link);
	}
	return busy;
}

/* Of nodes that own slots; before there is a map, of those that are asked for it. */
static void
mind_health(Cluster *cluster)
{
	bool        all = cluster->has_map, any = false;
	const char *problem = "";
	int         asked = 0, failed = 0;

	for (int i = 0; i < cluster->node_end; i++)
	{
		const ClusterNode *node = cluster->nodes[i];

		if (node == NULL || (cluster->has_map && !node->in_map && node->used_us == 0))
			continue;
		asked++;
		failed += node->problem[0] != '\0';
		if (problem[0] == '\0')
			problem = node->problem;
		if (is_usable(cluster, i))
			any |= node->in_map;
		else if (node->problem[0] != '\0' || cluster->health != CACHE_WORKS)
			all = false; /* one that has just joined, and is being connected to, is no trouble */
	}
	all = all && cluster->unowned == 0;
	if (any && all)
		cluster->health = CACHE_WORKS;
	else if (!any || cluster->health != CACHE_AWAY || problem[0] != '\0')
		cluster->health = any ? CACHE_PARTLY : CACHE_AWAY;
	/* Else at the beginning: the others are being connected to. */
	cluster->problem[0] = '\0';
	if (problem[0] != '\0' && (cluster->has_map || failed == asked))
		snprintf(cluster->problem, sizeof(cluster->problem), "%s", problem);
	else if (cluster->has_map && cluster->unowned > 0)
		snprintf(cluster->problem, sizeof(cluster->problem), "%d slots of the cluster have no node",
		         cluster->unowned);
}

const char *
cluster_name(const Cluster *cluster)
{
	return cluster->name;
}

bool
cluster_step(Cluster *cluster, int64_t now_us)
{
	bool busy = false;

	cluster->now_us = now_us;
	mind_seeds(cluster);
	for (int i = 0; i < cluster->node_end; i++)
		if (cluster->nodes[i] != NULL)
			busy |= node_turn(cluster, i);
	if (has_ready_node(cluster) && now_us >= map_due_us(cluster))
		ask_map(cluster);
	mind_survey(cluster);
	sweep(cluster);
	mind_health(cluster);
	return busy;
}

void
cluster_send(Cluster *cluster, int64_t now_us)
{
	cluster->now_us = now_us;
	for (int i = 0; i < cluster->node_end; i++)
	{
		ClusterNode *node = cluster->nodes[i];

		if (node == NULL || !is_ready(node))
			continue;
		if (node->confirmed || !node->in_map)
			deletion_send(cluster->deletion, i, now_us);
		redis_link_flush(node->link, now_us);
	}
}

CacheHealth
cluster_health(const Cluster *cluster)
{
	return cluster->health;
}

const char *
cluster_problem(const Cluster *cluster)
{
	return cluster->problem;
}

const char *
cluster_scan_problem(const Cluster *cluster)
{
	return cluster->survey_waits ? "a slot moves to a node that owns none yet"
	                             : deletion_scan_problem(cluster->deletion);
}

size_t
cluster_poll(const Cluster *cluster, struct pollfd *fds, size_t room)
{
	size_t count = 0;

	for (int i = 0; i < cluster->node_end && count < room; i++)
		if (cluster->nodes[i] != NULL)
			count += polled_add(fds + count, redis_link_fd(cluster->nodes[i]->link),
			                    redis_link_wants(cluster->nodes[i]->link));
	return count;
}

static int64_t
earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

int64_t
cluster_due_us(const Cluster *cluster)
{
	int64_t due_us = has_ready_node(cluster) ? map_due_us(cluster) : STREAM_NEVER;

	for (int i = 0; i < cluster->node_end; i++)
	{
		if (cluster->nodes[i] == NULL)
			continue;
		due_us = earlier(due_us, redis_link_due_us(cluster->nodes[i]->link));
		if (!is_usable(cluster, i))
			continue;
		due_us = earlier(due_us, deletion_due_us(cluster->deletion, i));
		if (!cluster->nodes[i]->role_asked && deletion_keeps_recent(cluster->deletion, i) &&
		    deletion_in_flight(cluster->deletion, i) < DELETION_WINDOW)
			due_us = earlier(due_us, cluster->nodes[i]->role_due_us);
	}
	if (cluster->survey_map == 0 && deletion_wants_survey(cluster->deletion) &&
	    all_owners_are_usable(cluster))
		due_us = earlier(due_us, cluster->survey_due_us);
	return due_us;
}

/* ---- beginning and end ---- */

Cluster *
cluster_new(const RedisUrl *url, TlsContext *certificates, uint64_t seed)
{
	Cluster *cluster = calloc(1, sizeof(*cluster));

	if (cluster == NULL)
		return NULL;
	cluster->url = *url;
	redis_url_describe(url, cluster->name, sizeof(cluster->name));
	cluster->certificates = certificates;
	cluster->seed = seed;
	cluster->map_wanted = true;
	cluster->unowned = SLOT_COUNT;
	for (int i = 0; i < SLOT_COUNT; i++)
		cluster->owner[i] = SLOT_NO_OWNER;
	return cluster;
}

void
cluster_serve(Cluster *cluster, Deletion *deletion)
{
	cluster->deletion = deletion;
	deletion_keep_recent(deletion, RECENT_US);
}

void
cluster_free(Cluster *cluster)
{
	if (cluster == NULL)
		return;
	for (int i = 0; i < cluster->node_end; i++)
		if (cluster->nodes[i] != NULL)
			node_free(cluster->nodes[i]);
	explicit_bzero(&cluster->url, sizeof(cluster->url));
	free(cluster);
}

void
cluster_renew(Cluster *cluster, const RedisUrl *url, TlsContext *certificates)
{
	memcpy(cluster->url.password, url->password, sizeof(url->password));
	cluster->certificates = certificates;
	for (int i = 0; i < cluster->node_end; i++)
		if (cluster->nodes[i] != NULL)
			redis_link_renew(cluster->nodes[i]->link, url, certificates);
}
