/*
 * page.c
 *    See page.h.
 *
 * The files are put in by the assembler (.incbin), relative to the top folder, where every compiler
 * of the Makefile runs: no generator, and no copy of the page in another form.
 */
#include "worker/page.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

/* A text that ends with a NUL. */
#define EMBED(name, file)                                                                          \
	__asm__(".pushsection .rodata\n"                                                               \
	        ".globl " #name "\n.hidden " #name "\n" #name ":\n.incbin \"" file "\"\n.byte 0\n"     \
	        ".popsection\n");                                                                      \
	extern const char name[] /* NOLINT(bugprone-macro-parentheses) */

EMBED(page_html, "worker/page.html");
EMBED(page_css, "worker/page.css");
EMBED(page_js, "worker/page.js");

#define CSS_MARK "<!-- page.css -->"
#define JS_MARK "<!-- page.js -->"
#define HASH_BYTES 45 /* 32 bytes in base64, and NUL */

static void
hash(MqBytes text, char out[HASH_BYTES])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned      size = 0;

	EVP_Digest(text.data, text.size, digest, &size, EVP_sha256(), NULL);
	EVP_EncodeBlock((unsigned char *) out, digest, (int) size);
}

/* Up to the mark, then the element in its place; html is what follows. */
static MqResult
put(MqBuffer *out, MqBytes *html, const char *mark, const char *element, MqBytes text)
{
	size_t at = 0;
	char   tag[24];

	while (at + strlen(mark) < html->size && memcmp(html->data + at, mark, strlen(mark)) != 0)
		at++;
	mq_buffer_append(out, html->data, at);
	mq_buffer_append(out, tag, (size_t) snprintf(tag, sizeof(tag), "<%s>", element));
	mq_buffer_append(out, text.data, text.size);
	at += strlen(mark);
	*html = mq_bytes(html->data + at, html->size - at);
	return mq_buffer_append(out, tag, (size_t) snprintf(tag, sizeof(tag), "</%s>", element));
}

MqResult
page_make(Page *page)
{
	MqBytes html = mq_bytes_of(page_html);
	MqBytes css = mq_bytes_of(page_css);
	MqBytes js = mq_bytes_of(page_js);
	char    css_hash[HASH_BYTES], js_hash[HASH_BYTES];

	/* With that room nothing can fail. */
	if (mq_buffer_reserve(&page->text, html.size + css.size + js.size + 64) != MQ_OK)
		return MQ_NOMEM;
	put(&page->text, &html, CSS_MARK, "style", css);
	put(&page->text, &html, JS_MARK, "script", js);
	mq_buffer_append(&page->text, html.data, html.size);
	hash(css, css_hash);
	hash(js, js_hash);
	snprintf(
		page->policy, sizeof(page->policy),
		"default-src 'none'; style-src 'sha256-%s'; script-src 'sha256-%s'; connect-src 'self'; "
		"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		css_hash, js_hash);
	return MQ_OK;
}

void
page_free(Page *page)
{
	mq_buffer_free(&page->text);
}
