/*
 * trigger.h
 *    The trigger functions.
 */
#ifndef OUTBOX_TRIGGER_H
#define OUTBOX_TRIGGER_H

/* Has CREATE TRIGGER checked where it uses outbox.invalidate(); for _PG_init. */
void trigger_init(void);

#endif
