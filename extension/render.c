/*
 * render.c
 *    A column's value as text, alike in every session.
 *
 * A key must not depend on who writes the row: a session with another DateStyle would invalidate
 * other keys. So values are cast to text under fixed settings. Setting and restoring them costs
 * more than all else, so each type says which of them it depends on, a type that nobody knows
 * depends on all, and what has its fixed value already is left alone.
 *
 * Limits: a cast written by a user may look at other settings; that is its business.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "render.h"

enum
{
	PIN_DATESTYLE = 1,
	PIN_INTERVALSTYLE = 2,
	PIN_TIMEZONE = 4,
	PIN_FLOAT = 8,
	PIN_BYTEA = 16,
	PIN_MONEY = 32,
	PIN_SEARCH_PATH = 64,
	PIN_QUOTING = 128,
	PIN_ALL = 255
};

static bool
datestyle_is_iso(void)
{
	return DateStyle == USE_ISO_DATES;
}

static bool
intervalstyle_is_postgres(void)
{
	return IntervalStyle == INTSTYLE_POSTGRES;
}

static bool
timezone_is_utc(void)
{
	return strcmp(pg_get_timezone_name(session_timezone), "UTC") == 0;
}

static bool
float_digits_are_one(void)
{
	return extra_float_digits == 1;
}

static bool
bytea_is_hex(void)
{
	return bytea_output == BYTEA_OUTPUT_HEX;
}

static bool
money_is_c(void)
{
	return strcmp(GetConfigOption("lc_monetary", false, false), "C") == 0;
}

static bool
search_path_is_catalog(void)
{
	return strcmp(namespace_search_path, "pg_catalog") == 0;
}

static bool
quoting_is_off(void)
{
	return !quote_all_identifiers;
}

static const struct Pin
{
	uint32      need;
	const char *name;
	const char *value;
	bool (*holds)(void);
} pins[] = {
	{PIN_DATESTYLE, "DateStyle", "ISO", datestyle_is_iso},
	{PIN_INTERVALSTYLE, "IntervalStyle", "postgres", intervalstyle_is_postgres},
	{PIN_TIMEZONE, "TimeZone", "UTC", timezone_is_utc},
	{PIN_FLOAT, "extra_float_digits", "1", float_digits_are_one},
	{PIN_BYTEA, "bytea_output", "hex", bytea_is_hex},
	{PIN_MONEY, "lc_monetary", "C", money_is_c},
	{PIN_SEARCH_PATH, "search_path", "pg_catalog", search_path_is_catalog},
	{PIN_QUOTING, "quote_all_identifiers", "off", quoting_is_off},
};

/* Types of the server whose text depends on nothing, or on little; all others on everything. */
static const struct
{
	Oid    type;
	uint32 needs;
} known_types[] = {
	{INT4OID, 0},
	{INT8OID, 0},
	{TEXTOID, 0},
	{VARCHAROID, 0},
	{UUIDOID, 0},
	{BPCHAROID, 0},
	{BOOLOID, 0},
	{INT2OID, 0},
	{NAMEOID, 0},
	{CHAROID, 0},
	{OIDOID, 0},
	{NUMERICOID, 0},
	{JSONOID, 0},
	{JSONBOID, 0},
	{FLOAT4OID, PIN_FLOAT},
	{FLOAT8OID, PIN_FLOAT},
	{DATEOID, PIN_DATESTYLE},
	{TIMEOID, PIN_DATESTYLE},
	{TIMETZOID, PIN_DATESTYLE},
	{TIMESTAMPOID, PIN_DATESTYLE},
	{TIMESTAMPTZOID, PIN_DATESTYLE | PIN_TIMEZONE},
	{INTERVALOID, PIN_INTERVALSTYLE},
	{BYTEAOID, PIN_BYTEA},
	{MONEYOID, PIN_MONEY},
};

static uint32
type_needs(Oid base)
{
	for (int i = 0; i < lengthof(known_types); i++)
	{
		if (known_types[i].type == base)
			return known_types[i].needs;
	}
	return get_typtype(base) == TYPTYPE_ENUM ? 0 : PIN_ALL;
}

uint32
render_needs_of_type(Oid type)
{
	return type_needs(getBaseType(type));
}

