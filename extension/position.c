/*
 * position.c
 *    The latest snapshot, with this transaction in progress.
 *
 * A snapshot leaves out its owner's transaction. Where that lies below the snapshot's xmax it must be
 * put in, or the snapshot would say that it has ended. At or above xmax nothing must be done: nobody
 * there has ended. (To raise xmax for its sake would declare those in between ended, and lose
 * what they are still to write.)
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "lib/stringinfo.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"

#include "position.h"

/* xids of a snapshot lie within two thousand millions of the next one. */
static uint64
full_xid(TransactionId xid, FullTransactionId next)
{
	uint32 epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return U64FromFullTransactionId(FullTransactionIdFromEpochAndXid(epoch, xid));
}

static int
compare_xids(const void *a, const void *b)
{
	uint64 left = *(const uint64 *) a;
	uint64 right = *(const uint64 *) b;

	return (left > right) - (left < right);
}

Datum
position_now(void)
{
	uint64            mine = U64FromFullTransactionId(GetTopFullTransactionId());
	Snapshot          snapshot = GetLatestSnapshot();
	FullTransactionId next = ReadNextFullTransactionId();
	uint64            xmin = full_xid(snapshot->xmin, next);
	uint64            xmax = full_xid(snapshot->xmax, next);
	uint64           *xids = palloc(sizeof(uint64) * (snapshot->xcnt + 1));
	int               count = 0;
	StringInfoData    text;

	if (mine < xmax)
	{
		xids[count++] = mine;
		xmin = Min(xmin, mine);
	}
	for (uint32 i = 0; i < snapshot->xcnt; i++)
		xids[count++] = full_xid(snapshot->xip[i], next);
	qsort(xids, count, sizeof(uint64), compare_xids);

	initStringInfo(&text);
	appendStringInfo(&text, UINT64_FORMAT ":" UINT64_FORMAT ":", xmin, xmax);
	for (int i = 0; i < count; i++)
		appendStringInfo(&text, i == 0 ? UINT64_FORMAT : "," UINT64_FORMAT, xids[i]);
	return DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(text.data));
}
