/*
 * faults.c
 *    Loaded before a server (LD_PRELOAD): sets its clock, and has one of its allocations fail.
 *
 * Steered by a file that the test writes and every process maps: OUTBOX_TEST_FAULTS names it, and
 * t/lib/Outbox/Faults.pm writes it. Without the variable nothing happens.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef struct Faults
{
	volatile int64_t clock_offset_s; /* added to the clock that can be set */
	volatile int32_t pid;            /* whose allocation fails */
	volatile int32_t countdown;      /* ... the one that makes it 0; 0: none */
} Faults;

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);

static Faults *faults;

__attribute__((constructor)) static void
map_faults(void)
{
	const char *path = getenv("OUTBOX_TEST_FAULTS");
	int         fd = path == NULL ? -1 : open(path, O_RDWR);
	void       *mapped;

	if (fd < 0)
		return;
	mapped = mmap(NULL, sizeof(Faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (mapped != MAP_FAILED)
		faults = mapped;
}

/* ---- the clock -------------------------------------------------------------------------------- */

static int64_t
offset_s(void)
{
	return faults == NULL ? 0 : faults->clock_offset_s;
}

int
clock_gettime(clockid_t clock, struct timespec *at)
{
	int result = (int) syscall(SYS_clock_gettime, clock, at);

	if (result == 0 && clock == CLOCK_REALTIME)
		at->tv_sec += offset_s();
	return result;
}

int
gettimeofday(struct timeval *restrict at, void *restrict zone)
{
	int result = (int) syscall(SYS_gettimeofday, at, zone);

	if (result == 0)
		at->tv_sec += offset_s();
	return result;
}

time_t
time(time_t *at)
{
	struct timeval now;

	gettimeofday(&now, NULL);
	if (at != NULL)
		*at = now.tv_sec;
	return now.tv_sec;
}

/* ---- memory ----------------------------------------------------------------------------------- */

/* Is this the allocation that fails? */
static int
fails(void)
{
	if (faults == NULL || faults->countdown <= 0 || faults->pid != (int32_t) getpid())
		return 0;
	if (--faults->countdown > 0)
		return 0;
	errno = ENOMEM;
	return 1;
}

void *
malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *
calloc(size_t count, size_t size)
{
	return fails() ? NULL : __libc_calloc(count, size);
}

void *
realloc(void *old, size_t size)
{
	return fails() ? NULL : __libc_realloc(old, size);
}
