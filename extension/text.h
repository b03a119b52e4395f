/*
 * text.h
 *    Text on its way out: UTF-8 whatever the database's encoding.
 */
#ifndef OUTBOX_TEXT_H
#define OUTBOX_TEXT_H

#include "postgres.h"

/* AMQP's short string: names, routing keys, most properties. */
#define TEXT_MAX_NAME_BYTES 255

/* The length of text in UTF-8. ERROR if it has none: bytes that are no UTF-8 in an SQL_ASCII
 * database, a character without an equivalent. */
int text_utf8_length(const char *text, int length);

/* ERROR unless text has at most TEXT_MAX_NAME_BYTES in UTF-8. what: "queue", for the message. */
void text_check_name(const char *what, const char *text);

#endif
