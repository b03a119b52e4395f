/*
 * options.h
 *    Every option as one table: name, environment variable, default, parser, help. Private to the
 *    configuration (config.c); others read WorkerConfig.
 */
#ifndef WORKER_OPTIONS_H
#define WORKER_OPTIONS_H

#include "worker/config.h"

#include <stdbool.h>
#include <stddef.h>

#define OPTION_REASON_BYTES (CONFIG_ERROR_BYTES / 2)

typedef struct Option
{
	const char *name;
	const char *environment; /* NULL: for the command line only */
	const char *initial;     /* default; NULL: set elsewhere, or none */
	const char *value_name;  /* NULL: a switch */

	/* Stores a value. false: reason (OPTION_REASON_BYTES) says what is wrong with it, without the
	 * option's name, which the caller puts before it, and without the value. */
	bool (*parse)(WorkerConfig *config, const char *value, char *reason);

	/* Of a repeatable option: forgets the values of a lower layer. NULL: the last one counts. */
	void (*clear)(WorkerConfig *config);

	const char *help; /* lines separated by \n */
} Option;

/* In the order of --help; ended by one without a name. --help and --version are not among them. */
extern const Option options[];

/* size: of the name, which need not end with a NUL. NULL: there is no such option. */
const Option *option_find(const char *name, size_t size);

#endif
