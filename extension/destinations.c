/*
 * destinations.c
 *    The segment that a relay writes, and what lies behind outbox.destination.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "storage/dsm.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "destinations.h"
#include "status.h"

PG_FUNCTION_INFO_V1(outbox_destination_status);

enum
{
	STATUS_EXCHANGE,
	STATUS_ROUTING_KEY,
	STATUS_STATE,
	STATUS_MESSAGES,
	STATUS_PARKED,
	STATUS_PARKED_SINCE,
	STATUS_LAST_ERROR,
	STATUS_ATTEMPTS,
	STATUS_TRIED_AT,
	STATUS_NEXT_ATTEMPT_AT,
	STATUS_COLUMNS
};

static dsm_handle
handle_of(OutboxSlot *slot)
{
	dsm_handle handle;

	LWLockAcquire(&slot->text_lock, LW_SHARED);
	handle = slot->destinations;
	LWLockRelease(&slot->text_lock);
	return handle;
}

SharedDestinations *
destinations_attach(OutboxSlot *slot)
{
	dsm_handle          handle = handle_of(slot);
	dsm_segment        *segment = handle == 0 ? NULL : dsm_attach(handle);
	SharedDestinations *shared;

	if (segment == NULL)
	{
		segment = dsm_create(sizeof(SharedDestinations), 0);
		dsm_pin_segment(segment);
	}
	dsm_pin_mapping(segment);
	shared = dsm_segment_address(segment);
	LWLockAcquire(&slot->text_lock, LW_EXCLUSIVE);
	shared->count = 0;
	slot->destinations = dsm_segment_handle(segment);
	LWLockRelease(&slot->text_lock);
	return shared;
}

/* A copy of what the relay wrote last: rows are made from it without the lock. NULL: nothing. */
static SharedDestinations *
copy_shared(OutboxSlot *slot)
{
	dsm_handle          handle = slot == NULL ? 0 : handle_of(slot);
	dsm_segment        *segment = handle == 0 ? NULL : dsm_attach(handle);
	SharedDestinations *copy;
	SharedDestinations *shared;

	if (segment == NULL)
		return NULL;
	copy = palloc(sizeof(SharedDestinations));
	shared = dsm_segment_address(segment);
	LWLockAcquire(&slot->text_lock, LW_SHARED);
	copy->count = shared->count;
	memcpy(copy->rows, shared->rows, (Size) shared->count * sizeof(SharedDestination));
	LWLockRelease(&slot->text_lock);
	dsm_detach(segment);
	return copy;
}

bool
destinations_look(OutboxSlot *slot, ParkedDestinations *parked)
{
	dsm_handle          handle = slot == NULL ? 0 : handle_of(slot);
	dsm_segment        *segment = handle == 0 ? NULL : dsm_attach(handle);
	SharedDestinations *shared;

	memset(parked, 0, sizeof(*parked));
	if (segment == NULL)
		return false;
	shared = dsm_segment_address(segment);
	LWLockAcquire(&slot->text_lock, LW_SHARED);
	for (int i = 0; i < shared->count; i++)
	{
		const SharedDestination *row = &shared->rows[i];

		if (!row->is_parked)
			continue;
		parked->events += row->parked;
		if (parked->destinations++ == 0 || row->parked_since < parked->longest.parked_since)
			parked->longest = *row;
	}
	LWLockRelease(&slot->text_lock);
	dsm_detach(segment);
	return true;
}

static Datum
text_from_utf8(const char *text)
{
	char *copy = pstrdup(text);

	return CStringGetTextDatum(pg_any_to_server(copy, (int) strlen(copy), PG_UTF8));
}

static void
put_row(ReturnSetInfo *result, const SharedDestination *row)
{
	Datum values[STATUS_COLUMNS];
	bool  nulls[STATUS_COLUMNS] = {false};

	nulls[STATUS_EXCHANGE] = nulls[STATUS_ROUTING_KEY] = row->is_crowd;
	values[STATUS_EXCHANGE] = text_from_utf8(row->exchange);
	values[STATUS_ROUTING_KEY] = text_from_utf8(row->routing_key);
	values[STATUS_STATE] = CStringGetTextDatum(row->is_parked ? "parked" : "open");
	values[STATUS_MESSAGES] = Int64GetDatum(row->messages);
	values[STATUS_PARKED] = Int64GetDatum(row->parked);
	status_set_time(values, nulls, STATUS_PARKED_SINCE, row->parked_since);
	nulls[STATUS_LAST_ERROR] = row->last_error[0] == '\0';
	values[STATUS_LAST_ERROR] = CStringGetTextDatum(row->last_error);
	values[STATUS_ATTEMPTS] = Int32GetDatum(row->attempts);
	status_set_time(values, nulls, STATUS_TRIED_AT, row->tried_at);
	status_set_time(values, nulls, STATUS_NEXT_ATTEMPT_AT, row->next_attempt_at);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

Datum
outbox_destination_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo      *result = (ReturnSetInfo *) fcinfo->resultinfo;
	SharedDestinations *copy;

	InitMaterializedSRF(fcinfo, 0);
	copy = copy_shared(shmem_mine());
	for (int i = 0; copy != NULL && i < copy->count; i++)
		put_row(result, &copy->rows[i]);
	PG_RETURN_VOID();
}
