/*
 * caches.c
 *    See caches.h.
 */
#include "worker/caches.h"

#include "wire/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_TICKETS 256
#define NAME_BYTES 600
#define NAMED_PROBLEM_BYTES (NAME_BYTES + CACHE_PROBLEM_BYTES)

/* A message that not all caches are done with. */
typedef struct OpenTicket
{
	TagRef ref;
	int    waiting; /* caches */
} OpenTicket;

struct Caches
{
	int    count;
	Cache *caches[CACHES_MAX];

	/* A ring of tickets by number, from the oldest that is open; capacity is a power of two or 0. Of one
	 * cache there are none. */
	OpenTicket *tickets;
	size_t      capacity;
	uint64_t    first, next; /* numbers */

	char             name[NAME_BYTES];
	char             problem[NAMED_PROBLEM_BYTES], scan_problem[NAMED_PROBLEM_BYTES];
	DeletionCounters counters;
};

Caches *
caches_new(const CacheOptions *options, const RedisUrl *urls, int count)
{
	Caches      *caches = calloc(1, sizeof(*caches));
	CacheOptions own = *options;
	bool         fine = caches != NULL;

	for (int i = 0; fine && i < count; i++)
	{
		own.url = &urls[i];
		own.seed = options->seed + (uint64_t) i * CACHES_MAX;
		caches->caches[i] = cache_new(&own);
		caches->count++;
		fine = caches->caches[i] != NULL;
	}
	if (fine)
		return caches;
	caches_free(caches);
	return NULL;
}

void
caches_free(Caches *caches)
{
	if (caches == NULL)
		return;
	for (int i = 0; i < caches->count; i++)
		cache_free(caches->caches[i]);
	free(caches->tickets);
	free(caches);
}

void
caches_renew(Caches *caches, const RedisUrl *urls, TlsContext *certificates)
{
	for (int i = 0; i < caches->count; i++)
		cache_renew(caches->caches[i], &urls[i], certificates);
}

/* ---- messages ---- */

bool
caches_add_key(Caches *caches, MqBytes key)
{
	for (int i = 0; i < caches->count; i++)
		if (!cache_add_key(caches->caches[i], key))
			return false;
	return true;
}

bool
caches_add_pattern(Caches *caches, MqBytes pattern)
{
	for (int i = 0; i < caches->count; i++)
		if (!cache_add_pattern(caches->caches[i], pattern))
			return false;
	return true;
}

static OpenTicket *
ticket_at(const Caches *caches, uint64_t number)
{
	return &caches->tickets[number & (caches->capacity - 1)];
}

static bool
make_room(Caches *caches)
{
	Caches bigger = *caches;

	if (caches->next - caches->first < caches->capacity)
		return true;
	bigger.capacity = caches->capacity == 0 ? FIRST_TICKETS : 2 * caches->capacity;
	bigger.tickets = malloc(bigger.capacity * sizeof(OpenTicket));
	if (bigger.tickets == NULL)
		return false;
	for (uint64_t number = caches->first; number != caches->next; number++)
		*ticket_at(&bigger, number) = *ticket_at(caches, number);
	free(caches->tickets);
	caches->tickets = bigger.tickets;
	caches->capacity = bigger.capacity;
	return true;
}

bool
caches_close_ticket(Caches *caches, TagRef ref)
{
	TagRef number = {.tag = caches->next};

	if (caches->count == 1)
		return cache_close_ticket(caches->caches[0], ref);
	if (!make_room(caches))
		return false;
	*ticket_at(caches, caches->next++) = (OpenTicket){ref, caches->count};
	for (int i = 0; i < caches->count; i++)
		if (!cache_close_ticket(caches->caches[i], number))
			return false;
	return true;
}

/* One cache is done with it. Returns whether all are. */
static bool
ticket_done(Caches *caches, uint64_t number, TagRef *ref)
{
	OpenTicket *ticket = ticket_at(caches, number);

	*ref = ticket->ref;
	if (--ticket->waiting > 0)
		return false;
	while (caches->first != caches->next && ticket_at(caches, caches->first)->waiting == 0)
		caches->first++;
	return true;
}

bool
caches_next_done(Caches *caches, TagRef *ref)
{
	TagRef number;

	if (caches->count == 1)
		return cache_next_done(caches->caches[0], ref);
	for (int i = 0; i < caches->count; i++)
		while (cache_next_done(caches->caches[i], &number))
			if (ticket_done(caches, number.tag, ref))
				return true;
	return false;
}

