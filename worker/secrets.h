/*
 * secrets.h
 *    Passwords and certificates that come from files.
 */
#ifndef WORKER_SECRETS_H
#define WORKER_SECRETS_H

#include "worker/config.h"

#include <stdbool.h>

/* Reads --amqp-password-file and --redis-password-file, where given, into the URLs: their first
 * lines; and the certificates for the sides that use TLS. At start, and again at SIGHUP: connections
 * to come use them. false: error says which file and why; nothing changed. */
bool secrets_read(WorkerConfig *config, char error[CONFIG_ERROR_BYTES]);

#endif
