/*
 * template_set.h
 *    The templates of one trigger, fitted to its table.
 */
#ifndef OUTBOX_TEMPLATE_SET_H
#define OUTBOX_TEMPLATE_SET_H

#include "postgres.h"

#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"

#include "template.h"

typedef struct TemplateSet TemplateSet;

/* The templates of a trigger that fires. Kept until its table changes; borrowed until the end of
 * the transaction. ERROR where one is wrong or names no column, or where the trigger is used in the
 * wrong way: both are looked at once, not for each row. */
const TemplateSet *template_set_get(const TriggerData *trigger);

int             template_set_count(const TemplateSet *set);
const Template *template_set_text(const TemplateSet *set, int index);

/* What render_pin needs while templates of the set are expanded. */
uint32 template_set_needs(const TemplateSet *set);

/* The columns of which one must change for an UPDATE to count; returns how many, 0: all count. */
int template_set_columns(const TemplateSet *set, const AttrNumber **columns);

/* The column that a part of a template reads; 0: it is text. */
AttrNumber template_set_column(const TemplateSet *set, int index, int part);

/* A number that whoever uses the set keeps with a template; 0 at first. */
uint64 *template_set_mark(const TemplateSet *set, int index);

/* Takes a key, which is borrowed. */
typedef void (*TemplateEmit)(const char *key, int length, void *context);

/* Gives emit every key that template `index` makes for a row: none where a placeholder is NULL or
 * the key empty, several with `each`. key: a buffer to use. */
void template_set_expand(const TemplateSet *set, int index, TupleTableSlot *row, StringInfo key,
                         TemplateEmit emit, void *context);

/* Does the template fit the table? Looks at catalogs only. false: *problem says why. */
bool template_fits(const Template *template, Oid relation, TemplateProblem *problem);

#endif