void
caches_forget(Caches *caches)
{
	for (int i = 0; i < caches->count; i++)
		cache_forget(caches->caches[i]);
	caches->first = caches->next;
}

/* ---- all of them ---- */

bool
caches_step(Caches *caches, int64_t now_us)
{
	bool busy = false;

	for (int i = 0; i < caches->count; i++)
		busy |= cache_step(caches->caches[i], now_us);
	return busy;
}

void
caches_send(Caches *caches, int64_t now_us)
{
	for (int i = 0; i < caches->count; i++)
		cache_send(caches->caches[i], now_us);
}

void
caches_hurry(Caches *caches)
{
	for (int i = 0; i < caches->count; i++)
		cache_hurry(caches->caches[i]);
}

bool
caches_has_second(const Caches *caches)
{
	for (int i = 0; i < caches->count; i++)
		if (cache_health(caches->caches[i]) == CACHE_WORKS && cache_has_second(caches->caches[i]))
			return true;
	return false;
}

CacheHealth
caches_health(const Caches *caches)
{
	int working = 0, away = 0;

	for (int i = 0; i < caches->count; i++)
	{
		working += cache_health(caches->caches[i]) == CACHE_WORKS;
		away += cache_health(caches->caches[i]) == CACHE_AWAY;
	}
	if (working == caches->count)
		return CACHE_WORKS;
	return away == caches->count ? CACHE_AWAY : CACHE_PARTLY;
}

/* The first text of theirs that is not empty. */
static const char *
first_problem(const Caches *caches, const char *(*problem)(const Cache *),
              char          out[NAMED_PROBLEM_BYTES])
{
	for (int i = 0; i < caches->count; i++)
	{
		const Cache *cache = caches->caches[i];

		if (problem(cache)[0] == '\0')
			continue;
		if (caches->count == 1)
			return problem(cache);
		snprintf(out, NAMED_PROBLEM_BYTES, "%s: %s", cache_name(cache), problem(cache));
		return out;
	}
	return "";
}

const char *
caches_problem(Caches *caches)
{
	return first_problem(caches, cache_problem, caches->problem);
}

const char *
caches_scan_problem(Caches *caches)
{
	return first_problem(caches, cache_scan_problem, caches->scan_problem);
}

size_t
caches_waiting_bytes(const Caches *caches)
{
	size_t most = 0;

	for (int i = 0; i < caches->count; i++)
		if (cache_waiting_bytes(caches->caches[i]) > most)
			most = cache_waiting_bytes(caches->caches[i]);
	return most;
}

const char *
caches_name(Caches *caches)
{
	size_t used = 0;

	for (int i = 0; i < caches->count && used < NAME_BYTES; i++)
		used += (size_t) snprintf(caches->name + used, NAME_BYTES - used, "%s%s",
		                          i == 0 ? "" : ", ", cache_name(caches->caches[i]));
	return caches->name;
}

const DeletionCounters *
caches_counters(Caches *caches)
{
	DeletionCounters *sum = &caches->counters;
	const Histogram  *times[CACHES_MAX];

	if (caches->count == 1)
		return cache_counters(caches->caches[0]);
	memset(sum, 0, sizeof(*sum));
	for (int i = 0; i < caches->count; i++)
	{
		const DeletionCounters *one = cache_counters(caches->caches[i]);

		sum->keys_sent += one->keys_sent;
		sum->keys_deleted += one->keys_deleted;
		sum->keys_merged += one->keys_merged;
		sum->keys_moved += one->keys_moved;
		sum->patterns += one->patterns;
		sum->keys_again += one->keys_again;
		sum->keys_unkept += one->keys_unkept;
		sum->patterns_unkept += one->patterns_unkept;
		times[i] = &one->round_trip;
	}
	histogram_join(&sum->round_trip, times, (size_t) caches->count);
	return sum;
}

size_t
caches_poll(const Caches *caches, struct pollfd *fds, size_t room)
{
	size_t count = 0;

	for (int i = 0; i < caches->count; i++)
		count += cache_poll(caches->caches[i], fds + count, room - count);
	return count;
}

int64_t
caches_due_us(const Caches *caches)
{
	int64_t due_us = STREAM_NEVER;

	for (int i = 0; i < caches->count; i++)
		if (cache_due_us(caches->caches[i]) < due_us)
			due_us = cache_due_us(caches->caches[i]);
	return due_us;
}
