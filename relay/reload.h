/*
 * reload.h
 *    Did a reload change anything that the relay has read?
 */
#ifndef OUTBOX_RELOAD_H
#define OUTBOX_RELOAD_H

#include "postgres.h"

/* Remembers the settings as they are. At the start, outside a transaction. */
void reload_remember(void);

/* Reads the configuration file again (values that are out of range are refused by the server and
 * the old ones stay) and looks at what ALTER DATABASE and ALTER ROLE have set since: a running
 * process does not get that by itself. true: something differs from what was remembered. */
bool reload_settings(void);

#endif
