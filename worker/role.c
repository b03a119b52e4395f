/*
 * role.c
 *    See role.h. Source: roleCommand in Redis' replication.c; numbers of replicas come as text.
 */
#include "worker/role.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a replica: address, port, the offset it has acknowledged. */
static bool
take_replica(const redisReply *replica, Role *role)
{
	uint64_t offset;

	if (replica->type != REDIS_REPLY_ARRAY || replica->elements != 3 ||
	    replica->element[2]->type != REDIS_REPLY_STRING)
		return false;
	offset = strtoull(replica->element[2]->str, NULL, 10);
	if (role->replicas++ == 0 || offset < role->acknowledged)
		role->acknowledged = offset;
	return true;
}

bool
role_parse(const redisReply *reply, Role *role)
{
	const redisReply *replicas;

	*role = (Role){0};
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2 ||
	    reply->element[0]->type != REDIS_REPLY_STRING)
		return false;
	snprintf(role->name, sizeof(role->name), "%s", reply->element[0]->str);
	role->is_master = strcmp(role->name, "master") == 0;
	if (!role->is_master)
		return true;
	if (reply->elements != 3 || reply->element[1]->type != REDIS_REPLY_INTEGER ||
	    reply->element[2]->type != REDIS_REPLY_ARRAY)
		return false;
	role->offset = (uint64_t) reply->element[1]->integer;
	replicas = reply->element[2];
	for (size_t i = 0; i < replicas->elements; i++)
		if (!take_replica(replicas->element[i], role))
			return false;
	return true;
}
