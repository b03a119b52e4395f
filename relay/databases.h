/*
 * databases.h
 *    Commands on whole databases, and COMMIT PREPARED: what the relay must hear of.
 */
#ifndef OUTBOX_DATABASES_H
#define OUTBOX_DATABASES_H

/* Puts in the utility hook and the callback. */
void databases_init(void);

#endif
