/*
 * keys.c
 *    What a Redis key or pattern must be to be recorded.
 *
 * Redis takes an empty key and one of 512 MB; both are surely mistakes, and a message holds many.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "compat.h"
#include "keys.h"
#include "text.h"

#define SHOWN_BYTES 40

void
key_check(const char *what, const char *text, int length)
{
	int utf8_length = text_utf8_length(text, length);

	if (length == 0)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		        errmsg("a %s must not be empty", what));
	if (utf8_length > KEY_MAX_BYTES)
		ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("a %s is too long", what),
		        errdetail("It has %d bytes and begins with \"%.*s\"; at most %d are allowed.",
		                  utf8_length, pg_mbcliplen(text, length, SHOWN_BYTES), text,
		                  KEY_MAX_BYTES));
}
