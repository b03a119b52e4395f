/*
 * status.c
 *    See status.h.
 */
#include "worker/status.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#define MAX_TEXT_BYTES 600

/* What peers say may be of any bytes, or cut within a character; JSON is UTF-8. */
static void
add_text(MqBuffer *out, const char *name, const char *value)
{
	char    text[MAX_TEXT_BYTES];
	json_t *string;

	snprintf(text, sizeof(text), "%s", value);
	string = json_string(text);
	if (string == NULL)
		for (char *c = text; *c != '\0'; c++)
			if ((unsigned char) *c >= 0x80)
				*c = '?';
	json_decref(string);
	mq_buffer_printf(out, "\"%s\":", name);
	mq_buffer_append_json(out, mq_bytes_of(text));
}

static void
add_milliseconds(MqBuffer *out, const char *name, int64_t value_us)
{
	if (value_us < 0)
		mq_buffer_printf(out, "\"%s\":null", name);
	else
		mq_buffer_printf(out, "\"%s\":%.3f", name, (double) value_us / 1000);
}

static void
add_quantiles(MqBuffer *out, const char *name, const Histogram *histogram)
{
	mq_buffer_printf(out, "\"%s\":{", name);
	add_milliseconds(out, "p50_ms", histogram_quantile_us(histogram, 0.5));
	mq_buffer_printf(out, ",");
	add_milliseconds(out, "p90_ms", histogram_quantile_us(histogram, 0.9));
	mq_buffer_printf(out, ",");
	add_milliseconds(out, "p99_ms", histogram_quantile_us(histogram, 0.99));
	mq_buffer_printf(out, "},\n");
}

static void
add_side(MqBuffer *out, const char *name, const Side *side, const SideWords *words)
{
	mq_buffer_printf(out, "\"%s\":{", name);
	add_text(out, "name", words->name);
	mq_buffer_printf(out, ",\"up\":%s,\"reconnects\":%" PRIu64 ",", side->up ? "true" : "false",
	                 side->reconnects);
	add_text(out, "trouble", words->trouble);
	mq_buffer_printf(out, "},\n");
}

static void
add_worker(MqBuffer *out, const Status *status)
{
	const Figures *figures = status->figures;

	mq_buffer_printf(out, "\"worker\":{");
	add_text(out, "name", status->name);
	mq_buffer_printf(out, ",\"version\":\"" OUTBOX_RELEASE "\",\"uptime_s\":%" PRId64 ",",
	                 status->uptime_us / 1000000);
	add_text(out, "state", figures->state);
	mq_buffer_printf(out, ",");
	add_text(out, "reason", figures->reason);
	mq_buffer_printf(out, ",");
	add_text(out, "last_error", figures->last_error);
	mq_buffer_printf(out, ",");
	add_text(out, "patterns_trouble", figures->patterns_trouble);
	mq_buffer_printf(out, ",");
	add_text(out, "letters_trouble", figures->letters_trouble);
	mq_buffer_printf(out,
	                 ",\"messages\":%" PRIu64 ",\"keys_deleted\":%" PRIu64 ",\"patterns\":%" PRIu64
	                 ",\"dead_lettered\":%" PRIu64 ",\"in_flight\":%" PRIu64
	                 ",\"waiting_bytes\":%zu},\n",
	                 figures->messages, figures->keys_deleted, figures->patterns,
	                 figures->dead_lettered, figures->in_flight, figures->waiting_bytes);
	mq_buffer_printf(out, "\"queue\":{");
	add_text(out, "name", figures->queue);
	if (figures->queue_messages < 0)
		mq_buffer_printf(out, ",\"messages\":null},\n");
	else
		mq_buffer_printf(out, ",\"messages\":%" PRId64 "},\n", figures->queue_messages);
}

static void
add_database(MqBuffer *out, const AnswerView *database)
{
	static const char *const kinds[] = {[ANSWER_NONE] = "asking",
	                                    [ANSWER_GOOD] = "good",
	                                    [ANSWER_REFUSED] = "refused",
	                                    [ANSWER_AWAY] = "away"};

	if (database == NULL)
	{
		mq_buffer_printf(
			out,
			"\"database\":{\"state\":\"off\",\"reason\":\"\",\"age_s\":null,\"pipeline\":null},\n");
		return;
	}
	mq_buffer_printf(out, "\"database\":{\"state\":\"%s\",", kinds[database->kind]);
	add_text(out, "reason", database->reason);
	if (database->text.size == 0)
	{
		mq_buffer_printf(out, ",\"age_s\":null,\"pipeline\":null},\n");
		return;
	}
	mq_buffer_printf(out, ",\"age_s\":%.1f,\n\"pipeline\":", (double) database->age_us / 1e6);
	mq_buffer_append(out, database->text.data, database->text.size);
	mq_buffer_printf(out, "},\n");
}

static void
add_measured(MqBuffer *out, uint32_t value_us)
{
	if (value_us == HISTORY_UNMEASURED)
		mq_buffer_printf(out, ",null");
	else
		mq_buffer_printf(out, ",%" PRIu32, value_us);
}

static void
add_sample(MqBuffer *out, const HistorySample *sample)
{
	mq_buffer_printf(out, "[%" PRIu32 ",%" PRIu32 ",%" PRIu32, sample->messages,
	                 sample->keys_deleted, sample->dead_lettered);
	add_measured(out, sample->delay_p50_us);
	add_measured(out, sample->delay_p99_us);
	add_measured(out, sample->redis_p99_us);
	mq_buffer_printf(out, ",%" PRIu32, sample->in_flight);
	if (sample->queue_messages < 0)
		mq_buffer_printf(out, ",null");
	else
		mq_buffer_printf(out, ",%" PRId32, sample->queue_messages);
	mq_buffer_printf(out, ",%d,%d]", sample->broker_up, sample->redis_up);
}

static MqResult
add_history(MqBuffer *out, const History *history, uint64_t since)
{
	uint64_t first = history_first(history);

	/* A number from the future is one of a worker that ran before us. */
	if (since > first && since <= history->count)
		first = since;
	mq_buffer_printf(
		out,
		"\"history\":{\"first\":%" PRIu64 ",\"next\":%" PRIu64
		",\"names\":[\"messages\",\"keys_deleted\",\"dead_lettered\",\"delay_p50_us\","
		"\"delay_p99_us\",\"redis_p99_us\",\"in_flight\",\"queue_messages\",\"broker_up\","
		"\"redis_up\"],\n\"samples\":[",
		first, history->count);
	for (uint64_t i = first; i < history->count; i++)
	{
		if (i > first)
			mq_buffer_printf(out, ",");
		add_sample(out, history_at(history, i));
	}
	return mq_buffer_printf(out, "]}");
}

MqResult
status_print(const Status *status, MqBuffer *out)
{
	size_t samples = (size_t) (status->history->count - history_first(status->history));
	size_t answer = status->database == NULL ? 0 : status->database->text.size;

	/* With that room nothing can fail: a sample is 100 bytes at most. */
	if (mq_buffer_reserve(out, 32 * 1024 + samples * 100 + answer) != MQ_OK)
		return MQ_NOMEM;
	mq_buffer_printf(out, "{");
	add_worker(out, status);
	add_side(out, "broker", &status->figures->broker, &status->figures->broker_words);
	add_side(out, "redis", &status->figures->redis, &status->figures->redis_words);
	add_quantiles(out, "delay", status->figures->delay);
	add_quantiles(out, "redis_time", status->figures->redis_time);
	add_database(out, status->database);
	add_history(out, status->history, status->since);
	return mq_buffer_printf(out, "}\n");
}
