/*
 * placeholder.c
 *    A template's placeholder, bound to a column: row to text.
 *
 * A path looks into jsonb as the operator #>> does: what is not there, and JSON's null, is NULL,
 * and NULL makes no key. What comes out is text. `each` takes the elements of an array, in all its
 * dimensions, or of a JSON array; a JSON value that is none stands for itself, because a key too
 * many does no harm and one too few does.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/md5.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/formatting.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "placeholder.h"

#define MD5_TEXT_BYTES 33

static bool
fail(TemplateProblem *problem, const char *what, const Template *template, const TemplatePart *part,
     Oid type, const char *wanted)
{
	*problem = (TemplateProblem){
		ERRCODE_DATATYPE_MISMATCH,
		psprintf("key template \"%s\" %s column \"%s\"", template->text, what, part->column),
		psprintf("The column is of type %s, not %s.", format_type_be(type), wanted),
		pstrdup("Write a name that holds \".\" or \"|\" in double quotes: {\"a.b\"}.")};
	return false;
}

bool
placeholder_fits(const Template *template, const TemplatePart *part, Oid type,
                 TemplateProblem *problem)
{
	Oid base = getBaseType(type);

	if (part->step_count > 0 && base != JSONBOID)
		return fail(problem, "looks into", template, part, type, "jsonb");
	if (part->each && base != JSONBOID && !OidIsValid(get_element_type(base)))
		return fail(problem, "takes the elements of", template, part, type, "an array or jsonb");
	return true;
}

static ArrayType *
make_path(const TemplatePart *part)
{
	Datum *steps;

	if (part->step_count == 0)
		return NULL;
	steps = palloc(sizeof(Datum) * part->step_count);
	for (int i = 0; i < part->step_count; i++)
		steps[i] = CStringGetTextDatum(part->steps[i]);
	return construct_array(steps, part->step_count, TEXTOID, -1, false, TYPALIGN_INT);
}

void
placeholder_bind(Placeholder *placeholder, const TemplatePart *part, AttrNumber column, Oid type,
                 Oid collation, MemoryContext context)
{
	Oid rendered = getBaseType(type);

	placeholder->part = part;
	placeholder->column = column;
	placeholder->type = rendered;
	placeholder->collation = OidIsValid(collation) ? collation : DEFAULT_COLLATION_OID;
	placeholder->path = make_path(part);
	if (part->each && rendered != JSONBOID)
		rendered = get_element_type(rendered);
	else if (part->each || part->step_count > 0)
		rendered = TEXTOID;
	renderer_init(&placeholder->renderer, rendered, collation, context);
}

/* With `each` the value stays jsonb, else it becomes text. */
bool
placeholder_follow(const Placeholder *placeholder, Datum *value)
{
	LOCAL_FCINFO(call, 2);

	if (placeholder->path == NULL)
		return true;
	InitFunctionCallInfoData(*call, NULL, 2, InvalidOid, NULL, NULL);
	call->args[0] = (NullableDatum){*value, false};
	call->args[1] = (NullableDatum){PointerGetDatum(placeholder->path), false};
	*value = placeholder->part->each ? jsonb_extract_path(call) : jsonb_extract_path_text(call);
	return !call->isnull;
}

/* NULL: JSON's null. */
static char *
json_text(JsonbValue *value)
{
	switch (value->type)
	{
	case jbvNull:
		return NULL;
	case jbvString:
		return pnstrdup(value->val.string.val, value->val.string.len);
	case jbvBool:
		return pstrdup(value->val.boolean ? "true" : "false");
	case jbvNumeric:
		return DatumGetCString(
			DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	default:
		return JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
	}
}

static PlaceholderValues
json_elements(Jsonb *json)
{
	bool              is_array = JB_ROOT_IS_ARRAY(json); /* a scalar is stored as one, too */
	PlaceholderValues result = {.count = is_array ? JB_ROOT_COUNT(json) : 1};

	result.values = palloc0(sizeof(Datum) * Max(result.count, 1));
	result.nulls = palloc0(sizeof(bool) * Max(result.count, 1));
	for (int i = 0; i < result.count; i++)
	{
		char *element = is_array ? json_text(getIthJsonbValueFromContainer(&json->root, i))
		                         : JsonbToCString(NULL, &json->root, VARSIZE(json));

		result.nulls[i] = element == NULL;
		if (element != NULL)
			result.values[i] = CStringGetTextDatum(element);
	}
	return result;
}

static PlaceholderValues
array_elements(ArrayType *array)
{
	PlaceholderValues result;
	int16             length;
	bool              by_value;
	char              align;

	get_typlenbyvalalign(ARR_ELEMTYPE(array), &length, &by_value, &align);
	deconstruct_array(array, ARR_ELEMTYPE(array), length, by_value, align, &result.values,
	                  &result.nulls, &result.count);
	return result;
}

PlaceholderValues
placeholder_elements(const Placeholder *placeholder, Datum value)
{
	if (placeholder->type == JSONBOID)
		return json_elements(DatumGetJsonbP(value));
	return array_elements(DatumGetArrayTypeP(value));
}

static char *
md5_of_utf8(const char *text)
{
	char       *utf8 = pg_server_to_any(text, strlen(text), PG_UTF8);
	char       *sum = palloc(MD5_TEXT_BYTES);
	const char *error = NULL;

	if (!pg_md5_hash(utf8, strlen(utf8), sum, &error))
		ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR),
		        errmsg("could not compute %s hash: %s", "MD5", error));
	return sum;
}

static char *
apply_filter(TemplateFilter filter, const char *text, Oid collation)
{
	switch (filter)
	{
	case FILTER_LOWER:
		return str_tolower(text, strlen(text), collation);
	case FILTER_UPPER:
		return str_toupper(text, strlen(text), collation);
	case FILTER_MD5:
		return md5_of_utf8(text);
	}
	pg_unreachable();
}

bool
placeholder_append(const Placeholder *placeholder, Datum value, StringInfo out)
{
	const TemplatePart *part = placeholder->part;
	StringInfoData      plain;
	char               *text;

	if (part->filter_count == 0)
		return render_append(&placeholder->renderer, value, out);
	initStringInfo(&plain);
	if (!render_append(&placeholder->renderer, value, &plain))
		return false;
	text = plain.data;
	for (int i = 0; i < part->filter_count; i++)
		text = apply_filter(part->filters[i], text, placeholder->collation);
	appendStringInfoString(out, text);
	return true;
}
