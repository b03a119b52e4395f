/*
 * tickets.h
 *    Which messages still wait for something, and which are done.
 *
 * A ticket stands for one message. Whatever it waits for (a chunk of keys, a pattern) keeps a list of
 * the tickets that wait for it, and each ticket counts how many lists it is in. In none any more, and
 * closed, it is done. So the things may end in any order, on any number of connections, and a thing
 * that becomes two (a key that moves to another node) hands its list on before it ends.
 *
 * Memory: a slot for each message under way, reused.
 */
#ifndef WORKER_TICKETS_H
#define WORKER_TICKETS_H

#include "worker/tags.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TICKET_NONE UINT32_MAX

typedef struct Ticket Ticket;

typedef struct Tickets
{
	Ticket  *slots;
	uint32_t capacity;
	uint32_t free_head;
	uint32_t done_head, done_tail; /* in the order of becoming done */
} Tickets;

/* Of one thing: who waits for it. Zeroed is empty. */
typedef struct Waiters
{
	uint32_t *tickets;
	uint32_t  count, capacity;
} Waiters;

void tickets_init(Tickets *tickets);
void tickets_free(Tickets *tickets);

/* All are over; lists of waiters are to be forgotten, not ended. */
void tickets_clear(Tickets *tickets);

/* A new one, open. TICKET_NONE: out of memory. */
uint32_t tickets_open(Tickets *tickets);

/* Nothing is added to it any more. */
void tickets_close(Tickets *tickets, uint32_t ticket, TagRef ref);

/* How many things it waits for. */
uint32_t tickets_holds(const Tickets *tickets, uint32_t ticket);

/* The next message that is done; false: none. */
bool tickets_next_done(Tickets *tickets, TagRef *ref);

/* The ticket waits for this thing too; again right after itself: once is enough. false: out of memory. */
bool waiters_add(Waiters *waiters, Tickets *tickets, uint32_t ticket);

/* Who waits for from waits for to as well. false: out of memory. */
bool waiters_copy(Waiters *to, const Waiters *from, Tickets *tickets);

/* The thing is over. */
void waiters_end(Waiters *waiters, Tickets *tickets);

/* The tickets are over. */
void waiters_forget(Waiters *waiters);

void waiters_free(Waiters *waiters);

#endif
