/*
 * plain.h
 *    Eight bytes at a time: text that JSON takes as it is, and hashes of keys.
 *    Both are done for every key, by the relay and by the worker.
 */
#ifndef MQ_PLAIN_H
#define MQ_PLAIN_H

#include "bytes.h"

#include <stdint.h>

#define EIGHT_TIMES(byte) (UINT64_C(0x0101010101010101) * (byte))

static inline uint64_t
eight_bytes(const char *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return word;
}

/* Is one of the bytes below this limit (at most 128)? The borrow of a byte that is may make others look
 * as if they were; where none is there is none. */
static inline bool
has_byte_below(uint64_t word, unsigned limit)
{
	return ((word - EIGHT_TIMES(limit)) & ~word & EIGHT_TIMES(0x80)) != 0;
}

/* Nothing that JSON would escape: no control character, quote or backslash. */
static inline bool
is_plain_word(uint64_t word)
{
	return !has_byte_below(word, 0x20) && !has_byte_below(word ^ EIGHT_TIMES('"'), 1) &&
	       !has_byte_below(word ^ EIGHT_TIMES('\\'), 1);
}

static inline bool
is_ascii_word(uint64_t word)
{
	return (word & EIGHT_TIMES(0x80)) == 0;
}

static inline bool
is_plain_byte(unsigned char c)
{
	return c >= 0x20 && c != '"' && c != '\\';
}

/* The same of a whole text; the last word maybe twice. */
static inline bool
mq_is_plain(MqBytes text)
{
	size_t i = 0;

	if (text.size >= sizeof(uint64_t))
	{
		for (; i + sizeof(uint64_t) < text.size; i += sizeof(uint64_t))
			if (!is_plain_word(eight_bytes(text.data + i)))
				return false;
		return is_plain_word(eight_bytes(text.data + text.size - sizeof(uint64_t)));
	}
	for (; i < text.size; i++)
		if (!is_plain_byte((unsigned char) text.data[i]))
			return false;
	return true;
}

/* 2^64 by the golden ratio. A product's bit knows nothing of the bits above its own: the high half is
 * folded in, and in the end only that half counts. */
#define GOLDEN UINT64_C(0x9E3779B97F4A7C15)

static inline uint64_t
mix_word(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * GOLDEN;
	return hash ^ hash >> 32;
}

/* salt: an address, say, so that who publishes cannot choose where keys land. The last word maybe twice. */
static inline uint32_t
mq_hash(MqBytes bytes, uint64_t salt)
{
	uint64_t hash = salt ^ (uint64_t) bytes.size;
	uint64_t word = 0;
	size_t   i = 0;

	for (; i + sizeof(uint64_t) < bytes.size; i += sizeof(uint64_t))
		hash = mix_word(hash, eight_bytes(bytes.data + i));
	if (bytes.size >= sizeof(uint64_t))
		word = eight_bytes(bytes.data + bytes.size - sizeof(uint64_t));
	else
		for (; i < bytes.size; i++)
			word = word << 8 | (unsigned char) bytes.data[i];
	return (uint32_t) (mix_word(hash, word) * GOLDEN >> 32);
}

#endif
