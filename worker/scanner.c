/*
 * scanner.c
 *    See scanner.h. A state machine without recursion: what is open stands in is_object.
 *    Source: RFC 8259; RFC 3629 for UTF-8.
 */
#include "worker/scanner.h"

#include "wire/plain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_NAMES 64
#define KEEP_BYTES ((size_t) 64 * 1024) /* of memory, from one text to the next */

struct ScannerName
{
	MqBytes bytes;
	size_t  where; /* in the text */
};

void
scanner_begin(Scanner *scanner, MqBytes text)
{
	scanner->begin = scanner->at = text.data;
	scanner->end = text.data + text.size;
	scanner->expect = EXPECT_VALUE;
	scanner->depth = 0;
	scanner->name_count = 0;
	scanner->decoded_size = 0;
	/* So large that it never moves: strings point into it. */
	if (scanner->decoded_capacity < text.size)
	{
		free(scanner->decoded);
		scanner->decoded = NULL;
		scanner->decoded_capacity = 0;
	}
}

void
scanner_free(Scanner *scanner)
{
	free(scanner->names);
	free(scanner->decoded);
	scanner->names = NULL;
	scanner->decoded = NULL;
	scanner->name_count = scanner->name_capacity = 0;
	scanner->decoded_size = scanner->decoded_capacity = 0;
}

void
scanner_shrink(Scanner *scanner)
{
	if (scanner->decoded_capacity + scanner->name_capacity * sizeof(ScannerName) > KEEP_BYTES)
		scanner_free(scanner);
}

static bool
fail_at(Scanner *scanner, const char *what, size_t where)
{
	snprintf(scanner->error, sizeof(scanner->error), "%s at byte %zu", what, where);
	return false;
}

static bool
fail(Scanner *scanner, const char *what)
{
	return fail_at(scanner, what, (size_t) (scanner->at - scanner->begin));
}

static bool
fail_end(Scanner *scanner)
{
	scanner->at = scanner->end;
	return fail(scanner, "not JSON: it ends too early");
}

static Token
refuse(Scanner *scanner, const char *what)
{
	fail(scanner, what);
	return TOKEN_ERROR;
}

static Token
refuse_end(Scanner *scanner)
{
	fail_end(scanner);
	return TOKEN_ERROR;
}

static void
skip_space(Scanner *scanner)
{
	while (scanner->at < scanner->end && (*scanner->at == ' ' || *scanner->at == '\n' ||
	                                      *scanner->at == '\r' || *scanner->at == '\t'))
		scanner->at++;
}

static bool
in_object(const Scanner *scanner)
{
	return scanner->depth > 0 && scanner->is_object[scanner->depth - 1];
}

/* ---- strings ---- */

/* Bytes of the UTF-8 character at at, 2 to 4; 0: it is none. */
static size_t
utf8_size(const char *at, const char *end)
{
	const unsigned char *c = (const unsigned char *) at;
	size_t               size = c[0] < 0xE0 ? 2 : c[0] < 0xF0 ? 3 : 4;

	if (c[0] < 0xC2 || c[0] > 0xF4 || (size_t) (end - at) < size)
		return 0;
	/* Overlong forms, surrogates, beyond U+10FFFF. */
	if ((c[0] == 0xE0 && c[1] < 0xA0) || (c[0] == 0xED && c[1] > 0x9F) ||
	    (c[0] == 0xF0 && c[1] < 0x90) || (c[0] == 0xF4 && c[1] > 0x8F))
		return 0;
	for (size_t i = 1; i < size; i++)
		if ((c[i] & 0xC0) != 0x80)
			return 0;
	return size;
}

/* Four hexadecimal digits; -1: they are not. */
static int
hex4(const char *at, const char *end)
{
	int value = 0;

	if (end - at < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		char c = at[i];
		int  digit = c >= '0' && c <= '9'   ? c - '0'
		             : c >= 'a' && c <= 'f' ? c - 'a' + 10
		             : c >= 'A' && c <= 'F' ? c - 'A' + 10
		                                    : -1;

		if (digit < 0)
			return -1;
		value = value << 4 | digit;
	}
	return value;
}

static void
put_decoded(Scanner *scanner, const char *bytes, size_t size)
{
	memcpy(scanner->decoded + scanner->decoded_size, bytes, size);
	scanner->decoded_size += size;
}

