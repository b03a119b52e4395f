/*
 * role.h
 *    What a Redis says of itself: master or replica, and how far its replicas are (ROLE).
 */
#ifndef WORKER_ROLE_H
#define WORKER_ROLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redisReply; /* hiredis */

typedef struct Role
{
	bool     is_master;
	char     name[24];     /* "master", "slave", "sentinel", or what else it said */
	uint64_t offset;       /* of a master: bytes of its replication stream */
	int      replicas;     /* connected to it */
	uint64_t acknowledged; /* by the one that is furthest behind */
} Role;

/* false: no answer to ROLE. */
bool role_parse(const struct redisReply *reply, Role *role);

#endif
