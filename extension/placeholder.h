/*
 * placeholder.h
 *    A template's placeholder, bound to a column: row to text.
 */
#ifndef OUTBOX_PLACEHOLDER_H
#define OUTBOX_PLACEHOLDER_H

#include "postgres.h"

#include "access/attnum.h"
#include "lib/stringinfo.h"
#include "utils/array.h"

#include "render.h"
#include "template.h"

typedef struct Placeholder
{
	const TemplatePart *part; /* borrowed from the template */
	AttrNumber          column;
	Oid                 type;     /* the column's, or its domain's base type */
	Renderer            renderer; /* of the value, or of an element */
	Oid                 collation;
	ArrayType          *path; /* text[]; NULL: the column itself */
} Placeholder;

/* What a placeholder stands for in one row: one value, or the elements of one. */
typedef struct PlaceholderValues
{
	Datum *values;
	bool  *nulls;
	int    count;
} PlaceholderValues;

/* Can the part be bound to a column of this type? false: *problem says why. */
bool placeholder_fits(const Template *template, const TemplatePart *part, Oid type,
                      TemplateProblem *problem);

/* Binds; what is looked up lives in context, which is the current one. */
void placeholder_bind(Placeholder *placeholder, const TemplatePart *part, AttrNumber column,
                      Oid type, Oid collation, MemoryContext context);

/* Follows the path. false: there is nothing, no key. */
bool placeholder_follow(const Placeholder *placeholder, Datum *value);

/* The elements of a value, for a placeholder with `each`. */
PlaceholderValues placeholder_elements(const Placeholder *placeholder, Datum value);

/* Appends the text of a value (or of an element), filtered. false: a cast made NULL of it. */
bool placeholder_append(const Placeholder *placeholder, Datum value, StringInfo out);

#endif
