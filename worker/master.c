/*
 * master.c
 *    See master.h.
 */
#include "worker/master.h"

#include "wire/stream.h"
#include "worker/polled.h"
#include "worker/refusal.h"
#include "worker/role.h"
#include "worker/sentinel.h"

#include <assert.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES 600
#define TEXT_BYTES 512
#define ROLE_COMMAND "*1\r\n$4\r\nROLE\r\n"

typedef enum MasterState
{
	MASTER_SEEKING, /* next: ASKED; or TRUSTED without Sentinel */
	MASTER_ASKED,   /* for its ROLE; next: TRUSTED, SEEKING */
	MASTER_TRUSTED  /* next: SEEKING */
} MasterState;

struct Master
{
	RedisLink  *link;
	Sentinel   *sentinel; /* NULL: the URL's server is it */
	MasterState state;

	uint64_t sent, answered; /* commands of this connection */
	uint64_t role_at;        /* the answer with this number is that to ROLE; 0: none is under way */
	int64_t  role_due_us;
	Role     role; /* handed out last */

	bool announce_lost;
	char lost_text[TEXT_BYTES];
	char url_name[NAME_BYTES], name[NAME_BYTES];
};

static void
master_enter(Master *master, MasterState state)
{
	assert(state == MASTER_SEEKING || state == master->state + 1 ||
	       (master->sentinel == NULL && state == MASTER_TRUSTED));
	master->state = state;
}

Master *
master_new(const RedisUrl *url, TlsContext *certificates, uint64_t seed)
{
	Master *master = calloc(1, sizeof(*master));
	bool    found = url->kind != REDIS_SENTINEL;

	if (master == NULL)
		return NULL;
	redis_url_describe(url, master->url_name, sizeof(master->url_name));
	memcpy(master->name, master->url_name, sizeof(master->name));
	master->link = redis_link_new(url, certificates, seed);
	if (!found)
		master->sentinel = sentinel_new(url, certificates, seed + 1);
	if (master->link != NULL && (found || master->sentinel != NULL))
		return master;
	master_free(master);
	return NULL;
}

void
master_free(Master *master)
{
	if (master == NULL)
		return;
	redis_link_free(master->link);
	sentinel_free(master->sentinel);
	free(master);
}

void
master_renew(Master *master, const RedisUrl *url, TlsContext *certificates)
{
	redis_link_renew(master->link, url, certificates);
	if (master->sentinel != NULL)
		sentinel_renew(master->sentinel, url, certificates);
}

/* ---- leaving one ---- */

static void
forget_connection(Master *master)
{
	master_enter(master, MASTER_SEEKING);
	master->sent = master->answered = master->role_at = 0;
}

static void
announce_lost(Master *master, const char *text)
{
	snprintf(master->lost_text, sizeof(master->lost_text), "%s", text);
	master->announce_lost = true;
}

/* "master h:p, named by Sentinel h:p" */
static void
describe_chosen(const Master *master, const Claims *claims, char *out, size_t size)
{
	char host[300], sentinel[300] = "";
	int  who = claims_who_says(claims);

	redis_host_describe(&claims->master, host, sizeof(host));
	if (who >= 0)
		sentinel_describe(master->sentinel, who, sentinel, sizeof(sentinel));
	snprintf(out, size, "master %.200s%s%.200s", host, who < 0 ? "" : ", named by Sentinel ",
	         sentinel);
}

/* The chosen server is of no use: says why in *text, where that is not of its own making. */
static void
refute(Master *master, ClaimState state, const char *reason, int64_t now_us, char text[TEXT_BYTES])
{
	Claims *claims = sentinel_claims(master->sentinel);
	char    chosen[TEXT_BYTES] = "master";

	if (claims != NULL)
		describe_chosen(master, claims, chosen, sizeof(chosen));
	snprintf(text, TEXT_BYTES, "%.250s: %.250s", chosen, reason);
	if (claims != NULL)
		claims_refute(claims, state, now_us);
	forget_connection(master);
}