/* The escape is never shorter than what it stands for. */
static void
put_character(Scanner *scanner, unsigned long c)
{
	char   bytes[4];
	size_t size = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	if (size == 1)
		bytes[0] = (char) c;
	else
	{
		static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};

		for (size_t i = size - 1; i > 0; i--, c >>= 6)
			bytes[i] = (char) (0x80 | (c & 0x3F));
		bytes[0] = (char) (lead[size] | c);
	}
	put_decoded(scanner, bytes, size);
}

/* Behind "\u", with the second half of a pair. false: refused. */
static bool
decode_unicode(Scanner *scanner)
{
	const char *escape = scanner->at - 2;
	int         c = hex4(scanner->at, scanner->end);
	int         low = -1;

	scanner->at = escape; /* for errors */
	if (c < 0)
		return fail(scanner, "not JSON: an unknown escape");
	if (c == 0)
		return fail(scanner, "\\u0000 is not taken,");
	if (c < 0xD800 || c > 0xDFFF)
	{
		put_character(scanner, (unsigned long) c);
		scanner->at = escape + 6;
		return true;
	}
	if (c < 0xDC00 && scanner->end - escape >= 12 && escape[6] == '\\' && escape[7] == 'u')
		low = hex4(escape + 8, scanner->end);
	if (low < 0xDC00 || low > 0xDFFF)
		return fail(scanner, "not JSON: a lone surrogate");
	put_character(scanner, 0x10000UL + ((unsigned long) (c - 0xD800) << 10) +
	                           (unsigned long) (low - 0xDC00));
	scanner->at = escape + 12;
	return true;
}

/* At a backslash. false: refused. */
static bool
decode_escape(Scanner *scanner)
{
	static const char letters[] = "\"\\/bfnrt";
	static const char meaning[] = "\"\\/\b\f\n\r\t";
	const char       *found;

	if (scanner->end - scanner->at < 2)
		return fail_end(scanner);
	if (scanner->at[1] == 'u')
	{
		scanner->at += 2;
		return decode_unicode(scanner);
	}
	found = scanner->at[1] == '\0' ? NULL : strchr(letters, scanner->at[1]);
	if (found == NULL)
		return fail(scanner, "not JSON: an unknown escape");
	put_decoded(scanner, &meaning[found - letters], 1);
	scanner->at += 2;
	return true;
}

/* Over what surely is plain. */
static const char *
skip_plain_words(const char *at, const char *end)
{
	for (; (size_t) (end - at) >= sizeof(uint64_t); at += sizeof(uint64_t))
	{
		uint64_t word = eight_bytes(at);

		if (!is_plain_word(word) || !is_ascii_word(word))
			break;
	}
	return at;
}

/* Steps over what stands for itself, up to a quote or a backslash. false: refused. */
static bool
skip_plain(Scanner *scanner)
{
	const char *at = skip_plain_words(scanner->at, scanner->end);

	for (; at < scanner->end; at++)
	{
		unsigned char c = (unsigned char) *at;

		if (c == '"' || c == '\\')
			break;
		if (c < 0x20)
		{
			scanner->at = at;
			return fail(scanner, "not JSON: a control character");
		}
		if (c >= 0x80)
		{
			size_t size = utf8_size(at, scanner->end);

			scanner->at = at;
			if (size == 0)
				return fail(scanner, "not JSON: invalid UTF-8");
			at += size - 1;
		}
	}
	scanner->at = at;
	return at < scanner->end || fail_end(scanner);
}

/* The rest of a string from its first backslash on; begin: of the string. false: refused. */
static bool
decode_string(Scanner *scanner, const char *begin)
{
	size_t start;

	if (scanner->decoded == NULL)
	{
		scanner->decoded = malloc((size_t) (scanner->end - scanner->begin));
		if (scanner->decoded == NULL)
			return fail(scanner, "out of memory");
		scanner->decoded_capacity = (size_t) (scanner->end - scanner->begin);
	}
	start = scanner->decoded_size;
	put_decoded(scanner, begin, (size_t) (scanner->at - begin));
	while (*scanner->at == '\\')
	{
		const char *plain;

		if (!decode_escape(scanner))
			return false;
		plain = scanner->at;
		if (!skip_plain(scanner))
			return false;
		put_decoded(scanner, plain, (size_t) (scanner->at - plain));
	}
	scanner->string = mq_bytes(scanner->decoded + start, scanner->decoded_size - start);
	return true;
}

