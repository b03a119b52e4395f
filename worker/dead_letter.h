/*
 * dead_letter.h
 *    Messages that cannot be understood, on their way to <queue>.dead.
 *
 * Published with a confirm and `mandatory`, with their body, properties and headers and one more
 * header, x-outbox-error. Only then is the original acknowledged: until that its tag stays open
 * while the rest goes on.
 *
 * Over a connection of its own, opened when needed and closed after a minute without work: under a
 * memory alarm the broker stops reading a connection that publishes, and acknowledgements on it
 * would wait too.
 *
 * A message that is refused (the queue is full) is tried again after a pause. One that comes back
 * (no such queue) or is not confirmed within 30 s too, over a new connection that looks after the
 * queues first; a return does not say which message it is, so all that are in flight are sent
 * again: twice is better than never.
 * One that makes the broker close the channel (larger than it allows) is found by sending one at
 * a time, and held from then on.
 *
 * Bounds: 16 messages, 16 MB or one message; then dead_letters_is_full, and the owner stops reading the queue.
 */
#ifndef WORKER_DEAD_LETTER_H
#define WORKER_DEAD_LETTER_H

#include "wire/bytes.h"
#include "worker/config.h"
#include "worker/tags.h"

#define DEAD_LETTERS_MAX_COUNT 16
#define DEAD_LETTERS_MAX_BYTES ((size_t) 16 * 1024 * 1024)
#define DEAD_LETTERS_ERROR_HEADER "x-outbox-error"

typedef struct DeadLetters DeadLetters;

/* config: borrowed. NULL: out of memory. */
DeadLetters *dead_letters_new(const WorkerConfig *config, uint64_t seed);
void         dead_letters_free(DeadLetters *letters);

/* Takes a message over: everything is copied. Not to be called while full. false: out of memory. */
bool dead_letters_add(DeadLetters *letters, TagRef ref, MqBytes raw_properties, MqBytes body,
                      const char *error);

void dead_letters_step(DeadLetters *letters, int64_t now_us);

/* Moves on; the next message that is safe in <queue>.dead: acknowledge its original. false: none. */
bool dead_letters_next(DeadLetters *letters, int64_t now_us, TagRef *ref);

/* The originals will be delivered again. */
void dead_letters_forget(DeadLetters *letters);

size_t dead_letters_count(const DeadLetters *letters);
bool   dead_letters_is_full(const DeadLetters *letters);

/* Why they do not get through; empty: they do. */
const char *dead_letters_problem(const DeadLetters *letters);

int      dead_letters_fd(const DeadLetters *letters);
unsigned dead_letters_wants(const DeadLetters *letters); /* STREAM_WANT_* */
int64_t  dead_letters_due_us(const DeadLetters *letters);

#endif
