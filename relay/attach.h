/*
 * attach.h
 *    A relay takes possession of its database's slot, and gives it back however it ends.
 */
#ifndef OUTBOX_ATTACH_H
#define OUTBOX_ATTACH_H

#include "postgres.h"

#include "extension/shmem.h"

/* Makes this process the relay of the slot, or ends it (exit 0) where there is no slot, one that was
 * taken after this process was asked for (the database may have been dropped since), another relay, or
 * somebody who keeps relays away. Before the database is connected to, so that whoever
 * wants it gone finds it. */
OutboxSlot *attach_relay(Oid database);

/* The extension is there: this slot is not a mere probe. */
void confirm_slot(OutboxSlot *slot);

/* Sets ConfigReloadPending if there was a reload since this process was asked for, or since the last
 * call: the SIGHUP may have come before there was anybody to take it. */
void notice_reload(OutboxSlot *slot);

/* Ends this process, exit 0; a new one is started at once. reason: logged unless NULL. */
void leave_for_restart(const char *reason) pg_attribute_noreturn();

/* The extension is gone: frees the attached slot and ends, exit 0. */
void leave_for_good(void) pg_attribute_noreturn();

/* No relay may run here at present: shows and logs why and ends, exit 0; a reload has the launcher
 * try again. */
void leave_unwanted(OutboxSlot *slot, const char *reason) pg_attribute_noreturn();

#endif
