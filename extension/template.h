/*
 * template.h
 *    Key templates: "blog:{id}" taken apart.
 *
 * Pure: no catalogs, no ereport but for lack of memory. Problems come back as text, because the
 * view outbox.watched shows what a write would report.
 */
#ifndef OUTBOX_TEMPLATE_H
#define OUTBOX_TEMPLATE_H

#include "postgres.h"

#include "access/attnum.h"

typedef enum TemplateFilter
{
	FILTER_LOWER,
	FILTER_UPPER,
	FILTER_MD5
} TemplateFilter;

/* A piece of a template: literal text, or a placeholder. */
typedef struct TemplatePart
{
	char           *literal; /* NULL: a placeholder */
	int             literal_length;
	char           *column; /* NULL: literal text */
	int             step_count;
	char          **steps; /* path into the column's jsonb */
	bool            each;  /* a key for each element */
	int             filter_count;
	TemplateFilter *filters; /* in their order, behind path and each */
} TemplatePart;

typedef struct Template
{
	char         *text; /* as it was given */
	int           part_count;
	TemplatePart *parts;
	bool          has_placeholder;
} Template;

/* What is wrong: the parts of an error report. detail and hint may be NULL. */
typedef struct TemplateProblem
{
	int   code; /* SQLSTATE */
	char *message;
	char *detail;
	char *hint;
} TemplateProblem;

/* Takes text apart; allocates in the current memory context. false: *problem says why. */
bool template_parse(const char *text, Template *template, TemplateProblem *problem);

/* The Redis pattern that covers every key of the template: `*` for each placeholder, the template's
 * own glob characters escaped. */
char *template_pattern(const Template *template);

/* Would that pattern match everything? */
bool template_matches_all(const Template *template);

/* Raises the problem as an ERROR. */
void template_report(const TemplateProblem *problem) pg_attribute_noreturn();

#endif
