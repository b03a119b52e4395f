/*
 * search.c
 *    Breadth-first search over all states, kept whole in one array.
 *
 * The array is the queue too: states before `done` have been left, the others wait. Words of steps
 * are not kept: a trace walks the parents back and asks for each step again.
 */
#include "model/search.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NO_STATE UINT32_MAX
#define TRACE_STEPS_MAX 200
#define STATES_MAX (16 * 1024 * 1024) /* some gigabytes: a size that needs more is too large */

struct Search
{
	const SearchModel *model;
	unsigned char     *states; /* count of them, state_bytes each */
	uint32_t          *parents;
	size_t             count, capacity;
	uint32_t          *slots;      /* hash table of numbers of states; NO_STATE: free */
	size_t             slot_count; /* a power of two */

	void    *state;  /* the state whose steps are asked for: a copy, since the array moves */
	uint32_t from;   /* its number */
	size_t   steps;  /* so many came */
	uint32_t target; /* of a trace: words of the step there are wanted */
	FILE    *trace;  /* NULL: searching */
};

static void *
need(void *memory)
{
	if (memory == NULL)
	{
		fprintf(stderr, "out of memory\n");
		exit(2);
	}
	return memory;
}

static void *
state_at(const Search *search, uint32_t number)
{
	return search->states + (size_t) number * search->model->state_bytes;
}

/* FNV-1a, eight bytes at a time where there are as many. */
static uint64_t
hash(const unsigned char *bytes, size_t count)
{
	uint64_t value = UINT64_C(0xcbf29ce484222325);

	for (; count >= 8; bytes += 8, count -= 8)
	{
		uint64_t word;

		memcpy(&word, bytes, 8);
		value = (value ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		value ^= value >> 29;
	}
	for (; count > 0; bytes++, count--)
		value = (value ^ *bytes) * UINT64_C(0x100000001b3);
	return value ^ value >> 32;
}

/* Where the state is, or would be. */
static uint32_t *
find_slot(const Search *search, const void *state)
{
	size_t bytes = search->model->state_bytes;
	size_t at = hash(state, bytes) & (search->slot_count - 1);

	while (search->slots[at] != NO_STATE &&
	       memcmp(state_at(search, search->slots[at]), state, bytes) != 0)
		at = (at + 1) & (search->slot_count - 1);
	return &search->slots[at];
}

static void
grow(Search *search)
{
	if (search->capacity == STATES_MAX)
	{
		fprintf(stderr, "too many states\n");
		exit(2);
	}
	search->capacity = search->capacity == 0 ? 1024 : 2 * search->capacity;
	search->states = need(realloc(search->states, search->capacity * search->model->state_bytes));
	search->parents = need(realloc(search->parents, search->capacity * sizeof(uint32_t)));
	search->slot_count = 2 * search->capacity;
	free(search->slots);
	search->slots = need(malloc(search->slot_count * sizeof(uint32_t)));
	memset(search->slots, 0xff, search->slot_count * sizeof(uint32_t));
	for (uint32_t i = 0; i < search->count; i++)
		*find_slot(search, state_at(search, i)) = i;
}

static void
add(Search *search, const void *state)
{
	uint32_t *slot;

	if (search->count == search->capacity)
		grow(search);
	slot = find_slot(search, state);
	if (*slot != NO_STATE)
		return;
	*slot = (uint32_t) search->count;
	memcpy(state_at(search, *slot), state, search->model->state_bytes);
	search->parents[search->count++] = search->from;
}

void
search_step(Search *search, const void *next, const char *words, int number)
{
	search->steps++;
	if (search->trace == NULL)
		add(search, next);
	else if (search->target != NO_STATE &&
	         memcmp(next, state_at(search, search->target), search->model->state_bytes) == 0)
	{
		fprintf(search->trace, "#     ");
		fprintf(search->trace, words, number);
		fputc('\n', search->trace);
		search->target = NO_STATE; /* two steps may lead to the same state */
	}
}

static void
ask_steps(Search *search, uint32_t from)
{
	memcpy(search->state, state_at(search, from), search->model->state_bytes);
	search->from = from;
	search->steps = 0;
	search->model->steps(search->state, search);
}

static void
write_trace(Search *search, uint32_t last, FILE *trace)
{
	uint32_t path[TRACE_STEPS_MAX];
	int      length = 0;

	for (uint32_t i = last; search->parents[i] != NO_STATE; i = search->parents[i])
	{
		if (length == TRACE_STEPS_MAX)
			return;
		path[length++] = i;
	}
	search->trace = trace;
	while (length-- > 0)
	{
		search->target = path[length];
		ask_steps(search, search->parents[path[length]]);
	}
}

SearchResult
search_run(const SearchModel *model, const void *initial, FILE *trace)
{
	Search       search = {.model = model, .from = NO_STATE, .target = NO_STATE};
	SearchResult result = {0};

	search.state = need(malloc(model->state_bytes));
	add(&search, initial);
	for (uint32_t done = 0; done < search.count && result.broken == NULL; done++)
	{
		ask_steps(&search, done);
		result.broken = model->broken(state_at(&search, done), search.steps == 0);
		if (result.broken != NULL && trace != NULL)
			write_trace(&search, done, trace);
	}
	result.states = search.count;
	free(search.state);
	free(search.states);
	free(search.parents);
	free(search.slots);
	return result;
}
