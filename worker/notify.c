/*
 * notify.c
 *    See notify.h.
 */
#include "worker/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int64_t
watchdog_from_environment(void)
{
	const char *limit = getenv("WATCHDOG_USEC");
	const char *pid = getenv("WATCHDOG_PID");
	long long   limit_us = limit == NULL ? 0 : strtoll(limit, NULL, 10);

	if (limit_us <= 0 || (pid != NULL && strtol(pid, NULL, 10) != getpid()))
		return 0;
	return limit_us / 2;
}

void
notify_open(Notify *notify)
{
	const char        *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t             size = path == NULL ? 0 : strlen(path);

	*notify = (Notify){.fd = -1};
	if (size < 2 || size >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(address.sun_path, path, size);
	if (path[0] == '@')
		address.sun_path[0] = '\0'; /* an abstract socket */
	notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (notify->fd < 0)
		return;
	if (connect(notify->fd, (struct sockaddr *) &address,
	            (socklen_t) (offsetof(struct sockaddr_un, sun_path) + size)) != 0)
	{
		notify_close(notify);
		return;
	}
	notify->watchdog_us = watchdog_from_environment();
	notify_send(notify, "READY=1");
}

void
notify_close(Notify *notify)
{
	if (notify->fd >= 0)
		close(notify->fd);
	notify->fd = -1;
}

void
notify_send(const Notify *notify, const char *text)
{
	/* Who does not listen has nothing to hear. */
	if (notify->fd >= 0 && send(notify->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

void
notify_step(Notify *notify, int64_t now_us)
{
	if (now_us < notify_due_us(notify))
		return;
	notify_send(notify, "WATCHDOG=1");
	notify->due_us = now_us + notify->watchdog_us;
}

int64_t
notify_due_us(const Notify *notify)
{
	return notify->fd >= 0 && notify->watchdog_us > 0 ? notify->due_us : INT64_MAX;
}
