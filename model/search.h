/*
 * search.h
 *    Every state that a model can reach, breadth first, so that the first bad one is the nearest.
 *
 * A state is a struct without pointers and without padding that differs: states are compared as
 * bytes. Nothing is left out by hashing: two states are the same if all their bytes are.
 */
#ifndef OUTBOX_MODEL_SEARCH_H
#define OUTBOX_MODEL_SEARCH_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct Search Search;

typedef struct SearchModel
{
	size_t state_bytes;

	/* Calls search_step for each state that is one step away. */
	void (*steps)(const void *state, Search *search);
	/* NULL, or which promise the state breaks; last: no step leads on from here. */
	const char *(*broken)(const void *state, int last);
} SearchModel;

typedef struct SearchResult
{
	size_t      states;
	const char *broken; /* NULL: every state that can be reached is good */
} SearchResult;

/* Searches from `initial`. Where a promise is broken, the steps that lead there are written to
 * `trace`, a line each behind a # (NULL: nowhere). Ends the program if memory does. */
SearchResult search_run(const SearchModel *model, const void *initial, FILE *trace);

/* From steps(): a state that is one step away, and that step in words: a format for `number`. */
void search_step(Search *search, const void *next, const char *words, int number)
	__attribute__((format(printf, 3, 0)));

#endif
