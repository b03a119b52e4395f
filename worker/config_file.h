/*
 * config_file.h
 *    The text of a configuration file, one `name = value` after another.
 *
 *     # a comment; empty lines and [sections] mean nothing
 *     amqp-url     = amqp://cache@broker/%2f
 *     allow-prefix = "blog: "     # no comment here: it would be part of the value
 *
 * Blanks around name and value are left out; a value in double quotes keeps its own. Lines end with
 * LF or CRLF. Reads memory, allocates nothing, knows no option.
 */
#ifndef WORKER_CONFIG_FILE_H
#define WORKER_CONFIG_FILE_H

#include "wire/bytes.h"

#define CONFIG_FILE_MAX_BYTES ((size_t) 256 * 1024)
#define CONFIG_FILE_NAME_BYTES 64
#define CONFIG_FILE_VALUE_BYTES 8192

typedef enum ConfigFileStep
{
	CONFIG_FILE_ENTRY, /* name and value hold the next one */
	CONFIG_FILE_END,
	CONFIG_FILE_BAD /* problem says what is wrong with the line */
} ConfigFileStep;

typedef struct ConfigFile
{
	MqBytes     rest;
	int         line; /* number of the line that was read last, from 1 */
	char        name[CONFIG_FILE_NAME_BYTES];
	char        value[CONFIG_FILE_VALUE_BYTES];
	const char *problem;
} ConfigFile;

/* text: borrowed. */
void config_file_begin(ConfigFile *file, MqBytes text);

ConfigFileStep config_file_next(ConfigFile *file);

#endif
