/*
 * trouble.h
 *    Why one side does not work at present, and whether the log has heard of it.
 */
#ifndef WORKER_TROUBLE_H
#define WORKER_TROUBLE_H

#include <stdbool.h>
#include <stdint.h>

/* Zeroed: there is none. */
typedef struct Trouble
{
	bool    present;
	bool    is_news; /* not told to the log yet */
	char    reason[512];
	char    told_reason[512];
	int64_t told_us;
} Trouble;

/* Each retry sets it again; news are the first reason, and another one after a while. */
void trouble_set(Trouble *trouble, const char *reason, int64_t now_us);

/* The log knows. */
void trouble_told(Trouble *trouble, int64_t now_us);

#endif