static void
use_output(Renderer *renderer, Oid type, MemoryContext context)
{
	Oid  function;
	bool is_varlena;

	getTypeOutputInfo(type, &function, &is_varlena);
	fmgr_info_cxt(function, &renderer->function, context);
	renderer->way = function == F_INT4OUT   ? RENDER_INT4
	                : function == F_INT8OUT ? RENDER_INT8
	                                        : RENDER_OUTPUT;
}

static void
use_cast(Renderer *renderer, Oid function, MemoryContext context)
{
	fmgr_info_cxt(function, &renderer->function, context);
	renderer->arguments = renderer->function.fn_nargs;
	renderer->way = RENDER_CAST;
	if (function >= FirstNormalObjectId)
		renderer->needs = PIN_ALL;
}

void
renderer_init(Renderer *renderer, Oid type, Oid collation, MemoryContext context)
{
	Oid function = InvalidOid;
	Oid base = getBaseType(type);

	*renderer = (Renderer){.collation = collation, .needs = type_needs(base)};
	switch (find_coercion_pathway(TEXTOID, base, COERCION_EXPLICIT, &function))
	{
	case COERCION_PATH_RELABELTYPE:
		renderer->way = RENDER_TEXT;
		break;
	case COERCION_PATH_FUNC:
		use_cast(renderer, function, context);
		break;
	case COERCION_PATH_NONE:
	case COERCION_PATH_ARRAYCOERCE:
	case COERCION_PATH_COERCEVIAIO:
		use_output(renderer, base, context);
		break;
	}
}

int
render_pin(uint32 needs)
{
	int nest_level = 0;

	for (int i = 0; needs != 0 && i < lengthof(pins); i++)
	{
		if ((needs & pins[i].need) == 0 || pins[i].holds())
			continue;
		if (nest_level == 0)
			nest_level = NewGUCNestLevel();
		(void) set_config_option(pins[i].name, pins[i].value, PGC_USERSET, PGC_S_SESSION,
		                         GUC_ACTION_SAVE, true, 0, false);
	}
	return nest_level;
}

void
render_unpin(int nest_level)
{
	if (nest_level != 0)
		AtEOXact_GUC(true, nest_level);
}

static void
append_text(Datum value, StringInfo out)
{
	text *whole = DatumGetTextPP(value);

	appendBinaryStringInfo(out, VARDATA_ANY(whole), VARSIZE_ANY_EXHDR(whole));
	if (PointerGetDatum(whole) != value)
		pfree(whole);
}

static bool
append_cast(const Renderer *renderer, Datum value, StringInfo out)
{
	LOCAL_FCINFO(call, 3);
	Datum result;

	InitFunctionCallInfoData(*call, unconstify(FmgrInfo *, &renderer->function),
	                         renderer->arguments, renderer->collation, NULL, NULL);
	call->args[0] = (NullableDatum){value, false};
	call->args[1] = (NullableDatum){Int32GetDatum(-1), false};
	call->args[2] = (NullableDatum){BoolGetDatum(true), false};
	result = FunctionCallInvoke(call);
	if (!call->isnull)
		append_text(result, out);
	return !call->isnull;
}

static void
append_output(const Renderer *renderer, Datum value, StringInfo out)
{
	char *text = OutputFunctionCall(unconstify(FmgrInfo *, &renderer->function), value);

	appendStringInfoString(out, text);
	pfree(text);
}

static void
append_integer(int64 value, StringInfo out)
{
	enlargeStringInfo(out, MAXINT8LEN);
	out->len += pg_lltoa(value, out->data + out->len);
}

bool
render_append(const Renderer *renderer, Datum value, StringInfo out)
{
	switch (renderer->way)
	{
	case RENDER_TEXT:
		append_text(value, out);
		return true;
	case RENDER_INT4:
		append_integer(DatumGetInt32(value), out);
		return true;
	case RENDER_INT8:
		append_integer(DatumGetInt64(value), out);
		return true;
	case RENDER_CAST:
		return append_cast(renderer, value, out);
	case RENDER_OUTPUT:
		append_output(renderer, value, out);
		return true;
	}
	pg_unreachable();
}
