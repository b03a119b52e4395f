/*
 * answer.c
 *    See answer.h.
 */
#include "worker/answer.h"

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WANTED_US ((int64_t) 10000000)
#define SILENT_US ((int64_t) 2000000) /* it is asked each second */
#define MAX_ANSWER_BYTES ((size_t) 64 * 1024)

typedef struct Said
{
	AnswerKind kind;
	char       reason[400];
	char      *text; /* owned; NULL: none */
	size_t     size;
	int64_t    at_us; /* of text */
} Said;

struct Answer
{
	pthread_mutex_t mutex; /* guards these */
	Said            said;
	bool            is_new;
	int64_t         looked_us; /* 0: never */

	/* of the loop alone */
	Said    shown;
	int64_t began_us; /* to look, without a pause */
	int64_t last_us;  /* the last look */
};

Answer *
answer_new(void)
{
	Answer *answer = calloc(1, sizeof(*answer));

	if (answer != NULL)
		pthread_mutex_init(&answer->mutex, NULL);
	return answer;
}

void
answer_free(Answer *answer)
{
	if (answer == NULL)
		return;
	free(answer->said.text);
	free(answer->shown.text);
	free(answer);
}

/* ---- the loop's side ---- */

/* A copied text may be none, for want of memory: the next one comes soon. */
static void
take_what_is_new(Answer *answer)
{
	char *kept = answer->shown.text;

	if (!answer->is_new)
		return;
	answer->is_new = false;
	answer->shown.kind = answer->said.kind;
	memcpy(answer->shown.reason, answer->said.reason, sizeof(answer->shown.reason));
	if (answer->said.text == NULL)
		return;
	/* The text is handed over, not copied: whoever holds the mutex is soon done. */
	answer->shown.text = answer->said.text;
	answer->shown.size = answer->said.size;
	answer->shown.at_us = answer->said.at_us;
	answer->said.text = NULL;
	free(kept);
}

/* What was said when somebody looked an hour ago is of no use; a failure still holds. */
static void
look_begins(Answer *answer, int64_t now_us)
{
	free(answer->shown.text);
	answer->shown.text = NULL;
	if (answer->shown.kind == ANSWER_GOOD)
		answer->shown.kind = ANSWER_NONE;
	answer->began_us = now_us;
}

AnswerView
answer_look(Answer *answer, int64_t now_us)
{
	const Said *shown = &answer->shown;
	AnswerView  view;

	if (pthread_mutex_trylock(&answer->mutex) == 0)
	{
		answer->looked_us = now_us;
		take_what_is_new(answer);
		pthread_mutex_unlock(&answer->mutex);
	}
	if (answer->last_us == 0 || now_us > answer->last_us + WANTED_US)
		look_begins(answer, now_us);
	answer->last_us = now_us;
	view = (AnswerView){.kind = shown->kind, .reason = shown->reason, .age_us = -1};
	if (shown->text != NULL)
	{
		view.text = mq_bytes(shown->text, shown->size);
		view.age_us = now_us > shown->at_us ? now_us - shown->at_us : 0;
	}
	if ((view.kind == ANSWER_GOOD && view.age_us > SILENT_US) ||
	    (view.kind == ANSWER_NONE && now_us > answer->began_us + SILENT_US))
	{
		view.kind = ANSWER_AWAY;
		view.reason = "no answer";
	}
	return view;
}

/* ---- the thread's side ---- */

bool
answer_is_wanted(Answer *answer, int64_t now_us)
{
	bool wanted;

	pthread_mutex_lock(&answer->mutex);
	wanted = answer->looked_us != 0 && now_us < answer->looked_us + WANTED_US;
	pthread_mutex_unlock(&answer->mutex);
	return wanted;
}

static bool
is_json_object(MqBytes text)
{
	json_t *value = text.size > MAX_ANSWER_BYTES ? NULL : json_loadb(text.data, text.size, 0, NULL);
	bool    is_object = json_is_object(value);

	json_decref(value);
	return is_object;
}

/* text: owned from here on; NULL: the one before stays. */
static void
say(Answer *answer, AnswerKind kind, const char *reason, char *text, size_t size, int64_t now_us)
{
	char *old = NULL;

	pthread_mutex_lock(&answer->mutex);
	answer->said.kind = kind;
	snprintf(answer->said.reason, sizeof(answer->said.reason), "%s", reason);
	if (text != NULL)
	{
		old = answer->said.text;
		answer->said.text = text;
		answer->said.size = size;
		answer->said.at_us = now_us;
	}
	answer->is_new = true;
	pthread_mutex_unlock(&answer->mutex);
	free(old);
}

void
answer_put(Answer *answer, MqBytes text, int64_t now_us)
{
	char *copy;

	if (!is_json_object(text))
	{
		answer_fail(answer, ANSWER_REFUSED, "the answer is no JSON object of at most 64 kB");
		return;
	}
	copy = malloc(text.size);
	if (copy == NULL)
		return;
	memcpy(copy, text.data, text.size);
	say(answer, ANSWER_GOOD, "", copy, text.size, now_us);
}

void
answer_fail(Answer *answer, AnswerKind kind, const char *reason)
{
	say(answer, kind, reason, NULL, 0, 0);
}
