/*
 * pg_outbox.c
 *    Where the library enters the server.
 *
 * Loaded through shared_preload_libraries it also gets shared memory and starts relays. Loaded
 * late, by a session's first call or trigger, it records events all the same; they wait for a
 * relay.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "install.h"
#include "relay/launcher.h"
#include "settings.h"
#include "shmem.h"
#include "trigger.h"
#include "version.h"
#include "xact.h"

PG_MODULE_MAGIC;

void _PG_init(void); /* before version 16 no header says so */

void
_PG_init(void)
{
	settings_define();
	xact_init();
	trigger_init();
	install_init();
	version_init();

	if (process_shared_preload_libraries_in_progress)
	{
		shmem_init();
		relay_init();
	}
}
