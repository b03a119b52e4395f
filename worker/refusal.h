/*
 * refusal.h
 *    What an error reply of Redis means, and how it is told.
 */
#ifndef WORKER_REFUSAL_H
#define WORKER_REFUSAL_H

#include "worker/deletion.h"

#include <stddef.h>

/* READONLY, LOADING, NOPERM, ...: may it pass by itself? Never DELETION_DONE. */
DeletionVerdict refusal_classify(const char *reply, size_t size);

/* "command: Redis' words", one line, into out. */
void refusal_describe(char *out, size_t size, const struct redisReply *reply, const char *command);

/* Cuts text before the arguments that Redis quotes of a command it does not know: keys, or a
 * password. */
void refusal_unquote(char *text);

#endif
