/*
 * ids.c
 *    Ids of events: a sequence, and a block of it that all sessions draw from.
 *
 * Order of ids must be the order in which they are drawn, or a reader that sorts by them would turn
 * round two changes of one row: so no session may keep ids for later, as a sequence's cache does. A
 * counter in shared memory that all sessions of a database advance keeps that order, and costs a
 * tenth of nextval, which locks and reads a catalog and a buffer.
 *
 * The sequence is always ahead: it is moved to a block's end, and that is logged, before the first id of
 * the block is drawn. A crash or a restart loses what is left of it. One session at a time takes a
 * block, under a lock that it gives back at once. With setval and not with nextval: the user's
 * lastval() must not tell of our sequence.
 *
 * A database's block is never given to another one, and whoever finds no room finds none later: all
 * sessions of a database draw in the same way. Without shared memory, and for those without room, a
 * block has one id. So it has in CREATE EXTENSION: what makes a sequence may be rolled back, and
 * the next one begin anew; and one that has given out a single id was never used by an event
 * (relay/instance.c).
 */
#include "postgres.h"

#include "extension/ids.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/fmgrprotos.h"

#define BLOCK_IDS 64
#define MAX_BLOCKS 1024

typedef struct IdBlock
{
	Oid     database;  /* never changes once it is set */
	slock_t mutex;     /* guards what follows */
	Oid     sequence;  /* it is a block of this one */
	int64   next, end; /* next == end: it is used up */
} IdBlock;

typedef struct IdsShared
{
	LWLock  lock; /* guards count, and who has a block */
	int     count;
	IdBlock blocks[MAX_BLOCKS];
} IdsShared;

static IdsShared *shared = NULL;
static IdBlock   *my_block; /* NULL: there is no room for this database */
static bool       my_block_is_known;

Size
ids_shmem_size(void)
{
	return sizeof(IdsShared);
}

void
ids_shmem_startup(int tranche)
{
	bool found;

	shared = ShmemInitStruct("pg_outbox ids", sizeof(IdsShared), &found);
	if (found)
		return;
	memset(shared, 0, sizeof(IdsShared));
	LWLockInitialize(&shared->lock, tranche);
	for (int i = 0; i < MAX_BLOCKS; i++)
		SpinLockInit(&shared->blocks[i].mutex);
}

/* Under the lock. NULL: there is no room. */
static IdBlock *
find_or_take_block(void)
{
	for (int i = 0; i < shared->count; i++)
	{
		if (shared->blocks[i].database == MyDatabaseId)
			return &shared->blocks[i];
	}
	if (shared->count == MAX_BLOCKS)
		return NULL;
	shared->blocks[shared->count].database = MyDatabaseId;
	return &shared->blocks[shared->count++];
}

static IdBlock *
block_of_mine(void)
{
	if (my_block_is_known || shared == NULL)
		return my_block;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	my_block = find_or_take_block();
	LWLockRelease(&shared->lock);
	my_block_is_known = true;
	return my_block;
}

/* 0: it is used up. */
static int64
draw_from(IdBlock *block, Oid sequence)
{
	int64 id = 0;

	SpinLockAcquire(&block->mutex);
	if (block->sequence == sequence && block->next < block->end)
		id = block->next++;
	SpinLockRelease(&block->mutex);
	return id;
}

static void
fill(IdBlock *block, Oid sequence, int64 next, int64 end)
{
	SpinLockAcquire(&block->mutex);
	block->sequence = sequence;
	block->next = next;
	block->end = end;
	SpinLockRelease(&block->mutex);
}

/* The one that the sequence gives next. */
static int64
next_value(Oid sequence)
{
	LOCAL_FCINFO(call, 1);
	Datum last;

	InitFunctionCallInfoData(*call, NULL, 1, InvalidOid, NULL, NULL);
	call->args[0] = (NullableDatum){ObjectIdGetDatum(sequence), false};
	last = pg_sequence_last_value(call);
	/* New, or restarted by hand, it tells by nextval alone where it begins. */
	return call->isnull ? nextval_internal(sequence, false) : DatumGetInt64(last) + 1;
}

/* The next of `count` values, of which the sequence has given out all then. An error ends the
 * transaction or its savepoint, which sets back whose rights are used and that it is READ ONLY. */
static int64
advance(Oid sequence, int count)
{
	bool  read_only = XactReadOnly;
	Oid   user;
	int   context;
	int64 first;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	XactReadOnly = false;
	first = next_value(sequence);
	DirectFunctionCall2(setval_oid, ObjectIdGetDatum(sequence), Int64GetDatum(first + count - 1));
	XactReadOnly = read_only;
	SetUserIdAndSecContext(user, context);
	return first;
}

/* Under the lock that lets one at a time move the sequence. */
static int64
draw_anew(IdBlock *block, Oid sequence)
{
	int   count = block == NULL || creating_extension ? 1 : BLOCK_IDS;
	int64 id = count == 1 ? 0 : draw_from(block, sequence); /* another one was faster */

	if (id != 0)
		return id;
	id = advance(sequence, count);
	if (block != NULL)
		fill(block, sequence, id + 1, id + count);
	return id;
}

int64
ids_draw(Oid sequence)
{
	IdBlock *block = block_of_mine();
	int64    id = block == NULL || creating_extension ? 0 : draw_from(block, sequence);

	if (id != 0)
		return id;
	/* The sequence first, as whoever alters it and writes events. */
	LockRelationOid(sequence, RowExclusiveLock);
	LockDatabaseObject(RelationRelationId, sequence, 0, ExclusiveLock);
	id = draw_anew(block, sequence);
	UnlockDatabaseObject(RelationRelationId, sequence, 0, ExclusiveLock);
	return id;
}
