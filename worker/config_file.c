/*
 * config_file.c
 *    See config_file.h.
 */
#include "worker/config_file.h"

#include <string.h>

void
config_file_begin(ConfigFile *file, MqBytes text)
{
	memset(file, 0, sizeof(*file));
	file->rest = text;
}

static ConfigFileStep
bad_line(ConfigFile *file, const char *problem)
{
	file->problem = problem;
	return CONFIG_FILE_BAD;
}

/* The next line without its end. */
static MqBytes
take_line(ConfigFile *file)
{
	const char *end = memchr(file->rest.data, '\n', file->rest.size);
	size_t      size = end == NULL ? file->rest.size : (size_t) (end - file->rest.data);
	MqBytes     line = mq_bytes(file->rest.data, size);

	if (end != NULL)
		size++;
	file->rest = mq_bytes(file->rest.data + size, file->rest.size - size);
	file->line++;
	return line;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static MqBytes
trimmed(MqBytes text)
{
	while (text.size > 0 && is_blank(text.data[text.size - 1]))
		text.size--;
	while (text.size > 0 && is_blank(text.data[0]))
		text = mq_bytes(text.data + 1, text.size - 1);
	return text;
}

static MqBytes
unquoted(MqBytes value)
{
	if (value.size >= 2 && value.data[0] == '"' && value.data[value.size - 1] == '"')
		return mq_bytes(value.data + 1, value.size - 2);
	return value;
}

static bool
copy_text(char *out, size_t size, MqBytes text)
{
	if (text.size >= size)
		return false;
	memcpy(out, text.data, text.size);
	out[text.size] = '\0';
	return true;
}

static ConfigFileStep
take_entry(ConfigFile *file, MqBytes line)
{
	const char *equals = memchr(line.data, '=', line.size);
	size_t      name_size;

	if (memchr(line.data, '\0', line.size) != NULL)
		return bad_line(file, "holds a NUL byte");
	if (equals == NULL)
		return bad_line(file, "is not \"name = value\"");
	name_size = (size_t) (equals - line.data);
	if (!copy_text(file->name, sizeof(file->name), trimmed(mq_bytes(line.data, name_size))))
		return bad_line(file, "has a name that is too long");
	if (file->name[0] == '\0')
		return bad_line(file, "has no name before \"=\"");
	if (file->name[strspn(file->name, "abcdefghijklmnopqrstuvwxyz-")] != '\0')
		return bad_line(file, "has a name with other characters than a to z and \"-\"");
	if (!copy_text(file->value, sizeof(file->value),
	               unquoted(trimmed(mq_bytes(equals + 1, line.size - name_size - 1)))))
		return bad_line(file, "has a value of more than 8191 bytes");
	return CONFIG_FILE_ENTRY;
}

ConfigFileStep
config_file_next(ConfigFile *file)
{
	while (file->rest.size > 0)
	{
		MqBytes line = trimmed(take_line(file));

		if (line.size == 0 || line.data[0] == '#')
			continue;
		if (line.data[0] == '[' && line.data[line.size - 1] == ']')
			continue;
		return take_entry(file, line);
	}
	return CONFIG_FILE_END;
}
