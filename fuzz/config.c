/*
 * config.c
 *    Any bytes as a configuration file: its lines, and the parser of each option that is named.
 *
 * Options that name a file are left out: what they read is not ours to make up.
 */
#include "fuzz/fuzz.h"

#include "worker/config.h"
#include "worker/config_file.h"
#include "worker/options.h"

#include <stdlib.h>
#include <string.h>

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static WorkerConfig config;
	ConfigFile          file;
	char                reason[OPTION_REASON_BYTES];

	config_file_begin(&file, mq_bytes(data, size));
	while (config_file_next(&file) == CONFIG_FILE_ENTRY)
	{
		const Option *option = option_find(file.name, strlen(file.name));

		if (file.line < 1 || strlen(file.name) >= sizeof(file.name))
			abort();
		if (option != NULL && !option->parse(&config, file.value, reason) && reason[0] == '\0')
			abort();
	}
	config_free(&config);
	return 0;
}
