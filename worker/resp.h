/*
 * resp.h
 *    Commands as Redis reads them: an array of words, each with its length (RESP2). Written where they
 *    are needed, without a copy in between; replies are read by hiredis.
 */
#ifndef WORKER_RESP_H
#define WORKER_RESP_H

#include "wire/bytes.h"
#include "wire/message.h"

#include <stdbool.h>
#include <stddef.h>

#define RESP_NUMBER_BYTES 24 /* "*", digits of a size_t, "\r\n" */

/* '*' or '$', a number, the end of the line. Returns how many bytes of out were written. */
size_t resp_number(char out[RESP_NUMBER_BYTES], char kind, size_t number);

/* Appends one word, in two pieces. false: out of memory. */
bool resp_append_word(MqBuffer *out, MqBytes first, MqBytes second);

/* Appends a whole command. false: out of memory. */
bool resp_append_command(MqBuffer *out, const MqBytes *words, size_t count);

#endif
