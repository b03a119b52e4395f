/*
 * properties.c
 *    A walk over the encoded properties of a message.
 */
#include "wire/properties.h"

#define PROPERTY_DELIVERY_MODE 0x1000u
#define PROPERTY_PRIORITY 0x0800u
#define PROPERTY_TIMESTAMP 0x0040u
#define PROPERTY_LAST 0x0004u /* cluster_id; the two bits below are no properties */

/* Bytes that are still to be read; ok turns false at the first length that does not fit. */
typedef struct Reader
{
	const unsigned char *at, *end;
	bool                 ok;
} Reader;

static Reader
reader(MqBytes bytes)
{
	const unsigned char *data = (const unsigned char *) bytes.data;

	/* NULL + 0 is undefined in C. */
	return (Reader){data, data == NULL ? NULL : data + bytes.size, data != NULL};
}

static MqBytes
read_bytes(Reader *in, size_t size)
{
	MqBytes result = {(const char *) in->at, size};

	if (!in->ok || (size_t) (in->end - in->at) < size)
	{
		in->ok = false;
		return (MqBytes){0};
	}
	in->at += size;
	return result;
}

/* A big-endian number of size bytes. */
static uint64_t
read_number(Reader *in, size_t size)
{
	MqBytes  bytes = read_bytes(in, size);
	uint64_t value = 0;

	for (size_t i = 0; i < bytes.size; i++)
		value = value << 8 | (unsigned char) bytes.data[i];
	return value;
}

/* The value of the property `flag`, without its length; advances. */
static MqBytes
read_property(Reader *in, unsigned flag)
{
	switch (flag)
	{
	case PROPERTY_HEADERS:
		return read_bytes(in, read_number(in, 4));
	case PROPERTY_DELIVERY_MODE:
	case PROPERTY_PRIORITY:
		return read_bytes(in, 1);
	case PROPERTY_TIMESTAMP:
		return read_bytes(in, 8);
	}
	return read_bytes(in, read_number(in, 1));
}

/* Width of a fixed-size field value; -1: it has a length of four bytes; -2: unknown type. */
static int
field_width(unsigned char type)
{
	switch (type)
	{
	case 'V':
		return 0;
	case 't':
	case 'b':
	case 'B':
		return 1;
	case 's':
	case 'u':
		return 2;
	case 'I':
	case 'i':
	case 'f':
		return 4;
	case 'D':
		return 5;
	case 'l':
	case 'L':
	case 'd':
	case 'T':
		return 8;
	case 'S':
	case 'A':
	case 'F':
	case 'x':
		return -1;
	}
	return -2;
}

/* One entry of a table. */
typedef struct Entry
{
	MqBytes       name;
	unsigned char type;
	MqBytes       value; /* without its length */
	MqBytes       whole; /* as encoded */
} Entry;

static bool
read_entry(Reader *in, Entry *entry)
{
	const unsigned char *begin = in->at;
	int                  width;

	if (!in->ok || in->at == in->end)
		return false;
	entry->name = read_bytes(in, read_number(in, 1));
	entry->type = (unsigned char) read_number(in, 1);
	width = field_width(entry->type);
	if (width == -2)
		in->ok = false;
	entry->value = read_bytes(in, width >= 0 ? (size_t) width : read_number(in, 4));
	entry->whole = mq_bytes(begin, (size_t) (in->at - begin));
	return in->ok;
}

static bool
table_valid(MqBytes table)
{
	Reader in = reader(table);
	Entry  entry;

	while (read_entry(&in, &entry))
		;
	return in.ok;
}

bool
properties_valid(MqBytes raw)
{
	Reader   in = reader(raw);
	unsigned flags = (unsigned) read_number(&in, 2);

	if (!in.ok || (flags & (PROPERTY_LAST - 1)) != 0)
		return false;
	for (unsigned flag = PROPERTY_CONTENT_TYPE; flag >= PROPERTY_LAST; flag >>= 1)
	{
		MqBytes value;

		if ((flags & flag) == 0)
			continue;
		value = read_property(&in, flag);
		if (!in.ok || (flag == PROPERTY_HEADERS && !table_valid(value)))
			return false;
	}
	return in.at == in.end;
}

