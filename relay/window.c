/*
 * window.c
 *    Which transactions lie between two snapshots. Allocates and waits for nothing.
 */
#include "relay/window.h"

bool
position_contains(const Position *position, uint64_t xid)
{
	size_t low = 0, high = position->xid_count;

	if (xid < position->xmin)
		return true;
	if (xid >= position->xmax)
		return false;
	while (low < high)
	{
		size_t middle = low + (high - low) / 2;

		if (position->xids[middle] == xid)
			return false;
		if (position->xids[middle] < xid)
			low = middle + 1;
		else
			high = middle;
	}
	return true;
}

uint64_t
position_ended(const Position *position)
{
	return position->xmax - position->xid_count;
}

bool
position_not_older(const Position *earlier, const Position *later)
{
	if (later->xmin < earlier->xmin || later->xmax < earlier->xmax)
		return false;
	/* What had ended before must have ended now. */
	for (size_t i = 0; i < later->xid_count; i++)
	{
		if (position_contains(earlier, later->xids[i]))
			return false;
	}
	return true;
}