void
master_drop(Master *master, bool settings, int64_t now_us)
{
	char text[TEXT_BYTES];

	redis_link_drop(master->link, settings, now_us);
	if (master->sentinel != NULL)
		refute(master, CLAIM_UNREACHABLE, "", now_us, text);
	else
		forget_connection(master);
}

/* ---- finding one ---- */

/* Somebody who knows better names another: this one must not be asked to delete anything more. */
static void
leave_outdated(Master *master, Claims *claims, int64_t now_us)
{
	char old[300];
	bool was_trusted = master->state == MASTER_TRUSTED;

	if (redis_link_state(master->link) == REDIS_WAITING || !claims_is_outdated(claims, now_us))
		return;
	redis_host_describe(&claims->master, old, sizeof(old));
	redis_link_drop(master->link, false, now_us);
	claims_leave(claims);
	forget_connection(master);
	if (was_trusted)
	{
		char text[TEXT_BYTES];

		snprintf(text, sizeof(text), "Sentinel names another master than %s", old);
		announce_lost(master, text);
	}
}

static void
tell_nobody_named(Master *master)
{
	char text[TEXT_BYTES];

	sentinel_describe_problem(master->sentinel, text, sizeof(text));
	if (strcmp(text, master->lost_text) != 0)
		announce_lost(master, text);
}

/* Whom to connect to. false: nobody. */
static bool
seek(Master *master, int64_t now_us)
{
	Claims *claims = sentinel_claims(master->sentinel);
	bool    hopeful;

	if (claims == NULL)
		return false;
	leave_outdated(master, claims, now_us);
	if (redis_link_state(master->link) != REDIS_WAITING)
		return true;
	if (!claims_choose(claims, now_us, &hopeful))
	{
		tell_nobody_named(master);
		return false;
	}
	redis_link_aim(master->link, &claims->master, hopeful);
	return true;
}

static void
ask_role(Master *master, int64_t now_us)
{
	if (master->role_at != 0 || now_us < master->role_due_us ||
	    redis_link_send(master->link, now_us, mq_bytes_of(ROLE_COMMAND), 1) != MQ_OK)
		return;
	master->role_at = ++master->sent;
	master->role_due_us = now_us + MASTER_ROLE_US;
}

bool
master_step(Master *master, int64_t now_us)
{
	bool busy = false;

	if (master->sentinel != NULL)
	{
		busy = sentinel_step(master->sentinel, master->state != MASTER_TRUSTED, now_us);
		if (!seek(master, now_us))
			return busy;
		if (master->state == MASTER_TRUSTED)
			ask_role(master, now_us);
	}
	redis_link_step(master->link, now_us);
	return busy;
}

/* ---- what it says ---- */

/* It has a connection; with Sentinel, that proves nothing yet. */
static bool
link_ready(Master *master, int64_t now_us)
{
	if (master->sentinel == NULL)
	{
		master_enter(master, MASTER_TRUSTED);
		return true;
	}
	master_enter(master, MASTER_ASKED);
	master->role_due_us = now_us;
	ask_role(master, now_us);
	redis_link_flush(master->link, now_us);
	return false;
}

static void
trust(Master *master)
{
	Claims *claims = sentinel_claims(master->sentinel);
	char    host[300];

	master_enter(master, MASTER_TRUSTED);
	claims_confirm(claims);
	redis_host_describe(&claims->master, host, sizeof(host));
	snprintf(master->name, sizeof(master->name), "%.280s: %s", master->url_name, host);
}

static bool
role_refused(Master *master, const redisReply *reply, int64_t now_us, RedisEvent *event)
{
	bool is_role = role_parse(reply, &master->role);
	char reason[TEXT_BYTES];

	if (is_role)
		snprintf(reason, sizeof(reason), "says that it is no master, but \"%s\"",
		         master->role.name);
	else
		refusal_describe(reason, sizeof(reason), reply, "ROLE");
	redis_link_drop(master->link,
	                !is_role && reply->type == REDIS_REPLY_ERROR &&
	                    refusal_classify(reply->str, reply->len) == DELETION_SETTINGS,
	                now_us);
	refute(master, is_role ? CLAIM_FALSE : CLAIM_UNREACHABLE, reason, now_us, master->lost_text);
	*event = (RedisEvent){.kind = REDIS_EVENT_LOST, .text = master->lost_text};
	return true;
}