MqBytes
properties_get(MqBytes raw, unsigned wanted)
{
	Reader   in = reader(raw);
	unsigned flags = (unsigned) read_number(&in, 2);

	for (unsigned flag = PROPERTY_CONTENT_TYPE; in.ok && flag >= PROPERTY_LAST; flag >>= 1)
	{
		MqBytes value;

		if ((flags & flag) == 0)
			continue;
		value = read_property(&in, flag);
		if (flag == wanted && in.ok)
			return value;
	}
	return (MqBytes){0};
}

/* Sign-extends a big-endian integer. */
static int64_t
integer_of(MqBytes value, bool is_signed)
{
	Reader   in = reader(value);
	uint64_t bits = read_number(&in, value.size);
	unsigned shift = 64 - 8 * (unsigned) value.size;

	return is_signed ? (int64_t) (bits << shift) >> shift : (int64_t) bits;
}

bool
properties_header_int64(MqBytes raw, const char *name, int64_t *value)
{
	Reader in = reader(properties_get(raw, PROPERTY_HEADERS));
	Entry  entry;

	while (read_entry(&in, &entry))
	{
		if (!mq_bytes_equal(entry.name, mq_bytes_of(name)))
			continue;
		if (entry.type == '\0' || strchr("bBsuIilLT", entry.type) == NULL)
			return false;
		*value = integer_of(entry.value, strchr("bsIl", entry.type) != NULL);
		return true;
	}
	return false;
}

/* Appends value big-endian in size bytes. */
static MqResult
append_number(MqBuffer *out, uint64_t value, size_t size)
{
	char bytes[8];

	for (size_t i = 0; i < size; i++)
		bytes[i] = (char) (value >> 8 * (size - 1 - i));
	return mq_buffer_append(out, bytes, size);
}

/* Appends the headers table with its length: all of table but `name`, then `name`. */
static MqResult
append_headers(MqBuffer *out, MqBytes table, const char *name, MqBytes value)
{
	Reader in = reader(table);
	Entry  entry;
	size_t length_at = out->size;
	size_t size;

	if (append_number(out, 0, 4) != MQ_OK)
		return MQ_NOMEM;
	while (read_entry(&in, &entry))
	{
		if (!mq_bytes_equal(entry.name, mq_bytes_of(name)) &&
		    mq_buffer_append(out, entry.whole.data, entry.whole.size) != MQ_OK)
			return MQ_NOMEM;
	}
	if (append_number(out, strlen(name), 1) != MQ_OK ||
	    mq_buffer_append(out, name, strlen(name)) != MQ_OK || append_number(out, 'S', 1) != MQ_OK ||
	    append_number(out, value.size, 4) != MQ_OK ||
	    mq_buffer_append(out, value.data, value.size) != MQ_OK)
		return MQ_NOMEM;
	size = out->size - length_at - 4;
	for (size_t i = 0; i < 4; i++)
		out->data[length_at + i] = (char) (size >> 8 * (3 - i));
	return MQ_OK;
}

MqResult
properties_with_header(MqBytes raw, const char *name, MqBytes value, MqBuffer *out)
{
	Reader   in = reader(raw);
	unsigned flags = (unsigned) read_number(&in, 2);
	MqResult result;

	if (!properties_valid(raw))
		return MQ_INVALID;
	result = append_number(out, (flags | PROPERTY_HEADERS) & ~PROPERTY_USER_ID, 2);
	for (unsigned flag = PROPERTY_CONTENT_TYPE; result == MQ_OK && flag >= PROPERTY_LAST;
	     flag >>= 1)
	{
		const unsigned char *begin = in.at;
		MqBytes              property = {0};

		if ((flags & flag) != 0)
			property = read_property(&in, flag);
		if (flag == PROPERTY_HEADERS)
			result = append_headers(out, property, name, value);
		else if ((flags & flag) != 0 && flag != PROPERTY_USER_ID)
			result = mq_buffer_append(out, begin, (size_t) (in.at - begin));
	}
	return result;
}
