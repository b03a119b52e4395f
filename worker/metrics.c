/*
 * metrics.c
 *    See metrics.h.
 */
#include "worker/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define PREFIX "outbox_worker_"

static MqResult
add_head(MqBuffer *out, const char *name, const char *type, const char *help)
{
	return mq_buffer_printf(out, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, help,
	                        name, type);
}

static MqResult
add_counter(MqBuffer *out, const char *name, const char *help, uint64_t value)
{
	add_head(out, name, "counter", help);
	return mq_buffer_printf(out, PREFIX "%s %" PRIu64 "\n", name, value);
}

static MqResult
add_gauge(MqBuffer *out, const char *name, const char *help, int64_t value)
{
	add_head(out, name, "gauge", help);
	return mq_buffer_printf(out, PREFIX "%s %" PRId64 "\n", name, value);
}

static MqResult
add_seconds(MqBuffer *out, const char *name, const char *help, int64_t value_us)
{
	add_head(out, name, "gauge", help);
	return mq_buffer_printf(out, PREFIX "%s %.6f\n", name, (double) value_us / 1e6);
}

static MqResult
add_sides(MqBuffer *out, const char *name, uint64_t broker, uint64_t redis)
{
	mq_buffer_printf(out, PREFIX "%s{to=\"broker\"} %" PRIu64 "\n", name, broker);
	return mq_buffer_printf(out, PREFIX "%s{to=\"redis\"} %" PRIu64 "\n", name, redis);
}

static MqResult
add_histogram(MqBuffer *out, const char *name, const char *help, const Histogram *histogram)
{
	uint64_t below = 0;

	add_head(out, name, "histogram", help);
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
	{
		below += histogram->counts[i];
		mq_buffer_printf(out, PREFIX "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
		                 (double) histogram_bounds_us[i] / 1e6, below);
	}
	mq_buffer_printf(out, PREFIX "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, histogram->count);
	mq_buffer_printf(out, PREFIX "%s_sum %.6f\n", name, (double) histogram->sum_us / 1e6);
	return mq_buffer_printf(out, PREFIX "%s_count %" PRIu64 "\n", name, histogram->count);
}

/* Work of one kind that does not go on while the rest does. */
static MqResult
add_stuck(MqBuffer *out, const Figures *figures)
{
	add_head(out, "stuck", "gauge", "Whether work of this kind waits for a reason of its own.");
	mq_buffer_printf(out, PREFIX "stuck{what=\"patterns\"} %d\n",
	                 figures->patterns_trouble[0] != '\0');
	return mq_buffer_printf(out, PREFIX "stuck{what=\"dead_letters\"} %d\n",
	                        figures->letters_trouble[0] != '\0');
}

static int64_t
resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	long  pages = 0;

	if (file == NULL)
		return -1;
	if (fscanf(file, "%*s %ld", &pages) != 1)
		pages = 0;
	fclose(file);
	return (int64_t) pages * sysconf(_SC_PAGESIZE);
}

static double
seconds_of(struct timeval time)
{
	return (double) time.tv_sec + (double) time.tv_usec / 1e6;
}

/* Under the names that every Prometheus client uses. */
static MqResult
add_process(MqBuffer *out, int64_t started_at_us)
{
	struct rusage usage = {0};
	int64_t       resident = resident_bytes();

	getrusage(RUSAGE_SELF, &usage);
	mq_buffer_printf(
		out,
		"# HELP process_start_time_seconds When the process started, in seconds since 1970.\n"
		"# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %.3f\n",
		(double) started_at_us / 1e6);
	if (resident > 0)
		mq_buffer_printf(
			out,
			"# HELP process_resident_memory_bytes Memory that is resident.\n"
			"# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes %" PRId64
			"\n",
			resident);
	return mq_buffer_printf(
		out,
		"# HELP process_cpu_seconds_total Processor time, of user and system.\n"
		"# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total %.6f\n",
		seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime));
}

MqResult
metrics_print(const Figures *figures, int64_t started_at_us, MqBuffer *out)
{
	/* A page is some 6 kB: with that room no line can fail. */
	if (mq_buffer_reserve(out, 32 * 1024) != MQ_OK)
		return MQ_NOMEM;
	add_head(out, "info", "gauge", "What runs; always 1.");
	mq_buffer_printf(out, PREFIX "info{version=\"" OUTBOX_RELEASE "\"} 1\n");
	add_gauge(out, "ready", "Whether it consumes, as /readyz says.", figures->reason[0] == '\0');
	add_counter(out, "messages_total", "Messages that were settled, dead letters included.",
	            figures->messages);
	add_counter(out, "keys_deleted_total", "Keys that existed and were deleted.",
	            figures->keys_deleted);
	add_counter(out, "patterns_total", "Patterns that were scanned to their end.",
	            figures->patterns);
	add_counter(out, "dead_lettered_total", "Messages that were not understood.",
	            figures->dead_lettered);
	add_head(out, "reconnects_total", "counter", "Connections that were made again after a loss.");
	add_sides(out, "reconnects_total", figures->broker.reconnects, figures->redis.reconnects);
	add_head(out, "up", "gauge", "Whether the connection is there and works.");
	add_sides(out, "up", figures->broker.up, figures->redis.up);
	add_gauge(out, "in_flight_messages", "Messages that were taken and are not acknowledged yet.",
	          (int64_t) figures->in_flight);
	add_gauge(out, "waiting_bytes", "Keys that were taken and wait for their deletion, in bytes.",
	          (int64_t) figures->waiting_bytes);
	add_stuck(out, figures);
	if (figures->queue_messages >= 0)
		add_gauge(out, "queue_messages", "Messages that waited in the queue, seconds ago.",
		          figures->queue_messages);
	if (figures->canary_age_us >= 0)
	{
		add_seconds(out, "canary_delay_seconds",
		            "Time that the last message without keys took from the event to Redis.",
		            figures->canary_delay_us);
		add_seconds(out, "canary_age_seconds", "Time since then.", figures->canary_age_us);
	}
	add_histogram(out, "redis_seconds", "Time from a command to the answer of Redis.",
	              figures->redis_time);
	add_histogram(out, "delay_seconds",
	              "Time from the event (x-outbox-created-at) to the deletion of its keys.",
	              figures->delay);
	return add_process(out, started_at_us);
}
