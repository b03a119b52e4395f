/*
 * error.c
 *    Filling an MqError.
 */
#include "wire/error.h"

#include <stdarg.h>
#include <stdio.h>

MqResult
mq_error_set(MqError *error, MqResult code, const char *format, ...)
{
	va_list arguments;

	if (error == NULL)
		return code;
	error->code = code;
	error->reply_code = 0;
	va_start(arguments, format);
	vsnprintf(error->text, sizeof(error->text), format, arguments);
	va_end(arguments);
	for (unsigned char *c = (unsigned char *) error->text; *c != '\0'; c++)
	{
		/* ASCII only: the peer's words may be in any encoding, or in none. */
		if (*c < ' ' || *c > '~')
			*c = '?';
	}
	return code;
}
