/*
 * trouble.c
 *    See trouble.h.
 */
#include "worker/trouble.h"

#include <stdio.h>
#include <string.h>

#define REASON_LOG_US ((int64_t) 10000000) /* another reason is told after so long */

void
trouble_set(Trouble *trouble, const char *reason, int64_t now_us)
{
	snprintf(trouble->reason, sizeof(trouble->reason), "%s", reason);
	if (!trouble->present || (strcmp(trouble->reason, trouble->told_reason) != 0 &&
	                          now_us >= trouble->told_us + REASON_LOG_US))
		trouble->is_news = true;
	trouble->present = true;
}

void
trouble_told(Trouble *trouble, int64_t now_us)
{
	trouble->is_news = false;
	trouble->told_us = now_us;
	memcpy(trouble->told_reason, trouble->reason, sizeof(trouble->reason));
}
