/*
 * template.c
 *    Key templates: "blog:{id}" taken apart.
 *
 *    template    := ( literal | "{{" | "}}" | placeholder )*
 *    placeholder := "{" name "}"
 *    name        := as written, up to the brace; in double quotes where it holds `.`, `|` or `}`,
 *                   a double quote in it doubled
 *
 * Every server encoding is a superset of ASCII whose longer characters have no ASCII bytes behind
 * the first, or is a client encoding that no server uses: so bytes can be looked at one by one.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "compat.h"
#include "keys.h"
#include "template.h"

typedef struct Parser
{
	const char    *start;
	const char    *at;
	StringInfoData literal; /* collected since the last placeholder */
	Template *template;
	int              capacity;
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
add_part(Parser *parser, char *literal, char *column)
{
	Template *template = parser->template;

	if (template->part_count == parser->capacity)
	{
		parser->capacity *= 2;
		template->parts = repalloc(template->parts, sizeof(TemplatePart) * parser->capacity);
	}
	template->parts[template->part_count++] = (TemplatePart){literal, column};
}

static void
end_literal(Parser *parser)
{
	if (parser->literal.len == 0)
		return;
	add_part(parser, pstrdup(parser->literal.data), NULL);
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

static bool
parse_placeholder(Parser *parser)
{
	const char    *brace = parser->at++;
	StringInfoData name;
	bool           quoted = *parser->at == '"';

	initStringInfo(&name);
	if (!quoted)
		read_plain(parser, &name);
	else if (!read_quoted(parser, &name))
		return fail_unbalanced(parser, brace);
	if (*parser->at == '.' || *parser->at == '|')
		return fail(
			parser, ERRCODE_FEATURE_NOT_SUPPORTED,
			psprintf("key template \"%s\" uses a path or a filter", parser->start),
			psprintf("The \"%c\" at position %d is not supported yet.", *parser->at,
		             position(parser, parser->at)),
			pstrdup("Write a name that holds \".\", \"|\" or \"}\" in double quotes: {\"a.b\"}."));
	if (*parser->at != '}')
		return fail_unbalanced(parser, brace);
	if (name.len == 0)
		return fail(parser, ERRCODE_SYNTAX_ERROR,
		            psprintf("key template \"%s\" has a placeholder without a name", parser->start),
		            psprintf("It begins at position %d.", position(parser, brace)),
		            pstrdup("Write {{ and }} for literal braces."));
	parser->at++;
	end_literal(parser);
	add_part(parser, NULL, name.data);
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
