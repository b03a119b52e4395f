/*
 * payload.c
 *    How large a message may be: outbox.max_payload.
 */
#include "postgres.h"

#include "utils/jsonb.h"

#include "compat.h"
#include "payload.h"
#include "settings.h"
#include "text.h"

void
payload_check_size(size_t size)
{
	if (size > (size_t) setting_max_payload)
		ereport(
			ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			errmsg("the payload of a message is too large"),
			errdetail("It has %zu bytes; outbox.max_payload is %d.", size, setting_max_payload));
}

void
payload_check_jsonb(Datum payload)
{
	Jsonb *jsonb = DatumGetJsonbP(payload);
	char  *text = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));

	payload_check_size(text_utf8_length(text, strlen(text)));
	pfree(text);
}
