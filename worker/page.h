/*
 * page.h
 *    The status page: one HTML document with its style and its program inside, made at start of the
 *    files page.html, page.css and page.js, which the build puts into the program.
 *
 * The policy lets a browser run and apply nothing but these two, by their hashes, ask only us, and
 * show the page in nobody's frame.
 */
#ifndef WORKER_PAGE_H
#define WORKER_PAGE_H

#include "wire/message.h"

#define PAGE_POLICY_BYTES 400

typedef struct Page
{
	MqBuffer text;
	char     policy[PAGE_POLICY_BYTES]; /* for Content-Security-Policy */
} Page;

/* MQ_OK or MQ_NOMEM; page_free it either way. */
MqResult page_make(Page *page);
void     page_free(Page *page);

#endif
