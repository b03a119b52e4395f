/*
 * message.c
 *    A growing buffer, and JSON strings into it.
 */
#include "wire/message.h"

#include "wire/plain.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LARGE_BYTES ((size_t) 1024 * 1024)

/* A large one by a quarter: its pages move without being copied, and twice a body is much. */
static size_t
grown(size_t capacity, size_t needed)
{
	if (capacity > SIZE_MAX / 2)
		return needed;
	return capacity < LARGE_BYTES ? capacity * 2 : capacity + capacity / 4;
}

MqResult
mq_buffer_reserve(MqBuffer *buffer, size_t size)
{
	size_t needed = buffer->size + size;
	size_t capacity = buffer->capacity == 0 ? 256 : buffer->capacity;
	char  *data;

	if (needed < size)
		return MQ_NOMEM;
	if (needed <= buffer->capacity)
		return MQ_OK;
	while (capacity < needed)
		capacity = grown(capacity, needed);
	data = realloc(buffer->data, capacity);
	if (data == NULL)
		return MQ_NOMEM;
	buffer->data = data;
	buffer->capacity = capacity;
	return MQ_OK;
}

MqResult
mq_buffer_append(MqBuffer *buffer, const void *data, size_t size)
{
	if (mq_buffer_reserve(buffer, size) != MQ_OK)
		return MQ_NOMEM;
	if (size > 0)
		memcpy(buffer->data + buffer->size, data, size);
	buffer->size += size;
	return MQ_OK;
}

/* Room for most lines at first; with what vsnprintf says it needs, for all. */
MqResult
mq_buffer_printf(MqBuffer *buffer, const char *format, ...)
{
	size_t room = 256;

	for (;;)
	{
		va_list arguments;
		int     size;

		if (mq_buffer_reserve(buffer, room) != MQ_OK)
			return MQ_NOMEM;
		va_start(arguments, format);
		size = vsnprintf(buffer->data + buffer->size, room, format, arguments);
		va_end(arguments);
		if (size < 0)
			return MQ_NOMEM;
		if ((size_t) size < room)
		{
			buffer->size += (size_t) size;
			return MQ_OK;
		}
		room = (size_t) size + 1;
	}
}

/* The letter behind the backslash of a two-character escape, or 0. */
static char
short_escape(unsigned char c)
{
	switch (c)
	{
	case '"':
	case '\\':
		return (char) c;
	case '\b':
		return 'b';
	case '\f':
		return 'f';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	}
	return 0;
}

size_t
mq_json_string_size(MqBytes text)
{
	size_t size = 2 + text.size;

	if (mq_is_plain(text))
		return size;
	for (size_t i = 0; i < text.size; i++)
	{
		unsigned char c = (unsigned char) text.data[i];

		if (short_escape(c) != 0)
			size += 1;
		else if (c < ' ')
			size += 5;
	}
	return size;
}

/* Between the quotes; there is room. Gives the end. */
static char *
escape(char *out, MqBytes text)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < text.size; i++)
	{
		unsigned char c = (unsigned char) text.data[i];
		char          letter = short_escape(c);

		if (letter != 0)
		{
			*out++ = '\\';
			*out++ = letter;
		}
		else if (c < ' ')
		{
			memcpy(out, "\\u00", 4);
			out[4] = hex[c >> 4];
			out[5] = hex[c & 15];
			out += 6;
		}
		else
			*out++ = (char) c;
	}
	return out;
}

MqResult
mq_buffer_append_json(MqBuffer *buffer, MqBytes text)
{
	size_t size = mq_json_string_size(text);
	char  *out;

	if (mq_buffer_reserve(buffer, size) != MQ_OK)
		return MQ_NOMEM;
	out = buffer->data + buffer->size;
	*out++ = '"';
	if (size > 2 + text.size)
		out = escape(out, text);
	else if (text.size > 0)
	{
		memcpy(out, text.data, text.size);
		out += text.size;
	}
	*out++ = '"';
	buffer->size = (size_t) (out - buffer->data);
	return MQ_OK;
}

void
mq_buffer_free(MqBuffer *buffer)
{
	free(buffer->data);
	*buffer = (MqBuffer){0};
}
