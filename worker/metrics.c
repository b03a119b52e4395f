/*
 * metrics.c
 *    See metrics.h.
 */
#include "worker/metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define PREFIX "outbox_worker_"
#define MAX_LINE_BYTES 300

static MqResult __attribute__((format(printf, 2, 3))) add(MqBuffer *out, const char *format, ...)
{
	char    line[MAX_LINE_BYTES];
	va_list args;
	int     size;

	va_start(args, format);
	size = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	return mq_buffer_append(out, line, (size_t) size);
}

static MqResult
add_head(MqBuffer *out, const char *name, const char *type, const char *help)
{
	return add(out, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, help, name, type);
}

static MqResult
add_counter(MqBuffer *out, const char *name, const char *help, uint64_t value)
{
	add_head(out, name, "counter", help);
	return add(out, PREFIX "%s %" PRIu64 "\n", name, value);
}

static MqResult
add_gauge(MqBuffer *out, const char *name, const char *help, int64_t value)
{
	add_head(out, name, "gauge", help);
	return add(out, PREFIX "%s %" PRId64 "\n", name, value);
}

static MqResult
add_seconds(MqBuffer *out, const char *name, const char *help, int64_t value_us)
{
	add_head(out, name, "gauge", help);
	return add(out, PREFIX "%s %.6f\n", name, (double) value_us / 1e6);
}

static MqResult
add_sides(MqBuffer *out, const char *name, uint64_t broker, uint64_t redis)
{
	add(out, PREFIX "%s{to=\"broker\"} %" PRIu64 "\n", name, broker);
	return add(out, PREFIX "%s{to=\"redis\"} %" PRIu64 "\n", name, redis);
}

static MqResult
add_histogram(MqBuffer *out, const char *name, const char *help, const Histogram *histogram)
{
	uint64_t below = 0;

	add_head(out, name, "histogram", help);
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
	{
		below += histogram->counts[i];
		add(out, PREFIX "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
		    (double) histogram_bounds_us[i] / 1e6, below);
	}
	add(out, PREFIX "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, histogram->count);
	add(out, PREFIX "%s_sum %.6f\n", name, (double) histogram->sum_us / 1e6);
	return add(out, PREFIX "%s_count %" PRIu64 "\n", name, histogram->count);
}

MqResult
metrics_print(const Figures *figures, MqBuffer *out)
{
	/* A page is some 5 kB: with that room no line can fail. */
	if (mq_buffer_reserve(out, 32 * 1024) != MQ_OK)
		return MQ_NOMEM;
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
	return add_histogram(out, "delay_seconds",
	                     "Time from the event (x-outbox-created-at) to the deletion of its keys.",
	                     figures->delay);
}
