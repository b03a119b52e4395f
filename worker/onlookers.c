/*
 * onlookers.c
 *    See onlookers.h.
 */
#include "worker/onlookers.h"

#include "worker/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define REPORT_US ((int64_t) 1000000)
#define SUMMARY_US ((int64_t) 60000000)
#define QUEUE_US ((int64_t) 5000000)
#define WATCHED_QUEUE_US ((int64_t) 1000000)

bool
onlookers_open(Onlookers *onlookers, const WorkerConfig *config, FigureSource source,
               int64_t now_us, char *reason, size_t size)
{
	const ListenAddress *address = &config->metrics_listen;

	*onlookers = (Onlookers){.source = source, .summary_due_us = now_us + SUMMARY_US};
	onlookers->notify.fd = -1;
	if (config->report_to[0] != '\0')
	{
		onlookers->report = report_new(config->report_to, config->name);
		if (onlookers->report == NULL)
		{
			snprintf(reason, size, "--report-to: %s", strerror(errno));
			return false;
		}
	}
	if (address->host[0] != '\0')
	{
		onlookers->http = http_new(address, config->name, report_answer(onlookers->report), now_us);
		if (onlookers->http == NULL)
		{
			snprintf(reason, size, "--metrics-listen: %s:%u: %s", address->host, address->port,
			         strerror(errno));
			return false;
		}
	}
	notify_open(&onlookers->notify);
	return true;
}

static Figures
take_figures(const Onlookers *onlookers)
{
	Figures figures;

	onlookers->source.figures(onlookers->source.context, &figures);
	return figures;
}

void
onlookers_close(Onlookers *onlookers)
{
	if (onlookers->report != NULL)
	{
		Figures figures = take_figures(onlookers);

		report_post(onlookers->report, &figures);
	}
	http_free(onlookers->http);
	report_free(onlookers->report);
	notify_close(&onlookers->notify);
}

static void
tell_systemd(Onlookers *onlookers, const Figures *figures)
{
	char text[1200];

	if (onlookers->state == figures->state)
		return;
	onlookers->state = figures->state;
	snprintf(text, sizeof(text), "STATUS=%s%s%.1000s%s", figures->state,
	         figures->reason[0] == '\0' ? "" : ": ", figures->reason,
	         strcmp(figures->state, "stopping") == 0 ? "\nSTOPPING=1" : "");
	notify_send(&onlookers->notify, text);
}

static void
print_count(char out[24], uint64_t count)
{
	snprintf(out, 24, "%" PRIu64, count);
}

static void
print_delay(char out[24], const Figures *figures, double share)
{
	int64_t delay_us = histogram_quantile_us(figures->delay, share);

	out[0] = '\0';
	if (delay_us >= 0)
		snprintf(out, 24, "%.1f", (double) delay_us / 1000);
}

/* Nothing where there was no work. */
static void
log_summary(Onlookers *onlookers, const Figures *figures)
{
	char messages[24], keys[24], dead[24], in_flight[24], median[24], most[24];

	if (figures->messages == onlookers->messages)
		return;
	print_count(messages, figures->messages - onlookers->messages);
	print_count(keys, figures->keys_deleted - onlookers->keys_deleted);
	print_count(dead, figures->dead_lettered - onlookers->dead_lettered);
	print_count(in_flight, figures->in_flight);
	print_delay(median, figures, 0.5);
	print_delay(most, figures, 0.99);
	log_line(LEVEL_INFO, "summary", "messages", messages, "keys_deleted", keys, "dead_lettered",
	         dead, "in_flight", in_flight, "delay_p50_ms", median, "delay_p99_ms", most, NULL);
	onlookers->messages = figures->messages;
	onlookers->keys_deleted = figures->keys_deleted;
	onlookers->dead_lettered = figures->dead_lettered;
}

void
onlookers_step(Onlookers *onlookers, int64_t now_us)
{
	Figures figures = take_figures(onlookers);

	if (onlookers->report != NULL && now_us >= onlookers->report_due_us)
	{
		report_post(onlookers->report, &figures);
		onlookers->report_due_us = now_us + REPORT_US;
	}
	if (now_us >= onlookers->summary_due_us)
	{
		log_summary(onlookers, &figures);
		onlookers->summary_due_us = now_us + SUMMARY_US;
	}
	tell_systemd(onlookers, &figures);
	notify_step(&onlookers->notify, now_us);
	http_step(onlookers->http, &figures, now_us);
}

int64_t
onlookers_queue_pause_us(const Onlookers *onlookers, int64_t now_us)
{
	return http_is_watched(onlookers->http, now_us) ? WATCHED_QUEUE_US : QUEUE_US;
}

bool
onlookers_want_queue(const Onlookers *onlookers)
{
	return onlookers->http != NULL;
}

int
onlookers_fd(const Onlookers *onlookers)
{
	return http_fd(onlookers->http);
}

int64_t
onlookers_due_us(const Onlookers *onlookers, int64_t now_us)
{
	int64_t due_us = http_due_us(onlookers->http, now_us);
	Figures figures = take_figures(onlookers);

	if (onlookers->report != NULL && onlookers->report_due_us < due_us)
		due_us = onlookers->report_due_us;
	/* An idle worker is not woken for a summary that has nothing to say. */
	if (figures.messages != onlookers->messages && onlookers->summary_due_us < due_us)
		due_us = onlookers->summary_due_us;
	if (notify_due_us(&onlookers->notify) < due_us)
		due_us = notify_due_us(&onlookers->notify);
	return due_us;
}