/* At the opening quote. false: refused. */
static bool
read_string(Scanner *scanner)
{
	const char *begin = ++scanner->at;

	if (!skip_plain(scanner))
		return false;
	if (*scanner->at == '"')
		scanner->string = mq_bytes(begin, (size_t) (scanner->at - begin));
	else if (!decode_string(scanner, begin))
		return false;
	scanner->at++;
	return true;
}

/* ---- members ---- */

static bool
remember_name(Scanner *scanner, size_t where)
{
	if (scanner->name_count == scanner->name_capacity)
	{
		size_t capacity = scanner->name_capacity == 0 ? FIRST_NAMES : 2 * scanner->name_capacity;
		ScannerName *names;

		if (scanner->name_count >= SCANNER_MAX_NAMES)
			return fail_at(scanner, "too many members", where);
		names = realloc(scanner->names, capacity * sizeof(ScannerName));
		if (names == NULL)
			return fail_at(scanner, "out of memory", where);
		scanner->names = names;
		scanner->name_capacity = capacity;
	}
	scanner->names[scanner->name_count++] = (ScannerName){scanner->string, where};
	return true;
}

static int
compare_bytes(MqBytes a, MqBytes b)
{
	if (a.size != b.size)
		return a.size < b.size ? -1 : 1;
	return a.size == 0 ? 0 : memcmp(a.data, b.data, a.size);
}

static int
compare_names(const void *a, const void *b)
{
	const ScannerName *first = a;
	const ScannerName *second = b;
	int                order = compare_bytes(first->bytes, second->bytes);

	return order != 0 ? order : (first->where > second->where) - (first->where < second->where);
}

/* Forgets the names of the object that ends. false: refused, one was there twice. */
static bool
names_differ(Scanner *scanner)
{
	size_t       first = scanner->first_name[scanner->depth - 1];
	size_t       count = scanner->name_count - first;
	ScannerName *names = scanner->names + first;

	scanner->name_count = first;
	if (count < 2)
		return true;
	qsort(names, count, sizeof(ScannerName), compare_names);
	for (size_t i = 1; i < count; i++)
		if (compare_bytes(names[i - 1].bytes, names[i].bytes) == 0)
			return fail_at(scanner, "not JSON: the same member twice", names[i].where);
	return true;
}

static Token
read_name(Scanner *scanner)
{
	size_t where = (size_t) (scanner->at - scanner->begin);

	if (*scanner->at != '"')
		return refuse(scanner, "not JSON: a member's name is expected");
	if (!read_string(scanner) || !remember_name(scanner, where))
		return TOKEN_ERROR;
	skip_space(scanner);
	if (scanner->at == scanner->end)
		return refuse_end(scanner);
	if (*scanner->at != ':')
		return refuse(scanner, "not JSON: ':' is expected");
	scanner->at++;
	scanner->expect = EXPECT_VALUE;
	return TOKEN_NAME;
}

/* ---- values ---- */

static void
value_is_over(Scanner *scanner)
{
	scanner->expect = scanner->depth == 0 ? EXPECT_NOTHING : EXPECT_COMMA;
}

static Token
enter(Scanner *scanner, bool is_object)
{
	if (scanner->depth == SCANNER_MAX_DEPTH)
	{
		char what[40];

		snprintf(what, sizeof(what), "nested deeper than %d", SCANNER_MAX_DEPTH);
		return refuse(scanner, what);
	}
	scanner->at++;
	scanner->is_object[scanner->depth] = is_object;
	scanner->first_name[scanner->depth] = scanner->name_count;
	scanner->depth++;
	scanner->expect = is_object ? EXPECT_FIRST_NAME : EXPECT_FIRST_VALUE;
	return is_object ? TOKEN_OBJECT_BEGIN : TOKEN_ARRAY_BEGIN;
}

