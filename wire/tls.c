/*
 * tls.c
 *    OpenSSL over two memory BIOs.
 */
#include "wire/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define WRITE_PIECE_BYTES (1 << 20) /* SSL_write takes an int */

struct TlsChannel
{
	SSL *ssl;
	BIO *in, *out; /* owned by ssl */
};

/* ---- context ---------------------------------------------------------------------------------- */

static bool
is_set(const char *path)
{
	return path != NULL && path[0] != '\0';
}

/* OpenSSL's own word for what went wrong first; of a file, the system's. */
static const char *
reason(void)
{
	unsigned long error = ERR_peek_error();
	const char   *text =
        ERR_SYSTEM_ERROR(error) ? strerror(ERR_GET_REASON(error)) : ERR_reason_error_string(error);

	return text == NULL ? "unknown error" : text;
}

static MqResult
load_authorities(SSL_CTX *context, const char *ca, MqError *error)
{
	if (!is_set(ca))
		return SSL_CTX_set_default_verify_paths(context) == 1
		           ? MQ_OK
		           : mq_error_set(error, MQ_INVALID, "the system's certificate authorities: %s",
		                          reason());
	if (SSL_CTX_load_verify_locations(context, ca, NULL) != 1)
		return mq_error_set(error, MQ_INVALID, "CA file \"%s\": %s", ca, reason());
	return MQ_OK;
}

static MqResult
load_certificate(SSL_CTX *context, const char *cert, const char *key, MqError *error)
{
	const char *key_file = is_set(key) ? key : cert;

	if (!is_set(cert))
		return is_set(key)
		           ? mq_error_set(error, MQ_INVALID, "a key file without a certificate file")
		           : MQ_OK;
	if (SSL_CTX_use_certificate_chain_file(context, cert) != 1)
		return mq_error_set(error, MQ_INVALID, "certificate file \"%s\": %s", cert, reason());
	if (SSL_CTX_use_PrivateKey_file(context, key_file, SSL_FILETYPE_PEM) != 1)
		return mq_error_set(error, MQ_INVALID, "key file \"%s\": %s", key_file, reason());
	if (SSL_CTX_check_private_key(context) != 1)
		return mq_error_set(error, MQ_INVALID,
		                    "key file \"%s\" does not fit certificate file \"%s\"", key_file, cert);
	return MQ_OK;
}

/* A key that needs a passphrase is refused: nobody is there to type it. */
static int
no_passphrase(char *buffer, int size, int writing, void *data)
{
	(void) buffer;
	(void) size;
	(void) writing;
	(void) data;
	return -1;
}

TlsContext *
tls_context_new(const char *ca, const char *cert, const char *key, MqError *error)
{
	SSL_CTX *context;

	ERR_clear_error();
	context = SSL_CTX_new(TLS_client_method());
	if (context == NULL)
	{
		mq_error_set(error, MQ_NOMEM, "out of memory");
		return NULL;
	}
	SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_default_passwd_cb(context, no_passphrase);
	if (load_authorities(context, ca, error) == MQ_OK &&
	    load_certificate(context, cert, key, error) == MQ_OK)
		return (TlsContext *) context;
	SSL_CTX_free(context);
	return NULL;
}

void
tls_context_free(TlsContext *context)
{
	SSL_CTX_free((SSL_CTX *) context);
}

/* ---- channel ---------------------------------------------------------------------------------- */

static bool
is_numeric(const char *host)
{
	unsigned char address[16];

	return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

/* Server name indication is for names only: RFC 6066, section 3. */
static bool
expect_host(SSL *ssl, const char *host)
{
	if (is_numeric(host))
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
	return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

TlsChannel *
tls_channel_new(TlsContext *context, const char *host)
{
	TlsChannel *channel = calloc(1, sizeof(*channel));

	if (channel == NULL)
		return NULL;
	channel->ssl = SSL_new((SSL_CTX *) context);
	channel->in = BIO_new(BIO_s_mem());
	channel->out = BIO_new(BIO_s_mem());
	if (channel->ssl == NULL || channel->in == NULL || channel->out == NULL ||
	    !expect_host(channel->ssl, host))
	{
		SSL_free(channel->ssl);
		BIO_free(channel->in);
		BIO_free(channel->out);
		free(channel);
		return NULL;
	}
	/* Empty means "more may come", not "end". */
	BIO_set_mem_eof_return(channel->in, -1);
	SSL_set_bio(channel->ssl, channel->in, channel->out);
	SSL_set_connect_state(channel->ssl);
	return channel;
}

void
tls_channel_free(TlsChannel *channel)
{
	if (channel == NULL)
		return;
	SSL_free(channel->ssl);
	free(channel);
}

MqResult
tls_feed(TlsChannel *channel, const void *data, size_t size)
{
	size_t written;

	return BIO_write_ex(channel->in, data, size, &written) == 1 && written == size ? MQ_OK
	                                                                               : MQ_NOMEM;
}

MqResult
tls_drain(TlsChannel *channel, MqBuffer *out)
{
	size_t size = BIO_ctrl_pending(channel->out);
	size_t got = 0;

	if (size == 0)
		return MQ_OK;
	if (mq_buffer_reserve(out, size) != MQ_OK ||
	    BIO_read_ex(channel->out, out->data + out->size, size, &got) != 1)
		return MQ_NOMEM;
	out->size += got;
	return MQ_OK;
}

/* Why an operation that gave `result` failed. */
static MqResult
explain(const TlsChannel *channel, int result, MqError *error)
{
	long verified = SSL_get_verify_result(channel->ssl);

	switch (SSL_get_error(channel->ssl, result))
	{
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return MQ_FULL;
	case SSL_ERROR_ZERO_RETURN:
		return mq_error_set(error, MQ_LOST, "TLS: closed by the peer");
	}
	if (verified != X509_V_OK)
		return mq_error_set(error, MQ_LOST, "TLS: the peer's certificate is not accepted: %s",
		                    X509_verify_cert_error_string(verified));
	return mq_error_set(error, MQ_LOST, "TLS: %s", reason());
}

MqResult
tls_handshake(TlsChannel *channel, MqError *error)
{
	int result;

	ERR_clear_error();
	result = SSL_do_handshake(channel->ssl);
	return result == 1 ? MQ_OK : explain(channel, result, error);
}

ssize_t
tls_read(TlsChannel *channel, void *buffer, size_t size, MqError *error)
{
	size_t got = 0;
	int    result;

	ERR_clear_error();
	result = SSL_read_ex(channel->ssl, buffer, size, &got);
	if (result == 1)
		return (ssize_t) got;
	return explain(channel, result, error) == MQ_FULL ? 0 : -1;
}

MqResult
tls_write(TlsChannel *channel, const void *data, size_t size, MqError *error)
{
	const char *at = data;

	while (size > 0)
	{
		size_t piece = size < WRITE_PIECE_BYTES ? size : WRITE_PIECE_BYTES;
		size_t written = 0;
		int    result;

		ERR_clear_error();
		result = SSL_write_ex(channel->ssl, at, piece, &written);
		if (result != 1)
		{
			/* Memory takes everything: WANT_READ could only be a renegotiation, which is off. */
			if (explain(channel, result, error) == MQ_FULL)
				mq_error_set(error, MQ_LOST, "TLS: the peer asked for a renegotiation");
			return MQ_LOST;
		}
		at += written;
		size -= written;
	}
	return MQ_OK;
}

bool
tls_has_pending(const TlsChannel *channel)
{
	return SSL_pending(channel->ssl) > 0 || BIO_ctrl_pending(channel->in) > 0;
}
