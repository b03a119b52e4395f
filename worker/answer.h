/*
 * answer.h
 *    What the database said last of its outbox: handed from the thread that asks (report.h) to the
 *    loop that shows it (status.h).
 *
 * It is asked for only while somebody looks: up to ten seconds after the last answer_look. The loop
 * only tries to take the mutex, and has a copy of its own for when it cannot.
 */
#ifndef WORKER_ANSWER_H
#define WORKER_ANSWER_H

#include "wire/bytes.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct Answer Answer;

typedef enum AnswerKind
{
	ANSWER_NONE, /* none yet, since somebody looks */
	ANSWER_GOOD,
	ANSWER_REFUSED, /* by the server: no right, no such function */
	ANSWER_AWAY     /* no server, or one that does not answer */
} AnswerKind;

/* text: JSON, the last good answer; empty: there is none. reason: unless GOOD. age_us: of the text; -1.
 * Both until the next look. */
typedef struct AnswerView
{
	AnswerKind  kind;
	const char *reason;
	MqBytes     text;
	int64_t     age_us;
} AnswerView;

/* NULL: out of memory. */
Answer *answer_new(void);
void    answer_free(Answer *answer);

/* ---- the loop's side; times are of the monotonic clock ---- */

AnswerView answer_look(Answer *answer, int64_t now_us);

/* ---- the thread's side ---- */

/* Has anybody looked lately? */
bool answer_is_wanted(Answer *answer, int64_t now_us);

/* text is copied. Not JSON, or longer than 64 kB: it counts as refused. */
void answer_put(Answer *answer, MqBytes text, int64_t now_us);

/* kind: REFUSED, AWAY, or NONE: neither holds any longer. The last good answer stays. */
void answer_fail(Answer *answer, AnswerKind kind, const char *reason);

#endif
