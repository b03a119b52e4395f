/*
 * template.c
 *    Key templates: "blog:{id}" taken apart.
 *
 *    template    := ( literal | "{{" | "}}" | placeholder )*
 *    placeholder := "{" name ( "." name )* ( "|" filter )* "}"
 *    name        := as written, up to ".", "|" or "}"; in double quotes where it holds one of them,
 *                   a double quote in it doubled
 *    filter      := "each" (the first one, once in a template), "lower", "upper", "md5"
 *
 * Every server encoding keeps ASCII bytes for ASCII characters, so bytes can be looked at singly.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "compat.h"
#include "keys.h"
#include "template.h"

#define MAX_FILTERS 16 /* of one placeholder; more than two make no sense */

typedef struct Parser
{
	const char    *start;
	const char    *at;
	StringInfoData literal; /* collected since the last placeholder */
	Template *template;
	int              capacity;
	bool             has_each;
	TemplateProblem *problem;
} Parser;

static int
position(const Parser *parser, const char *at)
{
	return pg_mbstrlen_with_len(parser->start, at - parser->start) + 1;
}

static bool
fail(Parser *parser, int code, char *message, char *detail, char *hint)
{
	*parser->problem = (TemplateProblem){code, message, detail, hint};
	return false;
}

static bool
fail_unbalanced(Parser *parser, const char *brace)
{
	return fail(
		parser, ERRCODE_SYNTAX_ERROR,
		psprintf("key template \"%s\" has unbalanced braces", parser->start),
		psprintf("The \"%c\" at position %d has no partner.", *brace, position(parser, brace)),
		pstrdup("Write {{ and }} for literal braces."));
}

static void
add_part(Parser *parser, const TemplatePart *part)
{
	Template *template = parser->template;

	if (template->part_count == parser->capacity)
	{
		parser->capacity *= 2;
		template->parts = repalloc(template->parts, sizeof(TemplatePart) * parser->capacity);
	}
	template->parts[template->part_count++] = *part;
}

static void
end_literal(Parser *parser)
{
	if (parser->literal.len == 0)
		return;
	add_part(parser, &(TemplatePart){.literal = pstrdup(parser->literal.data),
	                                 .literal_length = parser->literal.len});
	resetStringInfo(&parser->literal);
}

/* Reads up to the closing quote; false: there is none. */
static bool
read_quoted(Parser *parser, StringInfo name)
{
	for (parser->at++; *parser->at != '\0'; parser->at++)
	{
		if (*parser->at == '"' && *++parser->at != '"')
			return true;
		appendStringInfoChar(name, *parser->at);
	}
	return false;
}

static void
read_plain(Parser *parser, StringInfo name)
{
	size_t length = strcspn(parser->at, ".|}");

	appendBinaryStringInfo(name, parser->at, length);
	parser->at += length;
}

/* A name of a column or a field, from where the parser is. NULL: *problem says why. */
static char *
parse_name(Parser *parser, const char *brace)
{
	StringInfoData name;

	initStringInfo(&name);
	if (*parser->at != '"')
		read_plain(parser, &name);
	else if (!read_quoted(parser, &name))
	{
		fail_unbalanced(parser, brace);
		return NULL;
	}
	if (*parser->at == '\0' || strchr(".|}", *parser->at) == NULL)
	{
		fail_unbalanced(parser, brace);
		return NULL;
	}
	if (name.len > 0)
		return name.data;
	fail(parser, ERRCODE_SYNTAX_ERROR,
	     psprintf("key template \"%s\" has a placeholder without a name", parser->start),
	     psprintf("It begins at position %d.", position(parser, brace)),
	     pstrdup("Write {{ and }} for literal braces."));
	return NULL;
}

static bool
parse_path(Parser *parser, const char *brace, TemplatePart *part)
{
	int capacity = 0;

	while (*parser->at == '.')
	{
		if (part->step_count == capacity)
		{
			capacity = capacity == 0 ? 4 : capacity * 2;
			part->steps = part->steps == NULL ? palloc(sizeof(char *) * capacity)
			                                  : repalloc(part->steps, sizeof(char *) * capacity);
		}
		parser->at++;
		part->steps[part->step_count] = parse_name(parser, brace);
		if (part->steps[part->step_count++] == NULL)
			return false;
	}
	return true;
}

static bool
fail_filter(Parser *parser, const char *what, const char *at)
{
	return fail(parser, ERRCODE_SYNTAX_ERROR,
	            psprintf("key template \"%s\" %s", parser->start, what),
	            psprintf("It stands at position %d.", position(parser, at)),
	            pstrdup("Filters are lower, upper and md5; each comes before them, and once in a "
	                    "template. Write a name that holds \"|\" in double quotes."));
}

