/*
 * main.c
 *    Searches the protocol at every size, and then once for each rule with that rule taken out:
 *    there something must break.
 *
 *    model          the sizes and rules of `make test`, in a few seconds, as TAP
 *    model --large  larger sizes too, and how each rule that is missing breaks something
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "model/protocol.h"

typedef enum SizeNumber
{
	WINDOWS,
	INSTALL,
	ROTATION,
	RESTART,
	CRASH,
	PARKING,
	SMALL_SIZES,
	FOUR_WRITERS = SMALL_SIZES,
	ABORTS,
	ORDER,
	TICKS,
	TWO_CRASHES,
	EVERYTHING,
	SIZES
} SizeNumber;

static const Size sizes[SIZES] = {
	[WINDOWS] = {.name = "three writers, ticks, one row",
                 .writers = 3,
                 .tick_ids = 2,
                 .conflicts = true},
	[INSTALL] = {.name = "CREATE EXTENSION and two writers",
                 .writers = 3,
                 .tick_ids = 2,
                 .installs = true,
                 .aborts = true,
                 .conflicts = true},
	[ROTATION] = {.name = "three writers, rotation", .writers = 3, .rotates = true},
	[RESTART] = {.name = "two writers, rotation, a new relay",
                 .writers = 2,
                 .tick_ids = 2,
                 .restarts = 1,
                 .prepares = true,
                 .aborts = true,
                 .conflicts = true,
                 .rotates = true},
	[CRASH] = {.name = "two writers, rotation, a crash",
               .writers = 2,
               .crashes = 1,
               .keys = true,
               .asynchronous = true,
               .prepares = true,
               .rotates = true},
	[PARKING] = {.name = "two writers, refusals, a crash",
                 .writers = 2,
                 .crashes = 1,
                 .asynchronous = true,
                 .conflicts = true,
                 .rotates = true,
                 .parks = true},
	[FOUR_WRITERS] = {.name = "four writers", .writers = 4},
	[ABORTS] = {.name = "three writers, ticks, one row, rollbacks",
                .writers = 3,
                .tick_ids = 2,
                .aborts = true,
                .conflicts = true},
	[ORDER] = {.name = "three writers, one row, rotation",
               .writers = 3,
               .conflicts = true,
               .rotates = true},
	[TICKS] = {.name = "three writers, ticks, rotation",
               .writers = 3,
               .tick_ids = 2,
               .rotates = true},
	[TWO_CRASHES] = {.name = "two writers, rotation, two crashes, a new relay",
                     .writers = 2,
                     .crashes = 2,
                     .restarts = 1,
                     .asynchronous = true,
                     .rotates = true},
	[EVERYTHING] = {.name = "two writers, all that there is",
                    .writers = 2,
                    .tick_ids = 2,
                    .crashes = 1,
                    .keys = true,
                    .asynchronous = true,
                    .prepares = true,
                    .aborts = true,
                    .conflicts = true,
                    .rotates = true},
};

/* A rule by the words for its absence, and the smallest size that shows why it is there. */
typedef struct RuleWords
{
	const char *without;
	SizeNumber  size;
} RuleWords;

static const RuleWords rules[RULES] = {
	[RULE_ONE_SNAPSHOT] = {"a window's end comes from a later snapshot than its rows", WINDOWS},
	[RULE_IN_PROGRESS] = {"what was in progress at the position is forgotten", WINDOWS},
	[RULE_ALL_TABLES] = {"only the current table is read", ROTATION},
	[RULE_ORDER_BY_ID] = {"a window is read in the order of transaction ids", WINDOWS},
	[RULE_IDS_LATE] = {"an event's id is drawn long before its row is written", WINDOWS},
	[RULE_OWN_XID] = {"a snapshot that is written leaves out its writer", INSTALL},
	[RULE_XMAX_STAYS] = {"a tick's xmax is raised to include its writer", WINDOWS},
	[RULE_PARK_FIRST] = {"what is parked is copied once its window is settled", PARKING},
	[RULE_CONFIRM_FIRST] = {"the position moves when a window is opened", RESTART},
	[RULE_FENCE] = {"no fence", CRASH},
	[RULE_LOCK_FIRST] = {"the test for emptying comes before the lock", ROTATION},
	[RULE_LOCK_IF_FREE] = {"the lock for emptying is waited for", ROTATION},
	[RULE_KEEP_LOCK] = {"writers give their lock back before they end", ROTATION},
	[RULE_TEST_CONFIRMED] = {"a table is emptied once it is read, not confirmed", RESTART},
	[RULE_POSITION_MOVES] = {"a table is emptied with the position in it", ROTATION},
};

static int  number;
static bool failed;

static void
report(bool ok, const char *what, const SearchResult *result, const char *how)
{
	printf("%sok %d - %s: %s (%zu states)\n", ok ? "" : "not ", ++number, what, how,
	       result->states);
	fflush(stdout);
	failed = failed || !ok;
}

static void
keeps_its_promises(const Size *size)
{
	SearchResult result;

	printf("# %s\n", size->name);
	protocol_set(size, 0);
	result = search_run(protocol_model(), protocol_start(), stdout);
	report(result.broken == NULL, size->name, &result,
	       result.broken == NULL ? "every promise is kept" : result.broken);
}

static void
is_needed(Rule rule, bool show)
{
	SearchResult result;

	printf("# %s\n", rules[rule].without);
	protocol_set(&sizes[rules[rule].size], 1u << rule);
	result = search_run(protocol_model(), protocol_start(), show ? stdout : NULL);
	report(result.broken != NULL, rules[rule].without, &result,
	       result.broken == NULL ? "nothing breaks" : result.broken);
}

int
main(int argc, char **argv)
{
	bool large = argc == 2 && strcmp(argv[1], "--large") == 0;
	int  count = large ? SIZES : SMALL_SIZES;

	if (argc > 2 || (argc == 2 && !large))
	{
		fprintf(stderr, "usage: %s [--large]\n", argv[0]);
		return 2;
	}
	printf("1..%d\n", count + RULES);
	for (int i = 0; i < count; i++)
		keeps_its_promises(&sizes[i]);
	for (int i = 0; i < RULES; i++)
		is_needed((Rule) i, large);
	return failed ? 1 : 0;
}
