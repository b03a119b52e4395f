/*
 * resp.c
 *    See resp.h. Source: the Redis serialization protocol, arrays of bulk strings.
 */
#include "worker/resp.h"

size_t
resp_number(char out[RESP_NUMBER_BYTES], char kind, size_t number)
{
	size_t digits = 1;

	for (size_t rest = number; rest >= 10; rest /= 10)
		digits++;
	out[0] = kind;
	for (size_t i = digits; i > 0; i--, number /= 10)
		out[i] = (char) ('0' + number % 10);
	out[digits + 1] = '\r';
	out[digits + 2] = '\n';
	return digits + 3;
}

bool
resp_append_word(MqBuffer *out, MqBytes first, MqBytes second)
{
	size_t size = first.size + second.size;
	char  *at;

	if (mq_buffer_reserve(out, RESP_NUMBER_BYTES + size + 2) != MQ_OK)
		return false;
	at = out->data + out->size;
	at += resp_number(at, '$', size);
	if (first.size > 0)
		memcpy(at, first.data, first.size);
	if (second.size > 0)
		memcpy(at + first.size, second.data, second.size);
	at += size;
	*at++ = '\r';
	*at++ = '\n';
	out->size = (size_t) (at - out->data);
	return true;
}

bool
resp_append_command(MqBuffer *out, const MqBytes *words, size_t count)
{
	char number[RESP_NUMBER_BYTES];

	if (mq_buffer_append(out, number, resp_number(number, '*', count)) != MQ_OK)
		return false;
	for (size_t i = 0; i < count; i++)
		if (!resp_append_word(out, words[i], (MqBytes){0}))
			return false;
	return true;
}
