/*
 * install.h
 *    What happens at CREATE EXTENSION and DROP EXTENSION, beyond the SQL script.
 */
#ifndef OUTBOX_INSTALL_H
#define OUTBOX_INSTALL_H

/* Has DROP EXTENSION noticed; for _PG_init. */
void install_init(void);

/* The latest snapshot as a pg_snapshot, for a position that everything recorded from now on comes
 * after. A snapshot leaves out its owner's transaction, but events that this one writes must come
 * after the position: so it is put in. Assigns a transaction id. */
Datum install_first_position(void);

#endif
