/*
 * notify.h
 *    Tells systemd (sd_notify): ready, stopping, alive, and the state in words.
 *
 * A datagram to the socket that NOTIFY_SOCKET names; without it nothing is done. Ready means that the
 * loop turns: a broker that is away is waited for, and must not make the start of the unit fail.
 */
#ifndef WORKER_NOTIFY_H
#define WORKER_NOTIFY_H

#include <stdint.h>

typedef struct Notify
{
	int     fd;          /* -1: nobody is told */
	int64_t watchdog_us; /* between two signs of life; 0: none are expected */
	int64_t due_us;
} Notify;

/* From the environment: NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID. Says READY=1. */
void notify_open(Notify *notify);
void notify_close(Notify *notify);

/* text: lines "STATUS=consuming", "STOPPING=1", ... Never waits. */
void notify_send(const Notify *notify, const char *text);

/* A sign of life, when it is time. */
void notify_step(Notify *notify, int64_t now_us);

int64_t notify_due_us(const Notify *notify);

#endif
