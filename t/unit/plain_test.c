/*
 * plain_test.c
 *    Eight bytes at a time must see what one at a time sees: each byte at each place of short texts.
 */
#include "t/unit/unit.h"

#include <stdio.h>

#include "wire/message.h"
#include "wire/plain.h"

#define LONGEST 26 /* three words and some */

/* As RFC 8259 has it, one byte after the other. */
static size_t
escaped(char *out, const char *text, size_t size)
{
	size_t used = 0;

	out[used++] = '"';
	for (size_t i = 0; i < size; i++)
	{
		unsigned char     c = (unsigned char) text[i];
		static const char letters[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
		const char       *letter = c == '\0' ? NULL : strchr(letters, c);

		if (letter != NULL)
			used += (size_t) sprintf(out + used, "\\%c", names[letter - letters]);
		else if (c < 0x20)
			used += (size_t) sprintf(out + used, "\\u%04x", c);
		else
			out[used++] = (char) c;
	}
	out[used++] = '"';
	return used;
}

static void
check_text(const char *text, size_t size)
{
	char     expected[6 * LONGEST + 2];
	size_t   expected_size = escaped(expected, text, size);
	MqBuffer buffer = {0};

	assert_int_equal(mq_is_plain(mq_bytes(text, size)), expected_size == size + 2);
	assert_int_equal(mq_json_string_size(mq_bytes(text, size)), expected_size);
	assert_int_equal(mq_buffer_append_json(&buffer, mq_bytes(text, size)), MQ_OK);
	assert_int_equal(buffer.size, expected_size);
	assert_memory_equal(buffer.data, expected, expected_size);
	mq_buffer_free(&buffer);
}

/* Behind it what a borrow could make look like something else. */
static void
every_byte_at_every_place(void **state)
{
	static const char fill[] = {'a', '!', '#', '[', ']', '\x7f', '\x80', '\xff'};
	char              text[LONGEST];

	(void) state;
	for (size_t f = 0; f < sizeof(fill); f++)
		for (size_t size = 0; size <= LONGEST; size++)
			for (size_t place = 0; place < size; place++)
				for (int c = 0; c < 256; c++)
				{
					memset(text, fill[f], sizeof(text));
					text[place] = (char) c;
					check_text(text, size);
				}
	check_text("", 0);
}

/* Every byte counts, and so does the size. */
static void
a_hash_depends_on_every_bit(void **state)
{
	char text[LONGEST] = {0};

	(void) state;
	for (size_t size = 1; size <= LONGEST; size++)
	{
		uint32_t hash = mq_hash(mq_bytes(text, size), 1);

		assert_int_equal(mq_hash(mq_bytes(text, size), 1), hash);
		assert_int_not_equal(mq_hash(mq_bytes(text, size), 2), hash);
		assert_int_not_equal(mq_hash(mq_bytes(text, size - 1), 1), hash);
		for (size_t bit = 0; bit < 8 * size; bit++)
		{
			text[bit / 8] = (char) (1 << bit % 8);
			assert_int_not_equal(mq_hash(mq_bytes(text, size), 1), hash);
			text[bit / 8] = 0;
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_byte_at_every_place),
		cmocka_unit_test(a_hash_depends_on_every_bit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
