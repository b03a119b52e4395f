/*
 * trigger_arguments.h
 *    The arguments of a trigger that calls outbox.invalidate(): templates, and before them perhaps
 *    the columns that count.
 *
 *    outbox.invalidate('blog:{id}', 'blogs:all')
 *    outbox.invalidate('', 'title', 'author_id', '', 'blog:{id}', 'blogs:all')
 *
 * In the second form an UPDATE counts only if title or author_id changes. Neither a template nor a
 * column's name can be empty, so that an empty first argument cannot be mistaken for either.
 */
#ifndef OUTBOX_TRIGGER_ARGUMENTS_H
#define OUTBOX_TRIGGER_ARGUMENTS_H

#include "postgres.h"

#define TRIGGER_COLUMNS_MARK "" /* before and behind the columns */

/* A trigger's arguments are counted in 16 bits, and nobody reads a thousand of them. */
#define TRIGGER_MAX_ARGUMENTS 1000

typedef struct TriggerArguments
{
	bool   has_columns;
	int    column_count;
	char **columns; /* borrowed */
	int    template_count;
	char **templates; /* borrowed */
} TriggerArguments;

/* Points into `arguments`. A list of columns that does not end is none: its mark is then a template,
 * an empty one, which is refused. */
TriggerArguments trigger_arguments_split(int count, char **arguments);

#endif