/* Where only a comma might be instead. */
static Token
leave(Scanner *scanner)
{
	bool is_object = in_object(scanner);

	if (*scanner->at != (is_object ? '}' : ']'))
		return refuse(scanner, is_object ? "not JSON: ',' or '}' is expected"
		                                 : "not JSON: ',' or ']' is expected");
	if (is_object && !names_differ(scanner))
		return TOKEN_ERROR;
	scanner->at++;
	scanner->depth--;
	value_is_over(scanner);
	return is_object ? TOKEN_OBJECT_END : TOKEN_ARRAY_END;
}

static const char *
skip_digits(const char *at, const char *end)
{
	while (at < end && *at >= '0' && *at <= '9')
		at++;
	return at;
}

/* The end of the number at at; NULL: it is none. */
static const char *
number_end(const char *at, const char *end, bool *is_real)
{
	const char *digits;

	*is_real = false;
	if (at < end && *at == '-')
		at++;
	digits = at;
	at = skip_digits(at, end);
	if (at == digits || (*digits == '0' && at > digits + 1))
		return NULL;
	if (at < end && *at == '.')
	{
		*is_real = true;
		digits = ++at;
		at = skip_digits(at, end);
		if (at == digits)
			return NULL;
	}
	if (at < end && (*at == 'e' || *at == 'E'))
	{
		*is_real = true;
		at++;
		if (at < end && (*at == '+' || *at == '-'))
			at++;
		digits = at;
		at = skip_digits(at, end);
		if (at == digits)
			return NULL;
	}
	return at;
}

static Token
read_number(Scanner *scanner)
{
	bool        is_real;
	const char *end = number_end(scanner->at, scanner->end, &is_real);

	if (end == NULL)
		return refuse(scanner, "not JSON: a number is malformed");
	/* strtod and strtoll need a byte behind it. A number that ends the text is no object: the caller
	 * refuses it anyway. */
	if (end < scanner->end)
	{
		errno = 0;
		if (is_real)
		{
			double value = strtod(scanner->at, NULL);

			if (errno == ERANGE && (value > 1 || value < -1))
				return refuse(scanner, "not JSON: a number is too large");
		}
		else if (strtoll(scanner->at, NULL, 10), errno == ERANGE)
			return refuse(scanner, "not JSON: a number is too large");
	}
	scanner->at = end;
	value_is_over(scanner);
	return TOKEN_SCALAR;
}

static Token
read_word(Scanner *scanner)
{
	static const char *const words[] = {"true", "false", "null"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
	{
		size_t size = strlen(words[i]);

		if ((size_t) (scanner->end - scanner->at) < size ||
		    memcmp(scanner->at, words[i], size) != 0)
			continue;
		scanner->at += size;
		value_is_over(scanner);
		return TOKEN_SCALAR;
	}
	return refuse(scanner, "not JSON: a value is expected");
}

static Token
read_value(Scanner *scanner)
{
	char c = *scanner->at;

	if (c == '"')
	{
		if (!read_string(scanner))
			return TOKEN_ERROR;
		value_is_over(scanner);
		return TOKEN_STRING;
	}
	if (c == '{' || c == '[')
		return enter(scanner, c == '{');
	if (c == '-' || (c >= '0' && c <= '9'))
		return read_number(scanner);
	return read_word(scanner);
}

Token
scanner_next(Scanner *scanner)
{
	skip_space(scanner);
	if (scanner->expect == EXPECT_NOTHING)
		return scanner->at == scanner->end ? TOKEN_END
		                                   : refuse(scanner, "not JSON: something behind the end");
	if (scanner->at == scanner->end)
		return refuse_end(scanner);
	switch (scanner->expect)
	{
	case EXPECT_COMMA:
		if (*scanner->at != ',')
			return leave(scanner);
		scanner->at++;
		skip_space(scanner);
		if (scanner->at == scanner->end)
			return refuse_end(scanner);
		return in_object(scanner) ? read_name(scanner) : read_value(scanner);
	case EXPECT_FIRST_NAME:
		if (*scanner->at == '}')
			return leave(scanner);
		return read_name(scanner);
	case EXPECT_FIRST_VALUE:
		if (*scanner->at == ']')
			return leave(scanner);
		return read_value(scanner);
	case EXPECT_VALUE:
	case EXPECT_NOTHING:
		break;
	}
	return read_value(scanner);
}
