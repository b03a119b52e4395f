/*
 * install.h
 *    What happens at CREATE EXTENSION and DROP EXTENSION, beyond the SQL script.
 */
#ifndef OUTBOX_INSTALL_H
#define OUTBOX_INSTALL_H

/* Has DROP EXTENSION noticed; for _PG_init. */
void install_init(void);

#endif