static bool
add_each(Parser *parser, TemplatePart *part, const char *at)
{
	if (parser->has_each || part->filter_count > 0)
		return fail_filter(parser,
		                   "has an \"each\" that is not the first filter, or not the only one", at);
	parser->has_each = part->each = true;
	return true;
}

static bool
add_filter(Parser *parser, TemplatePart *part, const char *at, size_t length)
{
	static const char *const names[] = {"lower", "upper", "md5"};

	for (int i = 0; i < lengthof(names); i++)
	{
		if (strlen(names[i]) != length || strncmp(at, names[i], length) != 0)
			continue;
		if (part->filter_count == MAX_FILTERS)
			return fail_filter(parser, "has too many filters", at);
		part->filters[part->filter_count++] = (TemplateFilter) i;
		return true;
	}
	return fail_filter(parser, psprintf("has the unknown filter \"%s\"", pnstrdup(at, length)), at);
}

static bool
parse_filters(Parser *parser, TemplatePart *part)
{
	if (*parser->at == '|')
		part->filters = palloc(sizeof(TemplateFilter) * MAX_FILTERS);
	while (*parser->at == '|')
	{
		const char *at = parser->at + 1;
		size_t      length = strcspn(at, "|}");
		bool        is_each = length == strlen("each") && strncmp(at, "each", length) == 0;

		if (is_each ? !add_each(parser, part, at) : !add_filter(parser, part, at, length))
			return false;
		parser->at = at + length;
	}
	return true;
}

static bool
parse_placeholder(Parser *parser)
{
	const char  *brace = parser->at++;
	TemplatePart part = {0};

	part.column = parse_name(parser, brace);
	if (part.column == NULL || !parse_path(parser, brace, &part) || !parse_filters(parser, &part))
		return false;
	if (*parser->at != '}')
		return fail_unbalanced(parser, brace);
	parser->at++;
	end_literal(parser);
	add_part(parser, &part);
	parser->template->has_placeholder = true;
	return true;
}

static bool
parse_next(Parser *parser)
{
	char c = *parser->at;

	if (c == '{' && parser->at[1] != '{')
		return parse_placeholder(parser);
	if (c == '}' && parser->at[1] != '}')
		return fail_unbalanced(parser, parser->at);
	parser->at += (c == '{' || c == '}') ? 2 : 1;
	appendStringInfoChar(&parser->literal, c);
	return true;
}

bool
template_parse(const char *text, Template *template, TemplateProblem *problem)
{
	Parser parser = {.start = text, .at = text, .template = template, .problem = problem};

	*template = (Template){.text = pstrdup(text)};
	parser.capacity = 4;
	template->parts = palloc(sizeof(TemplatePart) * parser.capacity);
	initStringInfo(&parser.literal);
	if (text[0] == '\0')
		return fail(&parser, ERRCODE_SYNTAX_ERROR, pstrdup("key template is empty"),
		            pstrdup("It would make an empty key."), NULL);
	if (strlen(text) > KEY_MAX_BYTES)
		return fail(
			&parser, ERRCODE_PROGRAM_LIMIT_EXCEEDED, pstrdup("key template is too long"),
			psprintf("It has %zu bytes; at most %d are allowed.", strlen(text), KEY_MAX_BYTES),
			NULL);
	while (*parser.at != '\0')
	{
		if (!parse_next(&parser))
			return false;
	}
	end_literal(&parser);
	return true;
}

char *
template_pattern(const Template *template)
{
	StringInfoData pattern;

	initStringInfo(&pattern);
	for (int i = 0; i < template->part_count; i++)
	{
		const char *literal = template->parts[i].literal;

		if (literal == NULL)
			appendStringInfoChar(&pattern, '*');
		for (; literal != NULL && *literal != '\0'; literal++)
		{
			if (strchr("*?[]\\", *literal) != NULL)
				appendStringInfoChar(&pattern, '\\');
			appendStringInfoChar(&pattern, *literal);
		}
	}
	return pattern.data;
}

bool
template_matches_all(const Template *template)
{
	for (int i = 0; i < template->part_count; i++)
	{
		if (template->parts[i].literal != NULL)
			return false;
	}
	return true;
}

void
template_report(const TemplateProblem *problem)
{
	ereport(ERROR, errcode(problem->code), errmsg("%s", problem->message),
	        problem->detail != NULL ? errdetail("%s", problem->detail) : 0,
	        problem->hint != NULL ? errhint("%s", problem->hint) : 0);
	pg_unreachable();
}
