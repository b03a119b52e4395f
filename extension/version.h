/*
 * version.h
 *    Do the library and the SQL objects belong together?
 *
 * They change at different moments: the library when the server starts with a new package, the SQL
 * objects at ALTER EXTENSION pg_outbox UPDATE, in each database by itself.
 */
#ifndef OUTBOX_VERSION_H
#define OUTBOX_VERSION_H

/* Has CREATE and ALTER EXTENSION refuse a version that this library does not know; for _PG_init. */
void version_init(void);

/* ERROR where this database's extension has a version that the library does not know. Looks once in
 * a session: what becomes of the version later passes version_init's check. */
void version_check(void);

/* The same without an error: what is wrong, in the current memory context; NULL: nothing, or there is
 * no extension. */
const char *version_problem(void);

/* The version of this database's extension, in the current memory context; NULL: there is none. */
const char *version_installed(void);

#endif
