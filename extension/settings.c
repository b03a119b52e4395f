/*
 * settings.c
 *    Every outbox.* setting: name, default, range, check.
 *
 * All are for superusers (PGC_SUSET) but outbox.traceparent. None is PGC_POSTMASTER: those cannot
 * be defined by a session that loads the library late, and ALTER DATABASE could not set them.
 *
 * Check hooks run in every backend at every reload, so what they have to say about a value that is
 * merely unwise is said by the postmaster alone. The URL may hold a password: no message repeats
 * it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"

#include "compat.h"
#include "settings.h"
#include "wire/message.h"
#include "wire/url.h"

#define MAX_KEYS_PER_MESSAGE 10000
#define MIN_PENDING_KEYS 16
#define MAX_PENDING_KEYS 1000000
#define MIN_PAYLOAD_BYTES 1024
#define MAX_PAYLOAD_BYTES (16 * 1024 * 1024)
#define MAX_TRACEPARENT_BYTES 255
#define MAX_CANARY_INTERVAL_S (24 * 60 * 60)
#define DEFAULT_URL "amqp://guest:guest@localhost:5672/%2f"

char *setting_amqp_url;
char *setting_amqp_password_file;
char *setting_amqp_ca_file;
char *setting_amqp_cert_file;
char *setting_amqp_key_file;
char *setting_queue;
char *setting_invalidation_exchange;
char *setting_run_on;
int   setting_queue_type = QUEUE_CLASSIC;
bool  setting_declare_topology = true;
int   setting_max_keys_per_message = 500;
int   setting_canary_interval = 0;
bool  setting_enabled = true;
int   setting_max_pending_keys = 10000;
int   setting_max_payload = 1024 * 1024;
char *setting_traceparent;

static const struct config_enum_entry queue_types[] = {
	{"classic", QUEUE_CLASSIC, false},
	{"quorum", QUEUE_QUORUM, false},
	{NULL, 0, false},
};

static bool
holds_secret(const MqUrl *urls, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (urls[i].password[0] != '\0' && strcmp(urls[i].password, "guest") != 0)
			return true;
	}
	return false;
}

/* PGC_S_TEST: ALTER DATABASE, ALTER ROLE and CREATE FUNCTION ... SET, catalogs that all can read. */
static bool
check_amqp_url(char **value, void **extra, GucSource source)
{
	MqUrl   urls[MQ_MAX_URLS];
	MqError error = {0};
	int     count = 0;

	if (mq_url_parse_list(*value, urls, &count, &error) != MQ_OK)
	{
		GUC_check_errcode(ERRCODE_INVALID_PARAMETER_VALUE);
		GUC_check_errmsg("invalid value for parameter \"outbox.amqp_url\"");
		GUC_check_errdetail("%s. The value is not repeated here: it may hold a password.",
		                    error.text);
		GUC_check_errhint("Write amqp://user@host:port/vhost, several separated by commas.");
		return false;
	}
	if (!holds_secret(urls, count))
		return true;
	if (source == PGC_S_TEST)
	{
		GUC_check_errcode(ERRCODE_INVALID_PARAMETER_VALUE);
		GUC_check_errmsg("parameter \"outbox.amqp_url\" must not hold a password here");
		GUC_check_errdetail("The catalog that keeps it can be read by everyone.");
		GUC_check_errhint("Put the password into a file and name it in outbox.amqp_password_file.");
		return false;
	}
	if (IsPostmasterEnvironment && !IsUnderPostmaster)
		ereport(WARNING, errmsg("parameter \"outbox.amqp_url\" holds a password"),
		        errdetail("The server writes changed settings into its log."),
		        errhint("Put the password into a file and name it in outbox.amqp_password_file."));
	return true;
}

static bool
check_name_length(const char *name, const char *value, int max_bytes)
{
	if (strlen(value) <= (size_t) max_bytes)
		return true;
	GUC_check_errdetail("%s must have at most %d bytes.", name, max_bytes);
	return false;
}

static bool
check_queue(char **value, void **extra, GucSource source)
{
	if ((*value)[0] == '\0')
	{
		GUC_check_errdetail("A queue's name must not be empty.");
		return false;
	}
	/* The name of its dead-letter queue is longer. */
	return check_name_length("A queue's name", *value,
	                         MQ_MAX_SHORT_STRING - (int) strlen(MQ_DEAD_SUFFIX));
}

