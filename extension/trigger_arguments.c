/*
 * trigger_arguments.c
 *    The arguments of a trigger that calls outbox.invalidate().
 */
#include "postgres.h"

#include "compat.h"
#include "trigger_arguments.h"

static bool
is_mark(const char *argument)
{
	return strcmp(argument, TRIGGER_COLUMNS_MARK) == 0;
}

TriggerArguments
trigger_arguments_split(int count, char **arguments)
{
	TriggerArguments all = {.template_count = count, .templates = arguments};

	if (count == 0 || !is_mark(arguments[0]))
		return all;
	for (int i = 1; i < count; i++)
	{
		if (is_mark(arguments[i]))
			return (TriggerArguments){.has_columns = true,
			                          .column_count = i - 1,
			                          .columns = arguments + 1,
			                          .template_count = count - i - 1,
			                          .templates = arguments + i + 1};
	}
	return all;
}
