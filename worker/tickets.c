/*
 * tickets.c
 *    See tickets.h.
 */
#include "worker/tickets.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_TICKETS 256
#define FIRST_WAITERS 8

struct Ticket
{
	TagRef   ref;
	uint32_t holds;
	uint32_t next; /* free, or done */
	bool     closed;
};

void
tickets_init(Tickets *tickets)
{
	*tickets =
		(Tickets){.free_head = TICKET_NONE, .done_head = TICKET_NONE, .done_tail = TICKET_NONE};
}

void
tickets_free(Tickets *tickets)
{
	free(tickets->slots);
	tickets_init(tickets);
}

/* Slots from first on are free. */
static void
make_free(Tickets *tickets, uint32_t first)
{
	for (uint32_t i = tickets->capacity; i-- > first;)
	{
		tickets->slots[i].next = tickets->free_head;
		tickets->free_head = i;
	}
}

void
tickets_clear(Tickets *tickets)
{
	tickets->free_head = tickets->done_head = tickets->done_tail = TICKET_NONE;
	make_free(tickets, 0);
}

uint32_t
tickets_open(Tickets *tickets)
{
	uint32_t ticket;

	if (tickets->free_head == TICKET_NONE)
	{
		uint32_t capacity = tickets->capacity == 0 ? FIRST_TICKETS : 2 * tickets->capacity;
		Ticket  *slots = realloc(tickets->slots, capacity * sizeof(Ticket));
		uint32_t first = tickets->capacity;

		if (slots == NULL)
			return TICKET_NONE;
		tickets->slots = slots;
		tickets->capacity = capacity;
		make_free(tickets, first);
	}
	ticket = tickets->free_head;
	tickets->free_head = tickets->slots[ticket].next;
	tickets->slots[ticket] = (Ticket){.next = TICKET_NONE};
	return ticket;
}

static void
mind_done(Tickets *tickets, uint32_t ticket)
{
	const Ticket *slot = &tickets->slots[ticket];

	if (!slot->closed || slot->holds > 0)
		return;
	if (tickets->done_tail == TICKET_NONE)
		tickets->done_head = ticket;
	else
		tickets->slots[tickets->done_tail].next = ticket;
	tickets->done_tail = ticket;
}

void
tickets_close(Tickets *tickets, uint32_t ticket, TagRef ref)
{
	tickets->slots[ticket].ref = ref;
	tickets->slots[ticket].closed = true;
	mind_done(tickets, ticket);
}

uint32_t
tickets_holds(const Tickets *tickets, uint32_t ticket)
{
	return tickets->slots[ticket].holds;
}

bool
tickets_next_done(Tickets *tickets, TagRef *ref)
{
	uint32_t ticket = tickets->done_head;

	if (ticket == TICKET_NONE)
		return false;
	*ref = tickets->slots[ticket].ref;
	tickets->done_head = tickets->slots[ticket].next;
	if (tickets->done_head == TICKET_NONE)
		tickets->done_tail = TICKET_NONE;
	tickets->slots[ticket].next = tickets->free_head;
	tickets->free_head = ticket;
	return true;
}

static bool
waiters_reserve(Waiters *waiters, uint32_t count)
{
	uint32_t  capacity = waiters->capacity == 0 ? FIRST_WAITERS : waiters->capacity;
	uint32_t *list;

	if (count <= waiters->capacity)
		return true;
	while (capacity < count)
		capacity *= 2;
	list = realloc(waiters->tickets, capacity * sizeof(uint32_t));
	if (list == NULL)
		return false;
	waiters->tickets = list;
	waiters->capacity = capacity;
	return true;
}

bool
waiters_add(Waiters *waiters, Tickets *tickets, uint32_t ticket)
{
	if (waiters->count > 0 && waiters->tickets[waiters->count - 1] == ticket)
		return true;
	if (!waiters_reserve(waiters, waiters->count + 1))
		return false;
	waiters->tickets[waiters->count++] = ticket;
	tickets->slots[ticket].holds++;
	return true;
}

/* Several keys of one chunk move one after another: the list is there already, then. */
bool
waiters_copy(Waiters *to, const Waiters *from, Tickets *tickets)
{
	if (from->count == 0 ||
	    (to->count >= from->count && memcmp(to->tickets + to->count - from->count, from->tickets,
	                                        from->count * sizeof(uint32_t)) == 0))
		return true;
	if (!waiters_reserve(to, to->count + from->count))
		return false;
	for (uint32_t i = 0; i < from->count; i++)
	{
		to->tickets[to->count++] = from->tickets[i];
		tickets->slots[from->tickets[i]].holds++;
	}
	return true;
}

void
waiters_end(Waiters *waiters, Tickets *tickets)
{
	for (uint32_t i = 0; i < waiters->count; i++)
	{
		assert(tickets->slots[waiters->tickets[i]].holds > 0);
		tickets->slots[waiters->tickets[i]].holds--;
		mind_done(tickets, waiters->tickets[i]);
	}
	waiters->count = 0;
}

void
waiters_forget(Waiters *waiters)
{
	waiters->count = 0;
}

void
waiters_free(Waiters *waiters)
{
	free(waiters->tickets);
	*waiters = (Waiters){0};
}
