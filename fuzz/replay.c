/*
 * replay.c
 *    Feeds a fuzz target the files that are named, or those of the folders: a test in TAP.
 */
#include "fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define MAX_FILE_BYTES ((size_t) 1024 * 1024)

static int count;

static void
replay_file(const char *path)
{
	FILE    *file = fopen(path, "re");
	uint8_t *data = malloc(MAX_FILE_BYTES);
	size_t   size;

	if (file == NULL || data == NULL)
	{
		printf("not ok %d - %s cannot be read\n", ++count, path);
		exit(1);
	}
	size = fread(data, 1, MAX_FILE_BYTES, file);
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	printf("ok %d - %s\n", ++count, path);
	fflush(stdout);
}

static void
replay_folder(const char *folder)
{
	struct dirent **entries;
	int             found = scandir(folder, &entries, NULL, alphasort);
	char            path[4096];

	for (int i = 0; i < found; i++)
	{
		if (entries[i]->d_name[0] != '.')
		{
			snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
			replay_file(path);
		}
		free(entries[i]);
	}
	if (found >= 0)
		free(entries);
}

int
main(int argc, char **argv)
{
	struct stat status;

	for (int i = 1; i < argc; i++)
	{
		if (stat(argv[i], &status) == 0 && S_ISDIR(status.st_mode))
			replay_folder(argv[i]);
		else
			replay_file(argv[i]);
	}
	printf("1..%d\n", count);
	return 0;
}
