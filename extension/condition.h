/*
 * condition.h
 *    The condition of outbox.watch_when(): text to expressions for CREATE TRIGGER.
 *
 * The text is parsed once, as one expression, and never becomes part of a command.
 */
#ifndef OUTBOX_CONDITION_H
#define OUTBOX_CONDITION_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/relcache.h"

typedef struct Condition
{
	Node *expression; /* over OLD and NEW, as a trigger's WHEN has them */
	List *rows;       /* their range table, for dependencies */
} Condition;

/* Parses and checks the text for a table. Names in it are looked up by the search path of the call.
 * ERROR, pointing into the text, where it is no single boolean expression. */
Condition condition_parse(const char *text, Relation relation);

/* The condition where there is no old row (INSERT) or no new one (DELETE): its columns are NULL. */
Node *condition_without_old(const Condition *condition);
Node *condition_without_new(const Condition *condition);

#endif
