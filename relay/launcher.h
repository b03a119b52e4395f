/*
 * launcher.h
 *    One relay for each database that has the extension.
 */
#ifndef OUTBOX_LAUNCHER_H
#define OUTBOX_LAUNCHER_H

#include "postgres.h"

/* While shared_preload_libraries are loaded: registers the launcher and the hooks that keep relays
 * out of the way of DROP DATABASE and its kin. */
void relay_init(void);

/* Entry point of the launcher. */
PGDLLEXPORT void outbox_launcher_main(Datum main_arg);

#endif