/* The answer to ROLE. Returns whether it makes an event. */
static bool
take_role(Master *master, const redisReply *reply, int64_t now_us, RedisEvent *event)
{
	int replicas;

	master->role_at = 0;
	if (!role_parse(reply, &master->role) || !master->role.is_master)
		return role_refused(master, reply, now_us, event);
	if (master->state == MASTER_ASKED)
	{
		trust(master);
		*event = (RedisEvent){.kind = REDIS_EVENT_READY};
		return true;
	}
	replicas = sentinel_replicas(master->sentinel);
	*event = (RedisEvent){
		.kind = REDIS_EVENT_ROLE,
		.role = &master->role,
		.replicated = master->role.replicas > 0 && master->role.replicas >= replicas,
		.keep_us = sentinel_down_after_us(master->sentinel) + MASTER_KEEP_US,
	};
	return true;
}

static void
link_lost(Master *master, RedisEvent *event, int64_t now_us)
{
	if (master->sentinel == NULL)
	{
		forget_connection(master);
		return;
	}
	refute(master, CLAIM_UNREACHABLE, event->text, now_us, master->lost_text);
	event->text = master->lost_text;
}

/* Hands an event of the connection on, or keeps it. */
static bool
pass_on(Master *master, int64_t now_us, RedisEvent *event)
{
	switch (event->kind)
	{
	case REDIS_EVENT_READY:
		return link_ready(master, now_us);
	case REDIS_EVENT_REPLY:
		return ++master->answered == master->role_at
		           ? take_role(master, event->reply, now_us, event)
		           : true;
	case REDIS_EVENT_LOST:
		link_lost(master, event, now_us);
		return true;
	case REDIS_EVENT_ROLE:
		break;
	}
	return true;
}

bool
master_next(Master *master, int64_t now_us, RedisEvent *event)
{
	if (master->announce_lost)
	{
		master->announce_lost = false;
		*event = (RedisEvent){.kind = REDIS_EVENT_LOST, .text = master->lost_text};
		return true;
	}
	while (redis_link_next(master->link, now_us, event))
		if (pass_on(master, now_us, event))
			return true;
	return false;
}

MqResult
master_send(Master *master, int64_t now_us, MqBytes commands, size_t count)
{
	MqResult result = MQ_LOST;

	if (master->state == MASTER_TRUSTED)
		result = redis_link_send(master->link, now_us, commands, count);
	if (result == MQ_OK)
		master->sent += count;
	return result;
}

void
master_flush(Master *master, int64_t now_us)
{
	redis_link_flush(master->link, now_us);
}

void
master_worked(Master *master)
{
	redis_link_worked(master->link);
}

bool
master_is_ready(const Master *master)
{
	return master->state == MASTER_TRUSTED && redis_link_state(master->link) == REDIS_READY;
}

const char *
master_name(const Master *master)
{
	return master->name;
}

size_t
master_poll(const Master *master, struct pollfd *fds, size_t room)
{
	size_t count = 0;

	if (room == 0)
		return 0;
	count = polled_add(fds, redis_link_fd(master->link), redis_link_wants(master->link));
	if (master->sentinel != NULL)
		count += sentinel_poll(master->sentinel, fds + count, room - count);
	return count;
}

int64_t
master_due_us(const Master *master)
{
	int64_t due_us = redis_link_due_us(master->link);
	int64_t sentinel_us;

	if (master->sentinel == NULL)
		return due_us;
	sentinel_us = sentinel_due_us(master->sentinel, master->state != MASTER_TRUSTED);
	/* One that is not aimed at anybody does not try by itself. */
	if (redis_link_state(master->link) == REDIS_WAITING && !sentinel_has_master(master->sentinel))
		due_us = STREAM_NEVER;
	if (master->announce_lost)
		due_us = 0;
	if (master->state == MASTER_TRUSTED && master->role_at == 0 && master->role_due_us < due_us)
		due_us = master->role_due_us;
	return sentinel_us < due_us ? sentinel_us : due_us;
}
