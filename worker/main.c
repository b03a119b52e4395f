/*
 * main.c
 *    outbox-worker: arguments, signals, exit status. The only file that exits.
 *
 * SIGTERM, SIGINT and SIGHUP come through a descriptor (signalfd), so that they are an event of the loop
 * like any other and interrupt nothing. They are blocked before anything else starts: the thread
 * in which libc resolves names inherits that. While options and files are read (which may take as long
 * as a file system does) there is no loop yet, and nothing to finish: who is asked to leave does so.
 */
#include "worker/check.h"
#include "worker/config.h"
#include "worker/replay.h"
#include "worker/worker.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define LARGE_BYTES (1024 * 1024)

static const char *
environment(const char *name)
{
	return getenv(name);
}

/* What a giant message took goes back to the kernel once it is done. Left alone, malloc would take its
 * size for the usual one, and keep as much. */
static void
keep_memory_small(void)
{
	mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
	mallopt(M_TRIM_THRESHOLD, LARGE_BYTES);
}

static void
leave_at_once(int number)
{
	(void) number;
	_exit(EXIT_SUCCESS);
}

/* What SIGTERM and SIGINT do while there is no loop; a SIGHUP waits for it, or is let through. */
static void
set_early_signals(void (*stop)(int), int how_hangup)
{
	sigset_t hangup;

	signal(SIGTERM, stop);
	signal(SIGINT, stop);
	sigemptyset(&hangup);
	sigaddset(&hangup, SIGHUP);
	sigprocmask(how_hangup, &hangup, NULL);
}

/* The descriptor to wait for, -1 on failure. */
static int
open_signals(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) != 0)
		return -1;
	return signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
}

static int
run(WorkerConfig *config)
{
	int signal_fd;

	if (config->check || config->replay_dead)
	{
		/* An errand that is broken off has not succeeded. */
		set_early_signals(SIG_DFL, SIG_UNBLOCK);
		return config->check ? check_run(config) : replay_run(config);
	}
	log_configure(config->log_level, config->log_format);
	signal_fd = open_signals();
	if (signal_fd < 0)
	{
		log_line(LEVEL_ERROR, "failed", "reason", strerror(errno), NULL);
		return EXIT_FAILURE;
	}
	return worker_run(config, signal_fd);
}

int
main(int argc, char **argv)
{
	static WorkerConfig config;
	char                error[CONFIG_ERROR_BYTES];
	int                 status = EXIT_SUCCESS;
	ConfigOutcome       outcome;

	set_early_signals(leave_at_once, SIG_BLOCK);
	outcome = config_load(&config, argc, argv, environment, error);
	config_wipe_arguments(argc, argv);
	keep_memory_small();
	signal(SIGPIPE, SIG_IGN);
	switch (outcome)
	{
	case CONFIG_RUN:
		status = run(&config);
		config_free(&config);
		break;
	case CONFIG_HELP:
		config_print_help(stdout);
		break;
	case CONFIG_VERSION:
		printf("outbox-worker " OUTBOX_RELEASE "\n");
		break;
	case CONFIG_BAD:
		fprintf(stderr, "outbox-worker: %s\n", error);
		return EXIT_USAGE;
	}
	/* `outbox-worker --help > /dev/full` did not work. */
	if (fflush(stdout) != 0)
		return EXIT_FAILURE;
	return status;
}
