/*
 * survey.h
 *    Has a scan of all masters seen every key, while slots move between them?
 *
 * Before the first round and after each one, every master says which slots it owns and which are
 * moving. A round in which nothing moved has seen all. While slots move two rounds in a row have, as
 * long as no slot moved twice in them: then a key that was not on its old node when we came there has
 * been on its new one during the whole second round. That needs the new node among those scanned: a
 * slot that goes to a node which owns none yet, and is thus not known, is waited for.
 *
 * Not seen is a slot that moves there and back within one round.
 */
#ifndef WORKER_SURVEY_H
#define WORKER_SURVEY_H

#include "worker/slots.h"

typedef struct Survey
{
	int16_t owner[SLOT_COUNT]; /* as claimed */
	SlotSet moving;
	bool    stranger;

	/* of the survey before */
	int16_t last_owner[SLOT_COUNT];
	bool    last_moving;
	SlotSet last_changed; /* against the one before that */
	int     rounds;       /* since the first survey */
} Survey;

typedef enum SurveyVerdict
{
	SURVEY_SCAN,     /* a round may begin, the first or another one */
	SURVEY_COMPLETE, /* every key was seen */
	SURVEY_WAIT      /* a slot moves to a node that is not known: begin anew, later */
} SurveyVerdict;

/* Nobody has claimed anything yet. */
void survey_begin(Survey *survey);

void survey_claim(Survey *survey, int node, const SlotClaims *claims);

/* All have. scanned: a round has come to its end since the last judgement. */
SurveyVerdict survey_judge(Survey *survey, bool scanned);

#endif
