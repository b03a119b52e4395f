/*
 * settings.h
 *    Every outbox.* setting. Written by the server's settings machinery alone; all others read.
 *
 * Strings are never NULL and live until the setting changes: copy what must outlive a reload.
 */
#ifndef OUTBOX_SETTINGS_H
#define OUTBOX_SETTINGS_H

#include "postgres.h"

typedef enum QueueType
{
	QUEUE_CLASSIC,
	QUEUE_QUORUM
} QueueType;

/* Where the broker is and what is sent there: read by the relay. */
extern char *setting_amqp_url;           /* one or several URLs, checked by mq_url_parse_list */
extern char *setting_amqp_password_file; /* empty: the password in the URL counts */
extern char *setting_amqp_ca_file;       /* empty: the system's */
extern char *setting_amqp_cert_file;     /* empty: none is shown */
extern char *setting_amqp_key_file;      /* empty: in the certificate's file */
extern char *setting_queue;
extern char *setting_invalidation_exchange; /* empty: the default exchange */
extern char *setting_run_on;                /* empty: relays run anywhere */
extern int   setting_queue_type;            /* QueueType */
extern bool  setting_declare_topology;
extern int   setting_max_keys_per_message;
extern int   setting_canary_interval; /* seconds; 0: off */

/* What is recorded: read by backends. */
extern bool  setting_enabled;
extern int   setting_max_pending_keys;
extern int   setting_max_payload; /* bytes */
extern char *setting_traceparent; /* empty: none */

/* Defines them all; for _PG_init. */
void settings_define(void);

#endif