static bool
check_exchange(char **value, void **extra, GucSource source)
{
	return check_name_length("An exchange's name", *value, MQ_MAX_SHORT_STRING);
}

/* Anyone may set it and it goes out as a header: printable ASCII, and not much of it. */
static bool
check_traceparent(char **value, void **extra, GucSource source)
{
	size_t length = strlen(*value);

	for (size_t i = 0; i < length; i++)
	{
		if ((*value)[i] < ' ' || (*value)[i] > '~')
		{
			GUC_check_errdetail("Only printable ASCII characters are allowed.");
			return false;
		}
	}
	if (length > MAX_TRACEPARENT_BYTES)
	{
		GUC_check_errdetail("At most %d bytes are allowed.", MAX_TRACEPARENT_BYTES);
		return false;
	}
	return true;
}

static void
define_broker_settings(void)
{
	DefineCustomStringVariable(
		"outbox.amqp_url", "Where the broker is: amqp:// URLs, separated by commas.", NULL,
		&setting_amqp_url, DEFAULT_URL, PGC_SUSET, GUC_SUPERUSER_ONLY, check_amqp_url, NULL, NULL);
	DefineCustomStringVariable("outbox.amqp_password_file",
	                           "A file with the broker's password, kept out of the URL.", NULL,
	                           &setting_amqp_password_file, "", PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable(
		"outbox.amqp_ca_file", "The authorities that may vouch for an amqps:// broker.",
		"Empty: those of the system.", &setting_amqp_ca_file, "", PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("outbox.amqp_cert_file",
	                           "The certificate to show an amqps:// broker.", NULL,
	                           &setting_amqp_cert_file, "", PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("outbox.amqp_key_file", "The key of outbox.amqp_cert_file.",
	                           "Empty: it stands in the certificate's file.",
	                           &setting_amqp_key_file, "", PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("outbox.queue", "The queue that invalidations go to.", NULL,
	                           &setting_queue, "cache-invalidation", PGC_SUSET, 0, check_queue,
	                           NULL, NULL);
	DefineCustomStringVariable("outbox.invalidation_exchange",
	                           "An exchange for invalidations in place of the default one.", NULL,
	                           &setting_invalidation_exchange, "", PGC_SUSET, 0, check_exchange,
	                           NULL, NULL);
	DefineCustomStringVariable("outbox.run_on",
	                           "Relays run only where cluster_name is this; empty: anywhere.", NULL,
	                           &setting_run_on, "", PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable(
		"outbox.queue_type", "The type of the queue where the relay declares it.", NULL,
		&setting_queue_type, QUEUE_CLASSIC, queue_types, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("outbox.declare_topology",
	                         "Declare the queue and its dead-letter queue where they are missing.",
	                         NULL, &setting_declare_topology, true, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("outbox.max_keys_per_message",
	                        "The most keys that one message carries.", NULL,
	                        &setting_max_keys_per_message, 500, 1, MAX_KEYS_PER_MESSAGE, PGC_SUSET,
	                        0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"outbox.canary_interval",
		"Time between messages without keys that measure the whole way; 0: none are sent.", NULL,
		&setting_canary_interval, 0, 0, MAX_CANARY_INTERVAL_S, PGC_SUSET, GUC_UNIT_S, NULL, NULL,
		NULL);
}

static void
define_recording_settings(void)
{
	DefineCustomBoolVariable("outbox.enabled",
	                         "Record events; off for bulk loads that need no invalidation.", NULL,
	                         &setting_enabled, true, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("outbox.max_pending_keys",
	                        "Keys kept in a transaction's memory before they are written early.",
	                        NULL, &setting_max_pending_keys, 10000, MIN_PENDING_KEYS,
	                        MAX_PENDING_KEYS, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("outbox.max_payload", "The largest message that outbox.publish takes.",
	                        NULL, &setting_max_payload, 1024 * 1024, MIN_PAYLOAD_BYTES,
	                        MAX_PAYLOAD_BYTES, PGC_SUSET, GUC_UNIT_BYTE, NULL, NULL, NULL);
	DefineCustomStringVariable(
		"outbox.traceparent", "W3C Trace Context for the header traceparent of messages.", NULL,
		&setting_traceparent, "", PGC_USERSET, 0, check_traceparent, NULL, NULL);
}

void
settings_define(void)
{
	define_broker_settings();
	define_recording_settings();
	MarkGUCPrefixReserved("outbox");
}
