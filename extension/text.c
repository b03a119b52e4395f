/*
 * text.c
 *    Text on its way out: UTF-8 whatever the database's encoding.
 *
 * The relay converts when it publishes; a text that cannot be converted must fail the caller, who
 * can do something about it.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "compat.h"
#include "text.h"

int
text_utf8_length(const char *text, int length)
{
	char *converted;
	int   result;

	if (length == 0 || GetDatabaseEncoding() == PG_UTF8)
		return length;
	if (GetDatabaseEncoding() == PG_SQL_ASCII)
	{
		(void) pg_verify_mbstr(PG_UTF8, text, length, false);
		return length;
	}
	converted = pg_server_to_any(text, length, PG_UTF8);
	if (converted == text)
		return length;
	result = strlen(converted);
	pfree(converted);
	return result;
}

void
text_check_name(const char *what, const char *text)
{
	int length = text_utf8_length(text, strlen(text));

	if (length > TEXT_MAX_NAME_BYTES)
		ereport(
			ERROR, errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION), errmsg("%s is too long", what),
			errdetail("It has %d bytes in UTF-8; AMQP allows %d.", length, TEXT_MAX_NAME_BYTES));
}
